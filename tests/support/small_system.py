"""The smallest system that builds can run in: busybox and its links, made without a mirror in milliseconds."""

from __future__ import annotations

from pathlib import Path

BOOTSTRAP_SCRIPT = """
set -eu
cd "${1:?}"
mkdir bin etc proc sys dev usr usr/share var var/lib tmp root
chmod 1777 tmp
cp "$(command -v busybox)" bin/busybox
commands="sh cat chmod cp dd echo env false head id kill ln ls mkdir mv readlink rm sleep stat test touch true yes wget"
for name in $commands
do
    ln -s busybox "bin/$name"
done
echo 'root:x:0:0:root:/root:/bin/sh' > etc/passwd
echo 'small 1' > etc/release
echo one > usr/share/linked
ln usr/share/linked usr/share/linked-too
"""

SMALL_PACKAGER = {
    "InstallCommand": ["echo", "installing"],
    "ListCommand": {"ArgList": ["cat", "/etc/release"]},
}
"""A packager type whose packages are the lines of ``/etc/release``."""


def small_bootstrap(folder: Path) -> list[str]:
    """A bootstrap command; its script is a file in ``folder``, since the words of a command are expanded."""
    script = folder / "small-bootstrap"
    script.write_text(BOOTSTRAP_SCRIPT)
    return ["sh", str(script), "$dir"]
