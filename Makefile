# Two commands: `make demo` builds a Debian image from nothing, `make test` runs every check. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
SITE := demo-site
BIN := $(VENV)/bin
# What the daemon, the demonstration and the tests run; installed only where missing.
DEBIAN_PACKAGES := btrfs-progs busybox-static createrepo-c debian-archive-keyring debootstrap dnf e2fsprogs git iproute2 \
	libseccomp2 mmdebstrap nftables openssh-server python3-venv rpm slirp4netns util-linux xfsprogs

.DEFAULT_GOAL := help
.PHONY: help demo test escape faults bench fuzz docs lint clean distclean packages emulator

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/ready  ## build, fetch and run a Debian image; KEEP=1 leaves the daemon running
	$(BIN)/python -m demo $(SITE) $(if $(KEEP),--keep)

test: $(VENV)/ready  ## every check and test (ARGS="-k word" for some)
	$(BIN)/python -m pytest $(ARGS)

escape: $(VENV)/ready | emulator  ## every way out tried, here and on Debian's kernel; awkward packages, bootstraps, kills and costs: an hour
	$(BIN)/python -m tests.escape
	$(BIN)/python -m tests.packages
	$(BIN)/python -m tests.packages.bootstraps
	IMAGINATOR_KILLS=$(or $(KILLS),60) $(BIN)/python -m pytest -q -s tests/sandbox/test_kills.py
	$(BIN)/python -m benchmarks sandbox-cost hostile-neighbour

faults: $(VENV)/ready  ## the daemon killed in fifty builds (KILLS=number), builds that hang cancelled: some minutes
	IMAGINATOR_KILLS=$(or $(KILLS),50) $(BIN)/python -m pytest -q -s --timeout 0 tests/faults

bench: $(VENV)/ready  ## every figure, as a ratio to a yardstick of the same run (FIGURE=name for one)
	$(BIN)/python -m benchmarks $(FIGURE)

lint: $(VENV)/ready  ## the linters alone
	$(BIN)/python -m pytest tests/test_linters.py tests/test_layering.py

fuzz: $(VENV)/ready  ## every parser for a minute (SECONDS=number); random builds against plain copies, thousands (EXAMPLES=number)
	$(BIN)/python -m pip install --quiet --retries 5 --editable '.[fuzz]' --config-settings editable_mode=compat
	$(BIN)/python -m tests.hostile.fuzzing $(or $(SECONDS),60)
	IMAGINATOR_FUZZ=$(or $(EXAMPLES),2000) $(BIN)/python -m pytest --timeout 0 tests/store/test_overlay_machine.py
	IMAGINATOR_RACE_SECONDS=$(or $(SECONDS_OF_RACES),60) $(BIN)/python -m pytest --timeout 0 tests/hostile/test_paths.py

docs: $(VENV)/ready  ## the documentation, in docs/_build
	$(BIN)/sphinx-build -W -q docs docs/_build

clean:  ## remove the demonstration's folder, once its daemon is stopped
	rm -rf $(SITE)

distclean: clean  ## and everything else that was made here
	rm -rf $(VENV) docs/_build *.egg-info .hypothesis .mypy_cache .ruff_cache
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

emulator:
	@$(MAKE) --no-print-directory packages DEBIAN_PACKAGES=qemu-system-x86
