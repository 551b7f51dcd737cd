# Two commands: `make demo` builds a Debian image from nothing, `make test` runs every check. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
SITE := demo-site
BIN := $(VENV)/bin
# What the daemon, the demonstration and the tests run; installed only where missing.
DEBIAN_PACKAGES := btrfs-progs busybox-static createrepo-c curl debian-archive-keyring debootstrap dnf e2fsprogs faketime \
	git iproute2 libseccomp2 mmdebstrap nftables openssh-server python3-venv rpm rsync slirp4netns sqlite3 systemd-container \
	util-linux xfsprogs zstd

# Some hosts forbid bytecode: then each of the thousand daemons and holders of the tests would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test escape machine faults bench fuzz docs deb lint clean distclean packages visitors emulator

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/ready  ## build, fetch and run a Debian image; KEEP=1 leaves the daemon running
	$(BIN)/python -m demo $(SITE) $(if $(KEEP),--keep)

test: $(VENV)/ready | visitors  ## every check and test, two files at a time (ARGS="-k word" for some)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

escape: $(VENV)/ready | emulator  ## every way out tried, here and on Debian's kernel; awkward packages, bootstraps, kills and costs: an hour
	$(BIN)/python -m tests.escape
	$(BIN)/python -m tests.packages
	$(BIN)/python -m tests.packages.bootstraps
	IMAGINATOR_KILLS=$(or $(KILLS),60) $(BIN)/python -m pytest -q -s tests/sandbox/test_kills.py
	$(BIN)/python -m benchmarks sandbox-cost hostile-neighbour

machine: $(VENV)/ready | emulator  ## builds under systemd's unit on a virtual machine of an image built here: two minutes
	IMAGINATOR_MACHINE=1 $(BIN)/python -m pytest -q -s tests/integration/test_in_a_machine.py

faults: $(VENV)/ready  ## kills of the daemon (fifty, KILLS=number) and of what it starts, full and failing disks, cancelled builds: some minutes
	IMAGINATOR_KILLS=$(or $(KILLS),50) $(BIN)/python -m pytest -q -s --timeout 0 tests/faults

bench: $(VENV)/ready  ## every figure, as a ratio to a yardstick of the same run (FIGURE=name for one)
	$(BIN)/python -m benchmarks $(FIGURE)

lint: $(VENV)/ready  ## the linters alone
	$(BIN)/python -m pytest tests/test_linters.py tests/test_layering.py

fuzz: $(VENV)/ready  ## every parser for a minute (SECONDS=number); random builds against plain copies, thousands (EXAMPLES=number); every method (CALLS=number)
	$(BIN)/python -m pip install --quiet --retries 5 --editable '.[fuzz]' --config-settings editable_mode=compat
	$(BIN)/python -m tests.hostile.fuzzing $(or $(SECONDS),60)
	IMAGINATOR_FUZZ=$(or $(EXAMPLES),2000) $(BIN)/python -m pytest --timeout 0 tests/store/test_overlay_machine.py
	IMAGINATOR_FUZZ=$(or $(CALLS),500) $(BIN)/python -m pytest -q --timeout 0 tests/abuse/test_methods.py
	IMAGINATOR_RACE_SECONDS=$(or $(SECONDS_OF_RACES),60) $(BIN)/python -m pytest --timeout 0 tests/hostile/test_paths.py

docs: $(VENV)/ready  ## the documentation, in docs/_build, and the man pages in docs/_build/man
	$(BIN)/sphinx-build -W -q docs docs/_build
	$(BIN)/sphinx-build -W -q -b man docs docs/_build/man

deb: $(VENV)/ready  ## a package for Debian 12 in dist/, with all that it needs of PyPI
	deb/build dist

clean:  ## remove the demonstration's folder, once its daemon is stopped
	rm -rf $(SITE)

distclean: clean  ## and everything else that was made here
	rm -rf $(VENV) dist docs/_build *.egg-info .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/ready: pyproject.toml | packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --retries 5 --editable '.[test]' --config-settings editable_mode=compat
	touch $@

packages:
	@missing=$$(for p in $(DEBIAN_PACKAGES); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null \
		| grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		apt-get -q -o Acquire::Retries=5 update && \
		DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=5 --no-install-recommends install $$missing; \
	fi

# The package's daemon would be started.
$(BIN)/promtool: | $(VENV)/ready
	rm -rf $(VENV)/prometheus && mkdir $(VENV)/prometheus
	cd $(VENV)/prometheus && { apt-get -q -o Acquire::Retries=5 download prometheus || \
		{ apt-get -q -o Acquire::Retries=5 update && apt-get -q -o Acquire::Retries=5 download prometheus; }; }
	dpkg-deb -x $(VENV)/prometheus/*.deb $(VENV)/prometheus
	mv $(VENV)/prometheus/usr/bin/promtool $@
	rm -r $(VENV)/prometheus

visitors: $(BIN)/promtool
	@command -v npm >/dev/null || $(MAKE) --no-print-directory packages DEBIAN_PACKAGES="nodejs npm"
	@$(MAKE) --no-print-directory packages DEBIAN_PACKAGES="chromium chromium-driver libnss3-tools openssl"

emulator:
	@$(MAKE) --no-print-directory packages DEBIAN_PACKAGES=qemu-system-x86
