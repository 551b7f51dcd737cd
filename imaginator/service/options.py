"""The daemon's flags, in one table: it makes the command line, the flags files, the defaults and the help."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from twisted.python import usage

from imaginator.model.destinations import parse_destinations
from imaginator.model.durations import parse_duration, parse_share, parse_size
from imaginator.model.flags import FILES, flag_lines, modern_name
from imaginator.model.limits import HEAVIEST
from imaginator.model.settings import QuickLink

Parse = Callable[[str], Any]
Share = Callable[[int], int]
"""Bytes, given how many there are."""


class Flag(NamedTuple):
    """A flag with a value; ``parse`` raises ValueError with a sentence for one that makes no sense."""

    name: str
    default: str
    parse: Parse
    help: str


def number(text: str) -> int:
    """A whole number that is not negative."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is no number: expected something like 2")
    return int(text)


def weight(text: str) -> int:
    """A share of busy processors in proportion to others."""
    value = number(text)
    if not 1 <= value <= HEAVIEST:
        raise ValueError(f"{text!r} is no weight: expected 1 to {HEAVIEST}")
    return value


def port(text: str) -> int:
    """A TCP port."""
    value = number(text)
    if value > 65535:
        raise ValueError(f"{text!r} is no port: expected 0 to 65535")
    return value


def words(text: str) -> tuple[str, ...]:
    """The parts between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def links(text: str) -> tuple[QuickLink, ...]:
    """Named web addresses between commas."""
    return tuple(map(link, words(text)))


def link(word: str) -> QuickLink:
    """A name and a web address."""
    name, equals, url = word.partition("=")
    if not (name.strip() and equals and url.startswith(("http://", "https://"))):
        raise ValueError(f"{word!r} is no link: expected something like Grafana=https://grafana.example/d/imaginator")
    return QuickLink(name.strip(), url)


def switch(text: str) -> bool:
    """On or off."""
    if text.lower() not in ("on", "off", "true", "false", "yes", "no", "1", "0"):
        raise ValueError(f"{text!r} is neither on nor off")
    return text.lower() in ("on", "true", "yes", "1")


def identified(text: str) -> bool:
    """Whether pages need a client certificate."""
    if text not in ("public", "identity"):
        raise ValueError(f"{text!r}: expected public or identity")
    return text == "identity"


def path(text: str) -> Path | None:
    """A path; empty for none."""
    return Path(text).absolute() if text else None


def port_if_any(text: str) -> int | None:
    """A port; empty for none."""
    return port(text) if text else None


def share(text: str) -> Share:
    """A size, or a part of something that is known later."""
    parse_share(text, 0)
    return partial(parse_share, text)


def half_the_memory() -> str:
    """Half of this machine's memory, as the flags spell it."""
    return str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


FLAGS = (
    Flag("configuration-url", "file:///etc/imaginator/conf.json", str, "the main configuration: a path or a URL"),
    Flag("variables-file", "", path, "NAME=Value lines: secrets that expand in URLs"),
    Flag("image-server-hostname", "", str, "a remote image server; empty for the embedded store"),
    Flag("image-server-port", "6971", port, "the remote image server's port"),
    Flag("state-dir", "/var/lib/imaginator", path, "images, objects, layers, the queue"),
    Flag("log-dir", "/var/log/imaginator", path, "the daemon's log when it runs in the background, and builds/"),
    Flag("log-files", "off", switch, "the daemon's log goes to LOG-DIR in the foreground as well"),
    Flag("log-quota", "100M", parse_size, "size of the daemon's logs"),
    Flag("build-log-dir", "", path, "the archive of build logs; empty for LOG-DIR/builds"),
    Flag("build-log-quota", "100M", parse_size, "size of the archive of build logs; the oldest go first"),
    Flag("package-cache-size", "5G", parse_size, "size of what packagers downloaded; the least recently used go first"),
    Flag("listen-address", "", str, "the address to listen on; empty for all, IPv4 and IPv6"),
    Flag("port", "6975", port, "the port of everything; 0 takes a free one and prints it"),
    Flag("serve-images-port", "", port_if_any, "where Dominator's programs read and add images (by custom 6971)"),
    Flag("serve-images-plaintext", "off", switch, "images can be read there without TLS, by anybody"),
    Flag("ca-file", "/etc/ssl/CA.pem", path, "the authority that signs callers' certificates"),
    Flag("cert-file", "/etc/ssl/imaginator/cert.pem", path, "the daemon's certificate"),
    Flag("key-file", "/etc/ssl/imaginator/key.pem", path, "the daemon's private key"),
    Flag("crl-file", "", path, "the authority's lists of revoked certificates; empty: nothing counts as revoked"),
    Flag("image-rebuild-interval", "1h", parse_duration, "time between automatic rebuilds; 0 for never"),
    Flag("maximum-concurrent-builds", str(os.cpu_count() or 1), number, "builds at the same time"),
    Flag("maximum-concurrent-builds-per-user", "1", number, "builds at the same time of an unprivileged user"),
    Flag("maximum-build-duration", "24h", parse_duration, "how long a build may take"),
    Flag("keep-failed", "0", parse_duration, "how long the tree of every failed build is kept for builder-tool shell"),
    Flag("minimum-expiration", "15m", parse_duration, "how long an image must live"),
    Flag("maximum-expiration", "24h", parse_duration, "how long an image may live"),
    Flag("maximum-expiration-privileged", "730h", parse_duration, "the same for callers with full access"),
    Flag("trusted-users", "", words, "users who may call every method, comma separated"),
    Flag("trusted-groups", "", words, "groups whose members may call every method, comma separated"),
    Flag("pages", "public", identified, "public, or identity: every page but /healthz needs a client certificate"),
    Flag("dashboards", "", links, "dashboards elsewhere that the status page links: NAME=URL, comma separated"),
    Flag("public-downloads", "off", switch, "images can be downloaded without a certificate"),
    Flag("rebuild-unchanged", "off", switch, "automatic rebuilds make new images although nothing has changed"),
    Flag("verify-builds", "off", switch, "every build proves its image by a full scan of its tree and layers"),
    Flag("layer-cache-size", "20%", share, "trees kept for builds to stand on: a size, or a share of the disk; 0: all"),
    Flag("disk-reserve", "5%", share, "while less is free, new builds wait: a size, or a share of the disk; 0: none"),
    Flag("build-memory", half_the_memory(), parse_size, "memory of one build"),
    Flag("build-processes", "4096", number, "processes of one build"),
    Flag("build-disk", "20G", parse_size, "what one build may add to its tree; 0: no limit"),
    Flag("build-inodes", "2000000", number, "files and directories that one build may add; 0: no limit"),
    Flag("build-cpu-weight", "100", weight, "a build's share of busy processors, 1 to 10000; 100 is everybody's"),
    Flag("build-destinations", "any", parse_destinations, "what builds reach: any, ADDRESS[/PREFIX][:PORT], host:PORT"),
)

_RENAMED = {"port-num": "port"}

_DROPPED = ("slave-driver", "create-slave")
"""How the original's flags begin that have no meaning here."""


def settled(**given: str) -> dict[str, Any]:
    """The values of all flags where only some are ``given``, by their names with ``_`` for ``-``; raises ValueError."""
    texts = {flag.name: given.get(flag.name.replace("-", "_"), flag.default) for flag in FLAGS}
    return {flag.name: flag.parse(texts[flag.name]) for flag in FLAGS}


class Options(usage.Options):
    """Parses the flags; after parsing, ``options[NAME]`` is the parsed value.

    ``dropped`` are the flags of the original that were given and have no effect any more.
    """

    synopsis = "Usage: imaginator [flags]"
    longdesc = "Builds operating-system images from manifests kept in Git. See http://HOST:6975/ once it runs."
    optParameters = [  # noqa: N815 - Twisted's name
        *([flag.name, None, flag.default, flag.help] for flag in FLAGS),
        ["flags-directory", None, "/etc/imaginator", f"where {' and '.join(FILES)} lie; the command line wins"],
    ]

    optFlags = [  # noqa: N815 - Twisted's name; a flags file cannot switch these on
        ["verify-store", None, "check every object and layer of the state directory, repair what can be, and exit"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[str] = []

    def opt_h(self) -> None:
        """Show this list."""
        self.opt_help()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:  # noqa: N802 - Twisted's name
        """Read the flags files, then the command line over them; exits with a sentence for what makes no sense."""
        arguments = [word for word in map(modernised, options or ()) if not self._drop(word.removeprefix("--"))]
        try:
            self._read_files(Path(flags_directory(arguments, self["flags-directory"])))
            super().parseOptions(arguments)
        except usage.UsageError as error:
            # twistd would print its whole help, and end as if all were well.
            sys.exit(f"imaginator: {error}; imaginator --help lists the flags")

    def postOptions(self) -> None:  # noqa: N802 - Twisted's name
        """Parse the values."""
        for flag in FLAGS:
            try:
                self[flag.name] = flag.parse(self[flag.name])
            except ValueError as error:
                raise usage.UsageError(f"--{flag.name}: {error}") from None
        self["build-log-dir"] = self["build-log-dir"] or self["log-dir"] / "builds"

    def _drop(self, flag: str) -> bool:
        """Whether a flag is one of those that are accepted and do nothing; they are remembered."""
        if flag.startswith(_DROPPED):
            self.dropped.append(flag.partition("=")[0])
        return flag.startswith(_DROPPED)

    def _read_files(self, directory: Path) -> None:
        known = {flag.name for flag in FLAGS}
        for file in (directory / name for name in FILES):
            try:
                text = file.read_text() if file.exists() else ""
            except (OSError, UnicodeDecodeError) as error:
                raise usage.UsageError(f"{file}: {error}") from None
            for line, spelled, value in flag_lines(text):
                name = _RENAMED.get(spelled, spelled)
                if self._drop(name):
                    continue
                if name not in known:
                    raise usage.UsageError(f"{file}: line {line}: there is no flag {name}")
                self[name] = value


def modernised(word: str) -> str:
    """A word of the command line; the original's ``-portNum=1`` becomes ``--port=1``."""
    if not word.startswith("-") or len(word) < 4 or word == "--":
        return word
    name, equals, value = word.lstrip("-").partition("=")
    name = modern_name(name)
    return f"--{_RENAMED.get(name, name)}{equals}{value}"


def flags_directory(arguments: Sequence[str], default: str) -> str:
    """The flags directory that the command line names."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == "--flags-directory":
            return value if equals else following
    return default
