"""The manifests of many directories of a commit, from real repositories and a real server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.build import gathering
from imaginator.build.manifests import LARGEST_TEXT
from imaginator.build.sources import SourceLocation, Sources
from imaginator.model.errors import ConfigurationError
from imaginator.model.redaction import Redactor
from tests.support.git_repository import Repository
from tests.support.git_server import Backend, served
from tests.support.real_reactor import reactor

SECRET = "correct-horse"
REDACTOR = Redactor({"TOKEN": SECRET})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository that hands out contents one by one."""
    repository = Repository(tmp_path / "repository")
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    return repository


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Sources without a mirror."""
    return Sources(reactor, tmp_path / "sources")


async def gathered(sources: Sources, url: str, *directories: str, shown: str = "") -> dict[str, str]:
    """What each directory's manifest says, or the sentence, less what differs from run to run."""
    location = SourceLocation(url, shown or url)
    commit = await sources.head(location, REDACTOR)
    answers = await sources.manifests(location, commit, directories, REDACTOR)
    words = {name: answer.decode() if isinstance(answer, bytes) else str(answer) for name, answer in answers.items()}
    return {name: text.replace(location.shown, "URL").replace(commit, "COMMIT") for name, text in words.items()}


@pytest_twisted.ensureDeferred
async def test_one_fetch_for_all(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """Contents come in one request whatever their number, without the rest, and only where they are not there yet."""
    texts = {f"s{number}": f'{{"SourceImage": "{number}"}}' for number in range(30)}
    repository.commit({f"{name}/manifest": text for name, text in texts.items()} | {"s1/files/large": "large"})
    backend = Backend(tmp_path)
    async with served(backend) as address:
        url = f"http://{address}/at/repository/.git"
        location = SourceLocation(url, url)
        commit = await sources.head(location, REDACTOR)
        at_first = len(backend.asked)
        found = await sources.manifests(location, commit, list(texts), REDACTOR)
        contents = len(backend.asked) - at_first
        again = await sources.manifests(location, commit, list(texts), REDACTOR)

    assert {name: text.encode() for name, text in texts.items()} == found == again
    assert 2 == contents  # its references' advertisement, and the fetch
    assert at_first + contents == len(backend.asked)
    (mirror,) = (tmp_path / "sources").glob("*.git")
    large = repository.git("rev-parse", "HEAD:s1/files/large")
    assert subprocess.run(["git", "-C", mirror, "cat-file", "-e", large], capture_output=True, check=False).returncode


@pytest_twisted.ensureDeferred
async def test_what_is_no_manifest(repository: Repository, sources: Sources) -> None:
    """Each directory has its own sentence, and the others their manifests."""
    repository.commit({"good/manifest": "{}", "file": "x", "a/dir/manifest/x": "", "none/x": "", "empty/manifest": ""})
    repository.commit({"large/manifest": "x" * (10 << 20)})
    found = await gathered(
        sources, repository.at().url, "good", "gone", "file", "a/dir", "none", "empty", "large", "", "file/x"
    )

    assert {
        "good": "{}",
        "gone": "URL: no directory 'gone' in commit COMMIT",
        "file": "URL: no directory 'file' in commit COMMIT",
        "file/x": "URL: no directory 'file/x' in commit COMMIT",
        "a/dir": "URL/a/dir/manifest: not a regular file",
        "none": "URL/none: no file called manifest: expected one with SourceImage",
        "empty": "",
        "large": f"URL/large/manifest: {10 << 20} bytes: at most {LARGEST_TEXT} are allowed",
        "": "URL: no file called manifest: expected one with SourceImage",
    } == found


@pytest_twisted.ensureDeferred
async def test_links(repository: Repository, sources: Sources) -> None:
    """A link leads to a file beside it, as for a build; nothing else is followed."""
    targets = {"beside": "real", "twice": "other", "away": "../beside/real", "nothing": "gone", "self": "manifest"}
    for name, target in targets.items():
        directory = repository.directory / name
        directory.mkdir()
        (directory / "real").write_text("{}")
        (directory / "other").symlink_to("real")
        (directory / "manifest").symlink_to(target)
    (repository.directory / "linked").symlink_to("beside")
    repository.commit({"beside/real": '{"a": 1}'})
    found = await gathered(sources, repository.at().url, *targets, "linked")

    refused = "a symbolic link: expected a file, or a link to one beside it"
    assert {
        "beside": '{"a": 1}',
        "twice": "URL/twice/manifest: a symbolic link to another one",
        "away": f"URL/away/manifest: {refused}",
        "nothing": f"URL/nothing/manifest: {refused}",
        "self": "URL/self/manifest: a symbolic link to another one",
        "linked": "URL: no directory 'linked' in commit COMMIT",
    } == found


@pytest_twisted.ensureDeferred
async def test_names_that_look_like_others(repository: Repository, sources: Sources) -> None:
    """A tree is taken apart entry by entry, whatever its names look like."""
    blob, wanted = repository.blob("wrong"), repository.blob("right")
    inner = repository.tree(
        ("100644", "a 100644 manifest", blob), ("100644", "manifest", wanted), ("100644", "manifest2", blob)
    )
    repository.commit_tree(repository.tree(("40000", "web missing", inner)))

    assert {"web missing": "right"} == await gathered(sources, repository.at().url, "web missing")


@pytest.mark.parametrize("crowd", [1, 200])
@pytest_twisted.ensureDeferred
async def test_more_than_at_once(
    crowd: int, repository: Repository, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the number of directories nor the size of all contents matters."""
    monkeypatch.setattr(gathering, "AT_ONCE", 6)
    monkeypatch.setattr(gathering, "CROWD", crowd)
    monkeypatch.setattr(gathering, "LARGEST_ANSWER", 50)
    texts = {f"{folder}s{number}": f"{number}" * number * 8 for number in range(10) for folder in ("", "a/b/", "c/")}
    repository.commit({f"{name}/manifest": text for name, text in texts.items()})
    missing = {"c/x": "URL: no directory 'c/x' in commit COMMIT", "y": "URL: no directory 'y' in commit COMMIT"}

    assert {**texts, **missing} == await gathered(sources, repository.at().url, *texts, *missing)


@pytest_twisted.ensureDeferred
async def test_a_server_that_hands_out_no_single_contents(tmp_path: Path, sources: Sources) -> None:
    """Then everything is fetched."""
    repository = Repository(tmp_path / "repository")
    repository.commit({"web/manifest": "{}"})
    backend = Backend(tmp_path, old=True)
    async with served(backend) as address:
        assert {"web": "{}"} == await gathered(sources, f"http://{address}/at/repository/.git", "web")


@pytest_twisted.ensureDeferred
async def test_a_damaged_mirror_begins_anew(repository: Repository, sources: Sources, tmp_path: Path) -> None:
    """What was fetched and is gone is fetched again."""
    repository.commit({"web/manifest": "{}"})
    url = repository.at().url
    await gathered(sources, url, "web")
    (mirror,) = (tmp_path / "sources").glob("*.git")
    for pack in mirror.glob("objects/pack/*"):
        pack.unlink()

    assert {"web": "{}"} == await gathered(sources, url, "web")


@pytest_twisted.ensureDeferred
async def test_secrets_are_not_told(repository: Repository, sources: Sources) -> None:
    """Neither one in a directory's name, nor one in the URL, is in a sentence."""
    repository.commit({"web/manifest": "{}"})
    url = repository.at().url
    found = await gathered(sources, url, SECRET, f"web/{SECRET}", shown=url)

    assert [f"URL: no directory '{name}' in commit COMMIT" for name in ("$TOKEN", "web/$TOKEN")] == list(found.values())


@pytest_twisted.ensureDeferred
async def test_an_empty_repository(tmp_path: Path, sources: Sources) -> None:
    """It has no commit."""
    (tmp_path / "empty").mkdir()
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "empty"], check=True)
    url = f"file://{tmp_path}/empty"

    with pytest.raises(ConfigurationError, match="no default branch: the repository is empty"):
        await sources.head(SourceLocation(url, url), REDACTOR)
