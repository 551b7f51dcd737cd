"""Manifests from real Git repositories and plain directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.build.sources import SourceLocation, Sources
from imaginator.model.errors import ConfigurationError
from imaginator.model.redaction import Redactor
from tests.support.git_repository import Repository

PLAIN = Redactor({})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    return Repository(tmp_path / "repository")


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Sources with an empty folder of mirrors."""
    from twisted.internet import reactor

    return Sources(reactor, tmp_path / "sources")  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_directory_of_the_default_branch(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """Only the manifest's directory is written, with modes, and commit and branch are told."""
    checkout = await sources.fetch(repository.at("one"), tmp_path / "out", PLAIN)

    names = sorted(path.name for path in checkout.directory.iterdir())
    assert ["manifest", "run"] == names
    assert os.access(checkout.directory / "run", os.X_OK)
    assert (repository.first, "trunk") == (checkout.commit, checkout.branch)


@pytest_twisted.ensureDeferred
async def test_branch_tag_and_commit(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """What is asked for may be a branch, a light or annotated tag, or a commit id, of any time."""
    repository.git("tag", "light")
    repository.git("tag", "-a", "heavy", "-m", "heavy")
    repository.git("branch", "topic/old")
    repository.commit({"one/manifest": '{"new": 1}'})

    found = []
    for number, branch in enumerate(["light", "heavy", "topic/old", repository.first]):
        checkout = await sources.fetch(repository.at("one", branch), tmp_path / str(number), PLAIN)
        found.append((checkout.commit, (checkout.directory / "manifest").read_text()))

    assert [(repository.first, "{}")] * 4 == found


@pytest_twisted.ensureDeferred
async def test_moved_branch_is_fetched_again(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """The mirror is asked for the branch each time, and only new commits are fetched."""
    await sources.fetch(repository.at(), tmp_path / "old", PLAIN)
    commit = repository.commit({"note": "newer"})

    checkout = await sources.fetch(repository.at(), tmp_path / "new", PLAIN)

    assert (commit, "newer") == (checkout.commit, (checkout.directory / "note").read_text())


@pytest_twisted.ensureDeferred
async def test_concurrent_fetches_share_the_mirror(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """Two builds of one repository at once both get their files."""
    from twisted.internet.defer import ensureDeferred, gatherResults

    both = [ensureDeferred(sources.fetch(repository.at("one"), tmp_path / name, PLAIN)) for name in ("a", "b")]

    commits = [checkout.commit for checkout in await gatherResults(both)]
    assert [repository.first] * 2 == commits


@pytest_twisted.ensureDeferred
async def test_unknown_branch_names_the_default_one(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """Who asks for master where there is none learns what to ask for."""
    with pytest.raises(ConfigurationError, match=r"no branch, tag or commit 'master'; the default branch is 'trunk'"):
        await sources.fetch(repository.at("one", "master"), tmp_path / "out", PLAIN)


@pytest.mark.parametrize(
    ("directory", "problem"),
    [
        ("nowhere", "no directory 'nowhere'"),
        ("note", "'note' is not a directory"),
        ("../one", "outside the repository"),
        ("one/../../x", "outside the repository"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_bad_directory(
    repository: Repository, sources: Sources, tmp_path: Path, directory: str, problem: str
) -> None:
    """A directory that is missing, is none or lies outside is a clear error."""
    with pytest.raises(ConfigurationError, match=problem):
        await sources.fetch(repository.at(directory), tmp_path / "out", PLAIN)


@pytest.mark.parametrize("url", ["ext::sh -c id", "--upload-pack=id", "ftp://host/x", "-oProxyCommand=id@host:x", ""])
@pytest_twisted.ensureDeferred
async def test_strange_transports_are_refused(sources: Sources, tmp_path: Path, url: str) -> None:
    """Only the usual transports are, and nothing that could be an option."""
    with pytest.raises(ConfigurationError, match="Git URL"):
        await sources.fetch(SourceLocation(url, url), tmp_path / "out", PLAIN)


@pytest.mark.parametrize("branch", ["--help", "a..b", "a b", "x^{commit}", "*"])
@pytest_twisted.ensureDeferred
async def test_strange_branches_are_refused(
    repository: Repository, sources: Sources, tmp_path: Path, branch: str
) -> None:
    """What cannot be a branch's name never reaches Git."""
    with pytest.raises(ConfigurationError, match="no name of a branch"):
        await sources.fetch(repository.at("one", branch), tmp_path / "out", PLAIN)


@pytest_twisted.ensureDeferred
async def test_secrets_stay_out_of_errors(sources: Sources, tmp_path: Path) -> None:
    """A local Git's arguments are for all to see: a secret in a local URL is refused, and told by its public form."""
    redactor = Redactor({"TOKEN": "s3cr3t-word"})
    location = SourceLocation(f"file://{tmp_path}/s3cr3t-word.git", "file:///$TOKEN.git")

    with pytest.raises(ConfigurationError, match="list of processes") as caught:
        await sources.fetch(location, tmp_path / "out", redactor)

    assert "s3cr3t" not in str(caught.value)
    assert "file:///$TOKEN.git" in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_hooks_and_filters_do_not_run(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """Attributes that name a filter, and hooks of the mirror's template, change nothing."""
    repository.commit({".gitattributes": "* filter=evil\n", "note": "plain"})

    checkout = await sources.fetch(repository.at(), tmp_path / "out", PLAIN)

    assert "plain" == (checkout.directory / "note").read_text()


@pytest_twisted.ensureDeferred
async def test_plain_directory(sources: Sources, tmp_path: Path) -> None:
    """A `dir://` manifest is used where it lies; `master` or nothing may be asked for."""
    (tmp_path / "tree" / "one").mkdir(parents=True)
    url = f"dir://{tmp_path}/tree"

    checkout = await sources.fetch(SourceLocation(url, url, "one", "master"), tmp_path / "out", PLAIN)

    assert (tmp_path / "tree" / "one", "", "") == checkout[:3]


@pytest.mark.parametrize(
    ("directory", "branch", "problem"),
    [
        ("one", "topic", "no branches"),
        ("two", "", "no directory"),
        ("file", "", "not a directory"),
        ("out", "", "outside"),
        ("..", "", "outside"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_bad_plain_directory(sources: Sources, tmp_path: Path, directory: str, branch: str, problem: str) -> None:
    """The same errors as for repositories; a link out of the directory is one of them."""
    (tmp_path / "tree" / "one").mkdir(parents=True)
    (tmp_path / "tree" / "file").touch()
    (tmp_path / "tree" / "out").symlink_to("/")
    url = f"dir://{tmp_path}/tree"

    with pytest.raises(ConfigurationError, match=problem):
        await sources.fetch(SourceLocation(url, url, directory, branch), tmp_path / "x", PLAIN)
