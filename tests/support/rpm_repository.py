"""A small distribution of RPM packages, made from programs of this host.

Its system is a file system, a shell from busybox, and this host's own rpm and dnf with what they need: so packages can
be installed in an image of it as in one of a real distribution.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.served_folder import ServedFolder

HEAD = """
%global debug_package %{nil}
%global __os_install_post %{nil}
%global _binary_payload w.ufdio
"""
"""How every specification begins: what is packaged stays as it is, and is not compressed."""

PACKAGE = """
{what} {name}
Version: {version}
Release: 1
Summary: for tests
License: none
AutoReqProv: no
{more}
%description {of}
For tests.
"""

SYSTEM = """
%install
cd %{buildroot}
mkdir -p usr/bin usr/sbin usr/lib usr/lib64 proc sys dev etc/rpm tmp run var/lib/rpm var/tmp
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
echo root:x:0:0:root:/root:/bin/sh > etc/passwd
echo root:x:0: > etc/group
cp "$(command -v busybox)" usr/bin/busybox
for name in sh cat echo ls rm sed id test wc; do ln -s busybox usr/bin/$name; done
cp -a %{host}/. .
echo '%%_dbpath /var/lib/rpm' > etc/rpm/macros
%files
/bin
/sbin
/lib
/lib64
%dir /usr/bin
%dir /usr/sbin
%dir /usr/lib
%dir /usr/lib64
%dir /proc
%dir /sys
%dir /dev
%dir /run
%attr(1777, root, root) %dir /tmp
%attr(1777, root, root) %dir /var/tmp
/etc/passwd
/etc/group
%files -n busybox
/usr/bin/busybox
/usr/bin/sh
/usr/bin/cat
/usr/bin/echo
/usr/bin/ls
/usr/bin/rm
/usr/bin/sed
/usr/bin/id
/usr/bin/test
/usr/bin/wc
%files -n dnf -f %{host}.files
/etc/rpm/macros
"""

APPLICATIONS = """
%install
mkdir -p %{buildroot}/usr/share/words %{buildroot}/usr/bin %{buildroot}/usr/share/spare
echo hello > %{buildroot}/usr/share/words/word
printf '#!/bin/sh\\nexec cat /usr/share/words/word\\n' > %{buildroot}/usr/bin/greeter
head -c 5000 /dev/zero > %{buildroot}/usr/share/spare/zeros
%files
/usr/share/words/word
%files -n greeter
%attr(0755, root, root) /usr/bin/greeter
%post -n greeter
greeter > /etc/greeting
%files -n spare
/usr/share/spare
"""

ONE_FILE = """
%install
mkdir -p %{buildroot}/usr/share/{name}
echo {version} > %{buildroot}/usr/share/{name}/said
%files
/usr/share/{name}
"""

DEBIAN_PACKAGES = (
    "dnf", "python3-dnf", "python3-libdnf", "python3-hawkey", "libdnf2", "python3-rpm", "rpm", "rpm-common",
    "python3-gpg", "python3-libcomps", "python3-minimal", "python3.11-minimal", "libpython3.11-minimal",
    "libpython3.11-stdlib",
)  # fmt: skip
"""Where this host's dnf and rpm come from, but for libraries, which are found by what is linked."""

UNWANTED = tuple(f"/usr/share/{name}/" for name in ("doc", "man", "locale", "lintian", "bash-completion"))


class RpmRepository(ServedFolder):
    """The packages of ``folder``: ``filesystem``, ``busybox`` and ``dnf``, which are the system, and applications.

    These are ``words``, ``spare`` and ``greeter``, which needs ``words``, also in its script: that leaves a greeting in
    ``/etc``. ``provides`` are names that ``filesystem`` goes by too.
    """

    def __init__(self, folder: Path, scratch: Path, provides: Iterable[str] = ()) -> None:
        super().__init__(folder, ".rpm")
        self._scratch = scratch
        host = gather_dnf(scratch / "host")
        also = "".join(f"Provides: {name}\n" for name in provides)
        system = [
            package("filesystem", also),
            package("busybox", "Requires: filesystem\nProvides: /bin/sh", main=False),
            package("dnf", "Requires: busybox", main=False),
        ]
        applications = [
            package("words"),
            package("greeter", "Requires: words\nRequires(post): words", version="2:1.5", main=False),
            package("spare", main=False),
        ]
        make_packages(scratch, f"{HEAD}%global host {host}\n{''.join(system)}{SYSTEM}", folder)
        make_packages(scratch, f"{HEAD}{''.join(applications)}{APPLICATIONS}", folder)
        make_index(folder)

    def add(self, name: str, version: str, more: str = "") -> None:
        """Put another package there, or another version of one: a file that says its version."""
        files = ONE_FILE.replace("{name}", name).replace("{version}", version)
        scratch = self._scratch / f"{name}-{version}"
        make_packages(scratch, f"{HEAD}{package(name, more, version)}{files}", self.folder)
        make_index(self.folder)

    @property
    def source(self) -> str:
        """The file of ``/etc/yum.repos.d`` for builds."""
        return definition(self.url)

    @property
    def local_source(self) -> str:
        """The same for a program of this host."""
        return definition(self.folder.as_uri())


def definition(url: str) -> str:
    """A repository as dnf.conf(5) has it."""
    return f"[own]\nname=own\nbaseurl={url}\ngpgcheck=0\n"


def package(name: str, more: str = "", version: str = "1.0", main: bool = True) -> str:
    """The head of a specification's package: its main one, or another."""
    what, of = ("Name:", "") if main else ("%package -n", f"-n {name}")
    epoch, _, number = version.rpartition(":")
    fields = f"Epoch: {epoch}\n{more}" if epoch else more
    return PACKAGE.format(what=what, name=name, of=of, version=number, more=fields)


def make_packages(scratch: Path, specification: str, target: Path) -> None:
    """Build the packages of a specification into ``target``."""
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / "packages.spec"
    file.write_text(specification)
    defines = ["--define", f"_topdir {scratch / 'rpmbuild'}", "--define", f"_rpmdir {target}"]
    subprocess.run(["rpmbuild", "-bb", *defines, str(file)], check=True, capture_output=True)


def make_index(folder: Path) -> None:
    """Make a repository of a folder of packages."""
    subprocess.run(["createrepo_c", "--quiet", str(folder)], check=True, capture_output=True)


def gather_dnf(root: Path) -> Path:
    """Copy this host's dnf and rpm, with every library they are linked to, beneath ``root``, which is returned.

    What was copied is listed in a file beside it, as ``%files -f`` wants it.
    """
    output = subprocess.run(["dpkg", "-L", *DEBIAN_PACKAGES], check=True, capture_output=True, text=True).stdout
    wanted = [Path(line) for line in output.splitlines() if not line.startswith(UNWANTED)]
    files = {path for path in wanted if path.is_file()}
    files |= {cached for path in files if (cached := _compiled(path)).exists()}
    targets = {_place(path) for path in files}
    for path in files:
        _copy(path, root, follow=False)
    for path in {path for path in _libraries(files) if _place(path) not in targets}:
        _copy(path, root, follow=True)
        targets.add(_place(path))
    Path(f"{root}.files").write_text("".join(f'"{path}"\n' for path in sorted(targets)))
    return root


def _compiled(path: Path) -> Path:
    return path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc"


def _libraries(files: Iterable[Path]) -> set[Path]:
    linked = [str(path) for path in files if ".so" in path.name or path.parent.name == "bin"]
    output = subprocess.run(["ldd", *linked], check=False, capture_output=True, text=True).stdout
    lines = [line.split() for line in output.splitlines() if line.startswith("\t")]
    return {Path(word) for words in lines for word in words if word.startswith("/")}


def _place(path: Path) -> Path:
    """Where a file of this host lies in a system whose ``/lib`` is a link to ``/usr/lib``."""
    return path if path.is_relative_to("/usr") or path.is_relative_to("/etc") else Path("/usr", *path.parts[1:])


def _copy(path: Path, root: Path, follow: bool) -> None:
    target = root / _place(path).relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target, follow_symlinks=follow)
