"""A small repository of Debian packages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.support.served_folder import ServedFolder

CONTROL = """Package: {name}
Version: {version}
Architecture: all
Installed-Size: 7
Maintainer: nobody <nobody@localhost>
Description: for tests
"""


class Repository(ServedFolder):
    """Debian packages in ``folder``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ".deb")

    @property
    def source(self) -> str:
        """The line of sources.list(5) for builds."""
        return f"deb [trusted=yes] {self.url} ./\n"

    @property
    def local_source(self) -> str:
        """The same for a program of this host."""
        return f"deb [trusted=yes] {self.local_url} ./\n"

    def add(self, name: str, files: dict[str, str], postinst: str = "", version: str = "1.0") -> Path:
        """Put a package of these files (path → text) into the repository; its file."""
        return self.publish(make_package(self.folder, name, files, postinst, version))

    def publish(self, package: Path) -> Path:
        """Offer a package's file, wherever it lies now; where it lies then."""
        target = self.folder / package.name
        if package != target:
            shutil.copy(package, target)
        data = target.read_bytes()
        control = subprocess.run(["dpkg-deb", "--field", target], check=True, capture_output=True, text=True).stdout
        digest = hashlib.sha256(data).hexdigest()
        with (self.folder / "Packages").open("a") as index:
            index.write(f"{control}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {digest}\n\n")
        return target


def make_package(folder: Path, name: str, files: dict[str, str], postinst: str = "", version: str = "1.0") -> Path:
    """Make a package's file in ``folder``, not compressed: texts of equal length make files of equal length."""
    tree = folder / f"{name}.tree"
    for path, text in {"DEBIAN/control": CONTROL.format(name=name, version=version), **files}.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    if postinst:
        (tree / "DEBIAN/postinst").write_text(postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)
    package = folder / f"{name}_{version}_all.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(package)]
    subprocess.run(argv, check=True, capture_output=True)
    shutil.rmtree(tree)
    return package
