"""Git input of strangers: each defect ends in one clear error or a correct result, and nothing runs on the host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_twisted

from imaginator.build import listing
from imaginator.build.fetch import LARGEST
from imaginator.build.sources import SourceLocation, Sources
from imaginator.model.errors import ConfigurationError, ImaginatorError
from imaginator.model.giturl import RepositoryFile
from imaginator.model.redaction import Redactor
from tests.support.git_repository import Repository
from tests.support.real_reactor import reactor

PLAIN = Redactor({})
RAN = "ran"
"""The file that everything hostile here would make, where it ran."""

Make = Callable[[Repository], None]
Expected = str | Mapping[str, str | None]


class Defect(NamedTuple):
    """Something hostile that comes in by ``entry``; the table that it is in says what is to come of it."""

    entry: str
    name: str


def touch(folder: Path) -> str:
    """A shell command that shows that it ran."""
    return f"touch {folder}/{RAN}"


URLS: dict[str, str] = {
    "option of git fetch": "--upload-pack=TOUCH",
    "option with a URL": "--upload-pack=TOUCH https://host/x.git",
    "external helper": "ext::sh -c TOUCH",
    "helper by its own name": "imaginator::http",
    "file descriptor helper": "fd::7/x",
    "option of ssh": "-oProxyCommand=TOUCH@host:x",
    "option of ssh as a host": "ssh://-oProxyCommand=TOUCH/x.git",
    "option of ssh as a user": "ssh://-oProxyCommand=TOUCH@host/x.git",
    "option of ssh behind a user": "ssh://git@-oProxyCommand=TOUCH/x.git",
    "option of ssh in the short form": "git@-oProxyCommand=TOUCH:x.git",
    "option as a path in the short form": "git@host:--upload-pack=TOUCH",
    "option of git daemon": "git://-x/x.git",
    "newline": "https://host/x.git\nhost: other",
    "carriage return": "https://host/x.git\rx",
    "NUL": "https://host/x\0.git",
    "escape sequence": "https://host/\x1b[2Jx.git",
    "space": "https://host/x .git",
    "line separator": "https://host/x\u2028.git",
    "lone surrogate": "https://host/\ud800.git",
    "10 kB": "https://host/" + "x" * 10_240,
    "10 MB": "https://host/" + "x" * 10_000_000,
    "unknown transport": "gopher://host/x.git",
    "no transport": "host/x.git",
    "relative path": "../x.git",
    "no host": "https:///x.git",
    "host of a file URL": "file://host/etc",
    "nothing": "",
    "shell": "$(TOUCH)",
    "pipe": "|TOUCH",
    "script": "javascript:TOUCH",
}
"""All are refused as no Git URL, before Git hears of them."""

PLACES: dict[str, str] = {
    "relative": "dir://x",
    "nothing": "dir://",
    "climbing": "dir://../etc",
    "missing": "dir:///nowhere",
    "file": "dir:///etc/passwd",
    "device": "dir:///dev/zero",
    "NUL": "dir:///etc\0",
    "newline": "dir:///etc\n",
    "lone surrogate": "dir:///\udfff",
    "name of 300 bytes": "dir:///" + "x" * 300,
    "path of 4,000 bytes": "dir:///" + "x/" * 2_000,
    "10 MB": "dir:///" + "x" * 10_000_000,
    "shell": "dir:///$(TOUCH)",
}
"""None is a directory of this machine."""

SHELL_URLS: dict[str, str] = {
    "shell in a local path": "/srv/$(TOUCH).git",
    "quotes in a local path": "file:///srv/';TOUCH;'.git",
    "unicode": "file:///srv/ünïcode-\u202e-x.git",
    "combining unicode": "file:///srv/u\u0308.git",
    "percent-encoded NUL": "file:///srv/%00.git",
    "percent-encoded newline": "file:///srv/%0a.git",
    "device": "file:///dev/zero",
    "directory without a repository": "file:///etc",
    "name of 300 bytes": "file:///srv/" + "x" * 300,
}
"""All are told to be unreachable, in one sentence."""

BRANCHES: dict[str, str] = {
    "option": "--upload-pack=TOUCH",
    "short option": "-x",
    "parent": "trunk^",
    "ancestor": "trunk~1",
    "reflog": "trunk@{1}",
    "range": "a..b",
    "path": "trunk:note",
    "refspec": "trunk:refs/heads/other",
    "pattern": "*",
    "set": "[a-z]",
    "newline": "trunk\nx",
    "NUL": "trunk\0x",
    "space": "trunk x",
    "double slash": "a//b",
    "backslash": "a\\b",
    "climbing": "../../../etc/passwd",
    "500 characters": "x" * 500,
    "lone surrogate": "\ud800",
    "delete": "a\x7fb",
}
"""All are refused as no name of a branch."""

UNKNOWN_BRANCHES: dict[str, str] = {
    "shell": "$(TOUCH)",
    "quote": "';TOUCH;'",
    "unicode": "br\u00e4nch-\u202e",
    "HEAD of another name": "refs/heads/trunk",
    "short commit": "0123456",
    "all zeros": "0" * 40,
    "commit of nobody": "f" * 64,
    "case twin": "TRUNK",
    "hidden": ".trunk.lock",
}
"""All are told to be unknown."""

DIRECTORIES: dict[str, tuple[str, str]] = {
    "missing": ("nowhere", "no directory 'nowhere'"),
    "missing parent": ("nowhere/at/all", "no directory"),
    "file": ("note", "'note' is not a directory"),
    "file as a parent": ("note/x", "'note' is not a directory"),
    "climbing": ("..", "outside the repository"),
    "climbing back": ("one/../../etc", "outside the repository"),
    "absolute climbing": ("/../etc", "outside the repository"),
    "NUL": ("one\0", "no name of a directory"),
    "newline": ("one\n", "no name of a directory"),
    "lone surrogate": ("\ud800", "no name of a directory"),
    "10 kB": ("x" * 10_240, "no name of a directory"),
    "a name of 300 bytes": ("x" * 300, "no directory"),
    "option": ("--help", "no directory"),
    "pathspec magic": (":(glob)*", "no directory"),
    "pathspec of the top": (":/", "no directory"),
    "pattern": ("o*", "no directory"),
    "object name": ("HEAD^{tree}", "no directory"),
    "case twin": ("ONE", "no directory 'ONE'"),
    "unicode twin": ("o\u0308ne", "no directory"),
    "the repository's own": (".git", "no directory '.git'"),
}
"""Names of directories, with words of the sentence that refuses each."""


def link_to(target: str, name: str = "here") -> Make:
    """A repository with a link."""

    def make(repository: Repository) -> None:
        (repository.directory / name).symlink_to(target)
        repository.commit({})

    return make


def files(**contents: str) -> Make:
    """A repository with a directory ``here`` of some files."""

    def make(repository: Repository) -> None:
        repository.commit({f"here/{name}": text for name, text in contents.items()})

    return make


def entries(*made: tuple[str, str, str]) -> Make:
    """A repository whose ``here`` is a tree by hand: mode, name and text; that of a directory is in ``x``."""

    def make(repository: Repository) -> None:
        repository.commit_tree(repository.tree(("40000", "here", repository.tree(*objects(repository, made)))))

    return make


def objects(repository: Repository, made: tuple[tuple[str, str, str], ...]) -> Iterator[tuple[str, str, str]]:
    """The entries with their objects' ids."""
    for mode, name, text in made:
        number = repository.blob(text)
        if mode == "40000":
            number = repository.tree(("100644", "x", number))
        yield mode, name, repository.first if mode == "160000" else number


def submodule(name: str) -> Make:
    """A repository with a submodule and instructions of where to get it that are commands."""

    def make(repository: Repository) -> None:
        evil = touch(repository.directory.parent)
        modules = f'[submodule "x"]\n\tpath = {name}\n\turl = ext::sh -c {evil}\n\tupdate = !{evil}\n'
        blob = repository.blob(modules)
        inside = repository.tree(("100644", ".gitmodules", blob), ("100644", "manifest", repository.blob("{}")))
        link = ("160000", name, repository.first)
        repository.commit_tree(repository.tree(("100644", ".gitmodules", blob), link, ("40000", "there", inside)))

    return make


def submodule_within(repository: Repository) -> None:
    """A submodule inside the directory."""
    evil = f'[submodule "x"]\n\tpath = here/x\n\turl = --upload-pack={touch(repository.directory.parent)}\n'
    inside = repository.tree(("100644", "manifest", repository.blob("{}")), ("160000", "x", repository.first))
    top = [("100644", ".gitmodules", repository.blob(evil)), ("40000", "here", inside)]
    repository.commit_tree(repository.tree(*top))


def hooks(repository: Repository) -> None:
    """Hooks of every kind in the repository itself, which is local, and in its tree."""
    for name in ("post-checkout", "pre-receive", "reference-transaction", "post-index-change", "pre-auto-gc"):
        for folder in (repository.directory / ".git" / "hooks", repository.directory / "here" / "hooks"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"#!/bin/sh\n{touch(repository.directory.parent)}\n")
            (folder / name).chmod(0o755)
    repository.git("-c", "core.hooksPath=/dev/null", "add", "--all")
    repository.git("-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "hooks")


def local_settings(repository: Repository) -> None:
    """A local repository whose own settings name programs."""
    evil = touch(repository.directory.parent)
    files(manifest="{}")(repository)
    for name in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor"):
        repository.git("config", name, evil)
    repository.git("config", "filter.evil.smudge", evil)


def attributes(text: str, **contents: str) -> Make:
    """A directory with attributes."""
    return files(**{".gitattributes": text, **contents})


def filters_of_the_top(repository: Repository) -> None:
    """Attributes above the directory name a driver, and a file of settings that nobody reads defines it."""
    evil = touch(repository.directory.parent)
    config = f'[filter "evil"]\n\tsmudge = {evil}\n\tprocess = {evil}\n\trequired = true\n'
    texts = {".gitattributes": "* filter=evil diff=evil merge=evil\n", ".gitconfig": config, "here/.gitconfig": config}
    repository.commit({**texts, "here/manifest": "{}"})


def many_references(repository: Repository) -> None:
    """100,000 branches beside the default one."""
    files(manifest="{}")(repository)
    head = repository.git("rev-parse", "HEAD")
    lines = [f"{head} refs/heads/branch{number:06}\n" for number in range(100_000)]
    (repository.directory / ".git" / "packed-refs").write_text("# pack-refs with: sorted\n" + "".join(lines))


def bomb(leaf: bool) -> Make:
    """Ten trees in ten trees in … ten deep: ten thousand million files, or as many empty directories."""

    def make(repository: Repository) -> None:
        inner = repository.tree(*([("100644", "x", repository.blob("x"))] if leaf else []))
        for _ in range(10):
            inner = repository.tree(*[("40000", str(name), inner) for name in range(10)])
        repository.commit_tree(repository.tree(("40000", "here", inner)))

    return make


def many_files(repository: Repository) -> None:
    """100,001 files."""
    blob = repository.blob("x")
    inner = repository.tree(*[("100644", f"{number:06}", blob) for number in range(listing.MOST_ENTRIES + 1)])
    repository.commit_tree(repository.tree(("40000", "here", inner)))


def huge_blobs(repository: Repository) -> None:
    """A few kilobytes of a pack that are more bytes than a manifest may have: one blob, many times."""
    zeros = repository.feed(bytes(64 << 20), "-c", "core.compression=1", "hash-object", "-w", "--stdin")
    inner = repository.tree(*[("100644", f"{number:03}", zeros) for number in range(65)])
    repository.commit_tree(repository.tree(("40000", "here", inner)))


def deep(repository: Repository) -> None:
    """A file whose path is longer than Git's buffers for paths are."""
    inner = repository.tree(("100644", "x", repository.blob("x")))
    for _ in range(20):
        inner = repository.tree(("40000", "d" * 250, inner))
    repository.commit_tree(repository.tree(("40000", "here", inner)))


def missing_object(repository: Repository) -> None:
    """A tree with a blob that the repository itself does not have."""
    repository.commit_tree(repository.tree(("40000", "here", repository.tree(("100644", "manifest", "1" * 40)))))


def no_commit(repository: Repository) -> None:
    """A default branch that is a blob, as only a broken repository has it."""
    number = repository.blob("x")
    (repository.directory / ".git" / "refs" / "heads" / "trunk").write_text(number + "\n")


def large_file(repository: Repository) -> None:
    """A file of 17 MB."""
    repository.commit({"conf": "x" * (17 << 20)})


def own_git(repository: Repository) -> None:
    """A directory ``.git`` in a tree, with settings that run a program."""
    evil = repository.blob(f"[core]\n\tfsmonitor = {touch(repository.directory.parent)}\n")
    inner = repository.tree(("100644", "config", evil))
    repository.commit_tree(repository.tree(("40000", "here", repository.tree(("40000", ".git", inner)))))


TREES: dict[str, tuple[Make, Expected]] = {
    "link in place of the directory": (link_to("one"), "'here' is a symbolic link, not a directory"),
    "link out of the repository": (link_to("/etc"), "'here' is a symbolic link, not a directory"),
    "link to itself": (link_to("here"), "'here' is a symbolic link, not a directory"),
    "submodule in place of the directory": (submodule("here"), "'here' is a submodule, which is not fetched"),
    "submodule within": (submodule_within, {"manifest": "{}"}),
    "modules file that is a link": (
        entries(("120000", ".gitmodules", "/etc/passwd")),
        "'here/.gitmodules': a name that no file",
    ),
    "hooks": (hooks, {}),
    "settings of a local repository": (local_settings, {"manifest": "{}"}),
    "filter drivers": (attributes("* filter=evil\n", manifest="{}"), {"manifest": "{}"}),
    "filter drivers of the top": (filters_of_the_top, {"manifest": "{}"}),
    "ident": (
        attributes("* ident\n", manifest="$Id$"),
        {"manifest": "$Id: b3f5ebfb5843bc43ceecff6d4f26bb37c615beb1 $"},
    ),
    "end of line": (attributes("* text eol=crlf\n", manifest="{}\n"), {"manifest": "{}\r\n"}),
    "export-subst": (attributes("* export-subst\n", manifest="$Format:%H$"), {"manifest": "$Format:%H$"}),
    "export-ignore": (attributes("* export-ignore\n", manifest="{}"), {"manifest": "{}"}),
    "unknown encoding": (
        entries(("100644", ".gitattributes", "m* working-tree-encoding=evil\n"), ("100644", "manifest", "{}")),
        {"manifest": "{}"},
    ),
    "encoding of everything": (
        entries(("100644", ".gitattributes", "m* working-tree-encoding=UTF-32LE\n"), ("100644", "manifest", "{}")),
        {"manifest": "{\0\0\0}\0\0\0"},
    ),
    "attributes that are a link": (
        entries(("120000", ".gitattributes", "/etc/passwd"), ("100644", "manifest", "{}")),
        {"manifest": "{}", ".gitattributes": "-> /etc/passwd"},
    ),
    "attributes of 1 MB": (attributes("* x=" + "y" * 1_000_000 + "\n", manifest="{}"), {"manifest": "{}"}),
    "case twins": (
        entries(("100644", "A", "large"), ("100644", "a", "small")),
        {"A": "large", "a": "small"},
    ),
    "unicode twins": (
        entries(("100644", "u\u0308", "two"), ("100644", "\u00fc", "one")),
        {"u\u0308": "two", "\u00fc": "one"},
    ),
    "own .git": (own_git, "'here/.git': a name that no file in a repository may have"),
    "own .GIT": (entries(("40000", ".GIT", "x")), "'here/.GIT': a name that no file"),
    "file .git": (entries(("100644", ".git", "gitdir: /")), "'here/.git': a name that no file"),
    ".git with an ignorable character": (entries(("100644", ".g\u200cit", "x")), {".g\u200cit": "x"}),
    "short name of .git": (entries(("40000", "git~1", "x")), {"git~1/x": "x"}),
    "dot": (entries(("40000", ".", "x")), "'here/.': a name that no file"),
    "dot dot": (entries(("40000", "..", "x")), "'here/..': a name that no file"),
    "file dot dot": (entries(("100644", "..", "x")), "'here/..': a name that no file"),
    "slash in a name": (entries(("100644", "a/b", "x")), "'here/a/b': a name with a slash in it"),
    "climbing name": (entries(("100644", "../../../escaped", "x")), "a name with a slash in it"),
    "absolute name": (entries(("100644", "/escaped", "x")), "a name with a slash in it"),
    "empty name": (entries(("100644", "", "x")), ""),
    "name twice": (entries(("100644", "a", "x"), ("100644", "a", "y")), "'here/a': is there twice"),
    "link and directory of one name": (
        entries(("120000", "a", "/tmp"), ("40000", "a", "x")),
        "'here/a': is there twice",
    ),
    "link and a file behind it": (
        entries(("120000", "a", "/tmp"), ("100644", "a/escaped", "x")),
        "a name with a slash in it",
    ),
    "newline in a name": (entries(("100644", "a\nb", "x")), {"a\nb": "x"}),
    "option as a name": (entries(("100644", "--help", "x")), {"--help": "x"}),
    "backslash in a name": (entries(("100644", "dev\\x2d.swap", "x")), {"dev\\x2d.swap": "x"}),
    "name of 255 bytes": (entries(("100644", "x" * 255, "x")), {"x" * 255: "x"}),
    "name of 300 bytes": (entries(("100644", "x" * 300, "x")), "a name longer than 255"),
    "set-id mode": (entries(("104755", "su", "x")), {"su": "x"}),
    "device mode": (entries(("20666", "zero", "x"), ("100644", "z", "x")), {"z": "x", "zero": None}),
    "path of 5,000 bytes": (deep, "a path longer than 2048"),
    "100,001 files": (many_files, "'here': more than 100000 files"),
    "ten thousand million files": (bomb(leaf=True), "'here': more than 100000 files"),
    "ten thousand million directories": (bomb(leaf=False), "'here': more than 100000 files"),
    "4 GB of one blob": (huge_blobs, "'here': more than 4294967296 bytes"),
    "100,000 branches": (many_references, {"manifest": "{}"}),
    "missing object": (missing_object, ""),
    "branch that is no commit": (no_commit, ""),
}
"""Repositories, with words of the error (empty: any one will do) or the files that come of them."""

FILES: dict[str, tuple[Make, str, str]] = {
    "link": (link_to("/etc/passwd", "conf"), "conf", "'conf' is a symbolic link"),
    "behind a link": (link_to("/etc", "etc"), "etc/passwd", "'etc' is a symbolic link"),
    "climbing": (link_to("x"), "../../etc/passwd", "outside the repository"),
    "submodule": (submodule("conf"), "conf", "'conf' is a submodule"),
    "directory": (link_to("x"), "one", "'one' is not a regular file"),
    "option": (link_to("x"), "--help", "no file '--help'"),
    "17 MB": (large_file, "conf", "at most 16777216"),
}
"""Repositories and paths of configuration files in them."""


DEFECTS: list[Defect] = [
    *(Defect("Git URL", name) for name in (*URLS, *SHELL_URLS)),
    *(Defect("dir:// URL", name) for name in PLACES),
    *(Defect("Git branch", name) for name in (*BRANCHES, *UNKNOWN_BRANCHES)),
    *(Defect("manifest directory", name) for name in DIRECTORIES),
    *(Defect("Git repository", name) for name in TREES),
    *(Defect("configuration in Git", name) for name in FILES),
]
"""Every pair of entry point and defect."""


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test did, nothing ran and nothing was written elsewhere; what fails is not tried again."""
    monkeypatch.setattr("imaginator.build.retry.DELAYS", ())
    yield
    marks = [tmp_path / RAN, tmp_path / "escaped", Path("/escaped"), Path("/tmp/escaped")]
    assert [] == [path for path in marks if path.exists()]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    return Repository(tmp_path / "repository")


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Sources with an empty folder of mirrors."""
    return Sources(reactor, tmp_path / "sources")


async def refused(fetching: object) -> str:
    """The one sentence that a fetch ends with."""
    with pytest.raises(ImaginatorError) as caught:
        await fetching  # type: ignore[misc]
    assert len(str(caught.value)) < 6000
    return str(caught.value)


def test_every_defect_is_named_once() -> None:
    """The table can be counted."""
    assert len(DEFECTS) == len(set(DEFECTS))


@pytest.mark.parametrize("name", URLS)
@pytest_twisted.ensureDeferred
async def test_url_that_is_none(sources: Sources, tmp_path: Path, name: str) -> None:
    """What is no URL of a repository is refused before Git hears of it."""
    url = URLS[name].replace("TOUCH", touch(tmp_path))

    with pytest.raises(ConfigurationError, match="no (?:Git )?URL"):
        await sources.fetch(SourceLocation(url, url), tmp_path / "out", PLAIN)


@pytest.mark.parametrize("name", PLACES)
@pytest_twisted.ensureDeferred
async def test_place_that_is_none(sources: Sources, tmp_path: Path, name: str) -> None:
    """A plain directory has to be one, by an absolute path."""
    url = PLACES[name].replace("TOUCH", touch(tmp_path))

    assert await refused(sources.fetch(SourceLocation(url, url), tmp_path / "out", PLAIN))


@pytest.mark.parametrize("name", SHELL_URLS)
@pytest_twisted.ensureDeferred
async def test_url_of_nothing(sources: Sources, tmp_path: Path, name: str) -> None:
    """A URL is never part of a command; where it leads nowhere, that is said."""
    url = SHELL_URLS[name].replace("TOUCH", touch(tmp_path).replace(" ", "${IFS}"))

    assert "git ls-remote" in await refused(sources.fetch(SourceLocation(url, url), tmp_path / "out", PLAIN))


@pytest.mark.parametrize("name", BRANCHES)
@pytest_twisted.ensureDeferred
async def test_branch_that_is_none(sources: Sources, tmp_path: Path, name: str) -> None:
    """What is no name of a branch never reaches Git."""
    branch = BRANCHES[name].replace("TOUCH", touch(tmp_path))

    with pytest.raises(ConfigurationError, match="no name of a branch"):
        await sources.fetch(SourceLocation("/srv/x.git", "/srv/x.git", "one", branch), tmp_path / "out", PLAIN)


@pytest.mark.parametrize("name", UNKNOWN_BRANCHES)
@pytest_twisted.ensureDeferred
async def test_unknown_branch(repository: Repository, sources: Sources, tmp_path: Path, name: str) -> None:
    """A strange name of a branch is a branch that is not there."""
    branch = UNKNOWN_BRANCHES[name].replace("TOUCH", touch(tmp_path).replace(" ", "${IFS}"))

    assert await refused(sources.fetch(repository.at("one", branch), tmp_path / "out", PLAIN))


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest_twisted.ensureDeferred
async def test_directory(repository: Repository, sources: Sources, tmp_path: Path, name: str) -> None:
    """A directory that is none, or somewhere else, is told as such."""
    directory, problem = DIRECTORIES[name]

    assert problem in await refused(sources.fetch(repository.at(directory), tmp_path / "out", PLAIN))


@pytest.mark.parametrize("name", TREES)
@pytest_twisted.ensureDeferred
async def test_tree(repository: Repository, sources: Sources, tmp_path: Path, name: str) -> None:
    """A hostile repository gives its files, as they are, or one error."""
    make, expected = TREES[name]
    make(repository)

    fetching = sources.fetch(repository.at("here"), tmp_path / "out", PLAIN)

    if isinstance(expected, str):
        assert expected in await refused(fetching)
    else:
        found = content((await fetching).directory)
        assert expected == {name: found.get(name) for name in expected}


def content(directory: Path) -> dict[str, str]:
    """Every file below a directory; of links the target."""
    found = {}
    for folder, _, names in os.walk(directory):
        for path in (Path(folder, name) for name in names):
            text = f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes().decode()
            found[str(path.relative_to(directory))] = text
    return found


@pytest.mark.parametrize("name", FILES)
@pytest_twisted.ensureDeferred
async def test_configuration_file(repository: Repository, sources: Sources, name: str) -> None:
    """A configuration file is a regular file of the repository, of a sensible size."""
    make, path, problem = FILES[name]
    make(repository)
    url = f"file://{repository.directory}"

    assert problem in await refused(sources.read(RepositoryFile(url, path), url, PLAIN, "", LARGEST))
