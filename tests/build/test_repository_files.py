"""Configuration files in Git repositories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.build import fetch
from imaginator.build.fetch import Fetched, Fetcher, Validators
from imaginator.build.sources import Sources
from imaginator.model.errors import ConfigurationError
from imaginator.model.giturl import RepositoryFile, repository_file, without_password
from imaginator.model.redaction import Redactor
from tests.support.git_repository import Repository
from tests.support.git_server import Backend, SshServer, rude, served
from tests.support.ports import free_port
from tests.support.real_reactor import reactor

SECRET = "s3cr3t-word"
REDACTOR = Redactor({"TOKEN": SECRET})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with files, of which a server can leave out contents."""
    repository = Repository(tmp_path / "conf.git")
    repository.git("config", "uploadpack.allowFilter", "true")
    (repository.directory / "link").symlink_to("one/manifest")
    repository.commit({"deep/conf.json": '{"a": 1}', "conf.git/x": "within"})
    return repository


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    """A fetcher of files in repositories."""
    return Fetcher(reactor, sources=Sources(reactor, tmp_path / "sources"))


@pytest.mark.parametrize(
    ("url", "repository", "path"),
    [
        ("https://host/x.git/conf.json", "https://host/x.git", "conf.json"),
        ("https://$TOKEN@host:81/a/x.git/b/c.json", "https://$TOKEN@host:81/a/x.git", "b/c.json"),
        ("ssh://git@host/x.git/a-b", "ssh://git@host/x.git", "a-b"),
        ("git@host:x.git/conf", "git@host:x.git", "conf"),
        ("git@host:a/x.git/y.git/conf", "git@host:a/x.git", "y.git/conf"),
    ],
)
def test_halves_of_a_url(url: str, repository: str, path: str) -> None:
    """The repository ends with the first `.git`."""
    assert RepositoryFile(repository, path) == repository_file(url)


@pytest.mark.parametrize(
    "url", ["https://host/x.git", "https://host/x.git/", "https://host/conf.json", "/srv/x.git/conf"]
)
def test_other_urls(url: str) -> None:
    """A path, and what has only one half, is no file in a repository."""
    assert repository_file(url) is None


def test_passwords_are_not_shown() -> None:
    """A literal password, or a user over HTTP that must be a token, is replaced; a variable's name stays."""
    hidden = {"https://u:word@host/x": "https://u:***@host/x", "http://token@host/x": "http://***@host/x"}
    urls = ["https://u:$WORD@host/x", "https://$TOKEN@host/x", "https://host/x:y@z", "git@host:x", "ssh://git@host/x"]

    assert [*hidden.values(), *urls] == [without_password(url) for url in (*hidden, *urls)]


@pytest_twisted.ensureDeferred
async def test_unchanged_file_costs_one_look(repository: Repository, fetcher: Fetcher, tmp_path: Path) -> None:
    """A file is fetched when its repository has changed, else its server is asked one question, of two requests."""
    backend = Backend(tmp_path)
    async with served(backend) as address:
        url = f"http://{address}/at/conf.git/deep/conf.json"
        first = await fetcher.fetch(url)
        backend.asked.clear()
        again = await fetcher.fetch(url, known=first.validators)
        asked = len(backend.asked)
        repository.commit({"deep/conf.json": '{"a": 2}'})
        changed = await fetcher.fetch(url, known=first.validators)

    assert [b'{"a": 1}', None, b'{"a": 2}'] == [first.data, again.data, changed.data]
    assert 2 == asked


@pytest_twisted.ensureDeferred
async def test_over_ssh(
    repository: Repository, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forms of an ssh URL."""
    server = SshServer(tmp_path / "ssh")
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
    urls = [
        f"ssh://root@127.0.0.1:{server.port}{repository.directory}/note",
        f"root@elsewhere:{repository.directory}/note",
    ]

    with server.run():
        found = [await fetcher.fetch(url) for url in urls]

    commit = repository.git("rev-parse", "HEAD")
    assert [Fetched(b"n", Validators(commit))] * 2 == found


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("absent", "no file 'absent'"),
        ("deep", "'deep' is not a regular file"),
        ("link", "'link' is a symbolic link, not a regular file"),
        ("note/x", "'note' is not a directory"),
        ("deep/../../x", "outside the repository"),
        ("one/run", "10 bytes: at most 9 are allowed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_bad_files(
    fetcher: Fetcher, repository: Repository, monkeypatch: pytest.MonkeyPatch, path: str, problem: str
) -> None:
    """What is no file of a sensible size is one clear error."""
    monkeypatch.setattr(fetch, "LARGEST", 9)
    async with served(Backend(repository.directory.parent)) as address:
        with pytest.raises(ConfigurationError, match=problem):
            await fetcher.fetch(f"http://{address}/at/conf.git/{path}")


@pytest_twisted.ensureDeferred
async def test_secrets_are_not_told(fetcher: Fetcher) -> None:
    """A server that cannot be reached is told by the public form of the URL."""
    url = f"http://{SECRET}@127.0.0.1:{free_port()}/{SECRET}.git/conf"

    with pytest.raises(ConfigurationError, match=r"^http://\$TOKEN@x.git/conf: ") as caught:
        await fetcher.fetch(url, shown="http://$TOKEN@x.git/conf", redactor=REDACTOR)

    assert SECRET not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_repositories_need_sources(repository: Repository) -> None:
    """Whoever has no place for mirrors refuses such a URL."""
    with pytest.raises(ConfigurationError, match="no URL that can be fetched"):
        await Fetcher(reactor).fetch(f"ssh://host{os.fspath(repository.directory)}/note")


@pytest_twisted.ensureDeferred
async def test_silent_server(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up."""
    monkeypatch.setattr(fetch, "LONGEST", 0.2)
    async with rude(resets=False) as address:
        with pytest.raises(ConfigurationError, match="no whole answer"):
            await fetcher.fetch(f"http://{address}/x.git/conf")
