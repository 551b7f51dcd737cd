"""Git from real servers: every transport, what is fetched and what is not, and what reaches others' eyes."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.util import redirectTo

from imaginator.build import git, gitrun, sources
from imaginator.build.sources import Checkout, SourceLocation, Sources
from imaginator.model.errors import BuildFailed, ConfigurationError, ImaginatorError, TimedOut
from imaginator.model.redaction import Redactor
from tests.support.git_repository import Repository
from tests.support.git_server import (
    Backend,
    SshServer,
    basic,
    git_daemon,
    rude,
    served,
    served_by_tls,
)
from tests.support.ports import free_port
from tests.support.real_reactor import reactor

SECRET = "s3cr3t/w+rd"
"""With characters that are percent-encoded in a URL."""

ENCODED = quote(SECRET, safe="")
REDACTOR = Redactor({"TOKEN": ENCODED})


class Bench:
    """A repository, sources to fetch it with, and a count of checkouts, which go to folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository(folder / "repository")
        self.repository.git("config", "uploadpack.allowFilter", "true")
        self.sources = Sources(reactor, folder / "sources")
        self.count = 0

    async def fetch(self, url: str, directory: str = "one", branch: str = "", shown: str = "") -> Checkout:
        """Check out a directory."""
        self.count += 1
        location = SourceLocation(url, shown or url, directory, branch)
        return await self.sources.fetch(location, self.folder / f"out{self.count}", REDACTOR)

    def mirror(self) -> Path:
        """The only mirror's directory."""
        (mirror,) = (self.folder / "sources").glob("*.git")
        return mirror

    def has(self, file: str) -> bool:
        """Whether the mirror holds the content of a file of the newest commit."""
        number = self.repository.git("rev-parse", f"HEAD:{file}")
        command = ["git", "-C", str(self.mirror()), "cat-file", "-e", number]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A repository with one commit; what fails is not tried again."""
    monkeypatch.setattr("imaginator.build.retry.DELAYS", ())
    return Bench(tmp_path)


def url_of(address: str, user: str = "", scheme: str = "http") -> str:
    """The repository at a server."""
    return f"{scheme}://{user}{address}/at/repository/.git"


async def refused(fetching: object, kind: type[ImaginatorError] = ConfigurationError) -> str:
    """The sentence of the error that a fetch ends with, which has no form of the secret in it."""
    with pytest.raises(kind) as caught:
        await fetching  # type: ignore[misc]
    sentence = str(caught.value)
    assert [] == [form for form in forms() if form in sentence]
    return sentence


def forms() -> list[str]:
    """The secret as it may appear: plain, percent-encoded in both cases, and as it is sent to a server."""
    return [SECRET, ENCODED, ENCODED.lower(), basic(SECRET).decode(), base64.b64encode(SECRET.encode()).decode()]


@pytest_twisted.ensureDeferred
async def test_http_with_the_right_password(bench: Bench) -> None:
    """A server that asks for a password gets the URL's."""
    async with served(Backend(bench.folder, password=SECRET)) as address:
        checkout = await bench.fetch(url_of(address, f"{ENCODED}:{ENCODED}@"))

    assert (bench.repository.first, "trunk") == (checkout.commit, checkout.branch)


@pytest.mark.parametrize("user", [f"{ENCODED}:{ENCODED}@", f"{ENCODED}@", f"user:{ENCODED}@"])
@pytest_twisted.ensureDeferred
async def test_http_with_a_wrong_password(bench: Bench, user: str) -> None:
    """A server that refuses is told at once, by the public URL, without a question on the terminal and a second try."""
    backend = Backend(bench.folder, password="another")
    async with served(backend) as address:
        shown = url_of(address, user.replace(ENCODED, "$TOKEN"))
        told = await refused(bench.fetch(url_of(address, user), shown=shown))

    assert shown in told
    assert any(words in told for words in ("Authentication failed", "could not read"))
    assert len(backend.asked) <= 3


@pytest_twisted.ensureDeferred
async def test_literal_password_is_not_told(bench: Bench) -> None:
    """A password that is written out in the URL is no more shown than a variable's."""
    async with served(Backend(bench.folder, password="another")) as address:
        location = SourceLocation(url_of(address, "user:written-out@"), url_of(address, "user:***@"))
        told = await refused(bench.sources.fetch(location, bench.folder / "out", Redactor({})))

    assert "written-out" not in told


@pytest_twisted.ensureDeferred
async def test_https(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of an authority that is trusted will do, any other not."""
    async with served_by_tls(Backend(bench.folder), bench.folder) as address:
        told = await refused(bench.fetch(url_of(address, scheme="https")), BuildFailed)
        monkeypatch.setenv("GIT_SSL_CAINFO", str(bench.folder / "ca.pem"))
        checkout = await bench.fetch(url_of(address, scheme="https"))

    assert "certificate" in told
    assert bench.repository.first == checkout.commit


@pytest_twisted.ensureDeferred
async def test_git_daemon(bench: Bench) -> None:
    """Git's own protocol."""
    with git_daemon(bench.folder) as address:
        checkout = await bench.fetch(f"git://{address}/repository/.git")

    assert bench.repository.first == checkout.commit


@pytest_twisted.ensureDeferred
async def test_ssh(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of an ssh URL, with the key, port and known hosts of the daemon's own settings."""
    server = SshServer(bench.folder / "ssh")
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
    path = bench.repository.directory

    with server.run():
        found = [
            await bench.fetch(f"ssh://root@127.0.0.1:{server.port}{path}"),
            await bench.fetch(f"root@elsewhere:{path}"),
        ]
        (server.folder / "known").write_text("")
        told = await refused(bench.fetch(f"ssh://root@127.0.0.1:{server.port}{path}"))

    assert [bench.repository.first] * 2 == [checkout.commit for checkout in found]
    assert "Host key verification failed" in told


@pytest_twisted.ensureDeferred
async def test_repository_of_another_user(bench: Bench) -> None:
    """A local repository is read as its owner: Git refuses to read others' as root."""
    for path in (bench.repository.directory, *bench.repository.directory.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in (bench.folder, *bench.folder.parents[:-2]):
        path.chmod(0o755)

    checkout = await bench.fetch(f"file://{bench.repository.directory}")

    assert (checkout.directory / "manifest").exists()


@pytest.mark.parametrize("user", ["", f"{ENCODED}:{ENCODED}@"])
@pytest_twisted.ensureDeferred
async def test_unreachable_host(bench: Bench, user: str) -> None:
    """A port where nobody listens, and a name that nobody has."""
    told = await refused(bench.fetch(url_of(f"127.0.0.1:{free_port()}", user), shown="http://$TOKEN"), BuildFailed)
    assert told.startswith("http://$TOKEN: git ls-remote")

    told = await refused(bench.fetch(url_of("no-such-host.invalid", user), shown="http://$TOKEN"), BuildFailed)
    assert "Could not resolve host" in told


class Moved(Resource):
    """Sends everybody to the same path below ``place``."""

    isLeaf = True  # noqa: N815

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()
        self.place = place

    def render(self, request: Request) -> bytes:
        """Redirect."""
        return redirectTo(self.place().encode() + request.uri, request)


@pytest_twisted.ensureDeferred
async def test_redirect(bench: Bench) -> None:
    """A repository that has moved is found, and another server gets no password of the first."""
    new = Backend(bench.folder)
    guarded = Backend(bench.folder, password=SECRET)
    async with served(new) as there, served(Moved(lambda: f"http://{there}")) as here:
        checkout = await bench.fetch(url_of(here, f"{ENCODED}:{ENCODED}@"))
    async with served(guarded) as there, served(Moved(lambda: f"http://{there}")) as here:
        told = await refused(bench.fetch(url_of(here, f"{ENCODED}:{ENCODED}@"), shown="http://$TOKEN@here"))

    assert bench.repository.first == checkout.commit
    assert "http://$TOKEN@here" in told


@pytest_twisted.ensureDeferred
async def test_redirect_on_the_same_server(bench: Bench) -> None:
    """A repository that was renamed on a server with a password is found."""

    class Renamed(Backend):
        def render(self, request: Request) -> object:
            if b"/repository/" not in request.path:
                return redirectTo(request.uri.replace(b"/old/", b"/repository/"), request)
            return super().render(request)

    async with served(Renamed(bench.folder, password=SECRET)) as address:
        checkout = await bench.fetch(f"http://{ENCODED}:{ENCODED}@{address}/at/old/.git")

    assert bench.repository.first == checkout.commit


@pytest_twisted.ensureDeferred
async def test_redirect_out_of_http(bench: Bench) -> None:
    """A server cannot send the daemon to its own files."""
    async with served(Moved(lambda: f"file://{bench.repository.directory}?")) as address:
        await refused(bench.fetch(url_of(address)), BuildFailed)


@pytest.mark.parametrize("scheme", ["http", "git"])
@pytest_twisted.ensureDeferred
async def test_server_that_resets(bench: Bench, scheme: str) -> None:
    """A connection that is cut is one clear error."""
    async with rude(resets=True) as address:
        told = await refused(bench.fetch(url_of(address, scheme=scheme)), BuildFailed)

    assert "git ls-remote" in told


@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
@pytest_twisted.ensureDeferred
async def test_server_that_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """A server that never answers is given up, and no process is left of it."""
    monkeypatch.setattr(git, "LONGEST_QUESTION", 0.3)
    async with rude(resets=False) as address:
        told = await refused(bench.fetch(url_of(address, scheme=scheme)), TimedOut)
        left = [line for line in command_lines() if str(bench.folder) in line or address.partition(":")[2] in line]

    assert "git ls-remote: not finished after 0.3 s" in told
    assert [] == left


def command_lines() -> Iterator[str]:
    """The arguments of every process of this machine, as `ps` shows them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


class Watch:
    """Looks at all command lines, again and again in a thread, and whenever it is called."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.looks = 0
        self._ended = threading.Event()

    def __call__(self) -> None:
        """Look."""
        self.looks += 1
        self.seen |= {line for line in command_lines() if any(form in line for form in forms())}

    def run(self) -> None:
        """Look until it is to end."""
        while not self._ended.is_set():
            self()
            time.sleep(0.001)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()


@pytest_twisted.ensureDeferred
async def test_secrets_are_on_no_command_line_and_in_no_file(bench: Bench) -> None:
    """A secret anywhere in an HTTP URL or in the directory is no argument of a process and is written nowhere."""
    watch = Watch()
    bench.repository.commit({f"{ENCODED}/manifest": "{}"})
    ending = deferToThread(watch.run)

    backend = Backend(bench.folder, SECRET, watch)
    async with served(backend) as address:
        url = f"http://{ENCODED}:{ENCODED}@{address}/{ENCODED}/at/repository/.git"
        checkout = await bench.fetch(url, ENCODED, shown=f"http://$TOKEN:$TOKEN@{address}/x.git")
        told = await refused(bench.fetch(url, f"{ENCODED}/x", shown=f"http://$TOKEN:$TOKEN@{address}/x.git"))
    watch.end()
    await ending

    assert (checkout.directory / "manifest").exists()
    assert "'$TOKEN/x' is not a directory" in told
    assert watch.looks > len(backend.asked)
    assert set() == watch.seen
    assert [] == grep(bench.folder / "sources")


def grep(directory: Path) -> list[str]:
    """The files below a directory that hold the secret."""
    patterns = [word for form in forms() for word in ("-e", form)]
    result = subprocess.run(["grep", "-rlF", *patterns, directory], capture_output=True, text=True, check=False)
    return result.stdout.splitlines()


@pytest.mark.parametrize("url", ["ssh://git@host/TOKEN.git", "git@host:TOKEN.git", "/srv/TOKEN.git"])
@pytest_twisted.ensureDeferred
async def test_secrets_that_ps_would_show_are_refused(bench: Bench, url: str) -> None:
    """Where Git itself would put a URL on a command line, it may hold no secret."""
    told = await refused(bench.fetch(url.replace("TOKEN", ENCODED), shown=url.replace("TOKEN", "$TOKEN")))

    assert "$TOKEN.git: a secret in this kind of URL" in told


@pytest_twisted.ensureDeferred
async def test_unchanged_repository_is_asked_once(bench: Bench) -> None:
    """Nothing new on the server: one `ls-remote`, which is two requests; a commit id that is here: none."""
    backend = Backend(bench.folder)
    async with served(backend) as address:
        await bench.fetch(url_of(address))
        backend.asked.clear()
        await bench.fetch(url_of(address))
        again = len(backend.asked)
        await bench.fetch(url_of(address), branch=bench.repository.first)

    assert (2, 2) == (again, len(backend.asked))


@pytest_twisted.ensureDeferred
async def test_one_fetches_for_all(bench: Bench) -> None:
    """Builds that want the same at once ask what the branch is, and only the first one fetches."""
    alone, together = Backend(bench.folder), Backend(bench.folder)
    async with served(alone) as address:
        await bench.fetch(url_of(address))
    async with served(together) as address:
        wanted = [ensureDeferred(bench.fetch(url_of(address))) for _ in range(3)]
        found = await gatherResults(wanted)

    assert [bench.repository.first] * 3 == [checkout.commit for checkout in found]
    assert len(alone.asked) + 2 * 2 == len(together.asked)


@pytest_twisted.ensureDeferred
async def test_only_the_directory_is_fetched(bench: Bench) -> None:
    """A server that can leave out contents is asked for those of the directory only, once."""
    bench.repository.commit({"two/manifest": '{"two": 2}', "two/more": "more", "elsewhere/large": "x" * 100_000})
    backend = Backend(bench.folder)
    async with served(backend) as address:
        await bench.fetch(url_of(address), "two")
        present = [bench.has(file) for file in ("two/manifest", "two/more", "one/run", "elsewhere/large")]
        backend.asked.clear()
        await bench.fetch(url_of(address), "two", bench.repository.git("rev-parse", "HEAD"))

    assert ([True, True, False, False], []) == (present, backend.asked)


@pytest.mark.parametrize("setting", ["false", "true"])
@pytest_twisted.ensureDeferred
async def test_server_that_hands_out_no_parts(bench: Bench, setting: str) -> None:
    """A server that cannot leave out contents, or leaves them out and hands none out alone: everything is fetched."""
    bench.repository.git("config", "uploadpack.allowFilter", setting)
    bench.repository.commit({"two/manifest": '{"two": 2}'})
    async with served(Backend(bench.folder, old=True)) as address:
        checkout = await bench.fetch(url_of(address), "two")

    assert (checkout.directory / "manifest").exists()
    assert bench.has("one/run")


@pytest_twisted.ensureDeferred
async def test_commit_that_is_no_tip(bench: Bench) -> None:
    """A commit in the middle of a branch may be asked for where the server lets it, else the server's rule is told."""
    bench.repository.commit({"one/manifest": '{"new": 1}'})
    async with served(Backend(bench.folder)) as address:
        checkout = await bench.fetch(url_of(address), branch=bench.repository.first)
        unknown = await refused(bench.fetch(url_of(address), branch="0" * 40))
    async with served(Backend(bench.folder, old=True)) as address:
        told = await refused(bench.fetch(url_of(address), branch=bench.repository.first))
        tip = await bench.fetch(url_of(address), branch=bench.repository.git("rev-parse", "HEAD").upper())

    assert (bench.repository.first, "") == (checkout.commit, checkout.branch)
    assert f"no commit {'0' * 40}" in unknown
    assert "hands out no commit that no branch or tag points at" in told
    assert '{"new": 1}' == (tip.directory / "manifest").read_text()


@pytest_twisted.ensureDeferred
async def test_unknown_branches_are_explained(bench: Bench) -> None:
    """The default branch is named; a short commit id gets a hint; an empty repository has no branch at all."""
    url = f"file://{bench.repository.directory}"
    subprocess.run(["git", "init", "--quiet", "--bare", bench.folder / "empty"], check=True)

    assert "the default branch is 'trunk'" in await refused(bench.fetch(url, branch="master"))
    assert "by its full id" in await refused(bench.fetch(url, branch=bench.repository.first[:10]))
    assert "no default branch" in await refused(bench.fetch(f"file://{bench.folder}/empty"))


@pytest_twisted.ensureDeferred
async def test_sha256_repository(bench: Bench) -> None:
    """A repository whose objects have the longer names."""
    other = bench.folder / "long"
    shutil.copytree(bench.repository.directory / "one", other)
    bench.repository.directory = other
    bench.repository.git("init", "--quiet", "--initial-branch=trunk", "--object-format=sha256")
    commit = bench.repository.commit({})

    checkout = await bench.fetch(f"file://{other}", "")

    assert commit == checkout.commit
    assert (checkout.directory / "run").exists()


@pytest_twisted.ensureDeferred
async def test_checkout_is_what_git_checks_out(bench: Bench) -> None:
    """Attributes hold as in a clone, those of directories above too; a filter that nobody has changes nothing."""
    files = {
        ".gitattributes": "*.dos text eol=crlf\n*.id ident\n",
        "one/.gitattributes": "*.w working-tree-encoding=UTF-16LE\n* filter=evil export-subst\n",
        "one/deep/a.dos": "a\nb\n",
        "one/deep/a.id": "$Id$\n",
        "one/deep/a.w": "w\0i\0d\0e\0\n\0",
        "one/deep/plain": "$Format:%H$\n",
    }
    bench.repository.commit(files)
    subprocess.run(["git", "clone", "--quiet", bench.repository.directory, bench.folder / "clone"], check=True)

    checkout = await bench.fetch(f"file://{bench.repository.directory}", "one/deep")

    assert content(bench.folder / "clone" / "one" / "deep") == content(checkout.directory)
    assert b"a\r\nb\r\n" == content(checkout.directory)["a.dos"]


def content(directory: Path) -> dict[str, bytes]:
    """The files of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def truncate(mirror: Path) -> None:
    """Cut every pack in half."""
    for pack in mirror.glob("objects/pack/*.pack"):
        pack.chmod(0o600)
        os.truncate(pack, pack.stat().st_size // 2)


def garble(mirror: Path) -> None:
    """Overwrite the middle of every pack."""
    for pack in mirror.glob("objects/pack/*.pack"):
        pack.chmod(0o600)
        data = pack.read_bytes()
        pack.write_bytes(data[:12] + b"\xff" * (len(data) - 32) + data[-20:])


def lose(mirror: Path) -> None:
    """Remove all objects."""
    shutil.rmtree(mirror / "objects" / "pack")


def behead(mirror: Path) -> None:
    """Leave something that Git takes for no repository."""
    (mirror / "HEAD").write_text("")


@pytest.mark.parametrize("damage", [truncate, garble, lose, behead])
@pytest_twisted.ensureDeferred
async def test_damaged_mirror_gets_new_commits(bench: Bench, damage: Callable[[Path], None]) -> None:
    """A damaged mirror does not keep a newer commit from being fetched."""
    async with served(Backend(bench.folder)) as address:
        await bench.fetch(url_of(address))
        damage(bench.mirror())
        commit = bench.repository.commit({"one/manifest": '{"new": 1}'})
        checkout = await bench.fetch(url_of(address))

    assert commit == checkout.commit
    assert b'{"new": 1}' == content(checkout.directory)["manifest"]


@pytest.mark.parametrize("damage", [truncate, garble, lose, behead])
@pytest_twisted.ensureDeferred
async def test_damaged_mirror_begins_anew(bench: Bench, damage: Callable[[Path], None]) -> None:
    """Whatever happened to its objects, the next fetch gives the right files and leaves a good mirror."""
    url = f"file://{bench.repository.directory}"
    await bench.fetch(url)
    damage(bench.mirror())

    found = [await bench.fetch(url), await bench.fetch(url, branch=bench.repository.first)]

    assert [["manifest", "run"]] * 2 == [sorted(content(checkout.directory)) for checkout in found]
    assert b"#!/bin/sh\n" == content(found[0].directory)["run"]
    assert [] == [*bench.mirror().parent.glob("*.old"), *bench.mirror().parent.glob("*.new")]


@pytest_twisted.ensureDeferred
async def test_damaged_mirror_of_an_unreachable_server_stays(bench: Bench) -> None:
    """What cannot be fetched again is not thrown away."""
    async with served(Backend(bench.folder)) as address:
        await bench.fetch(url_of(address))
    lose(bench.mirror())

    await refused(bench.fetch(url_of(address), branch=bench.repository.first), BuildFailed)

    assert (bench.mirror() / "HEAD").exists()


@pytest_twisted.ensureDeferred
async def test_leftovers_of_a_killed_fetch_go(bench: Bench) -> None:
    """Locks and half packs neither stop the next fetch nor stay."""
    url = f"file://{bench.repository.directory}"
    await bench.fetch(url)
    left = [bench.mirror() / name for name in ("shallow.lock", "objects/pack/tmp_pack_x")]
    for path in left:
        path.touch()
    commit = bench.repository.commit({"note": "newer"})

    checkout = await bench.fetch(url)

    assert commit == checkout.commit
    assert [False, False] == [path.exists() for path in left]


@pytest_twisted.ensureDeferred
async def test_mirror_with_many_packs_begins_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror does not grow for ever."""
    monkeypatch.setattr(git, "MOST_PACKS", 3)
    url = f"file://{bench.repository.directory}"
    packs = []
    for number in range(6):
        bench.repository.commit({"one/manifest": f'{{"number": {number}}}'})
        checkout = await bench.fetch(url)
        packs.append(len([*bench.mirror().glob("objects/pack/*.pack")]))

    assert '{"number": 5}' == (checkout.directory / "manifest").read_text()
    assert max(packs) <= 4


@pytest_twisted.ensureDeferred
async def test_changed_password_keeps_the_mirror(bench: Bench) -> None:
    """A new secret is asked for anew but fetches little; one that does not let in gets nothing that is here."""
    bench.repository.commit({"one/large": base64.b85encode(os.urandom(100_000)).decode()})
    backend = Backend(bench.folder, password="old-password")
    async with served(backend) as address:
        shown = url_of(address, "$USER:$PASSWORD@")
        first = await bench.fetch(url_of(address, "old-password:old-password@"), shown=shown)
        before = size(bench.mirror())
        backend.password = "new-password"
        await refused(bench.fetch(url_of(address, "old-password:old-password@"), shown=shown))
        await refused(bench.fetch(url_of(address, "wrong-password:x@"), branch=first.commit, shown=shown))
        again = await bench.fetch(url_of(address, "new-password:new-password@"), branch=first.commit, shown=shown)

    assert first.commit == again.commit
    assert size(bench.mirror()) - before < 10_000


def size(directory: Path) -> int:
    """Bytes of all packs of a mirror."""
    return sum(pack.stat().st_size for pack in directory.glob("objects/pack/*"))


@pytest_twisted.ensureDeferred
async def test_unused_mirrors_go(bench: Bench) -> None:
    """A mirror that nobody used for a long time is removed, one that is used stays."""
    other = Repository(bench.folder / "other")
    await bench.fetch(f"file://{other.directory}")
    stale = bench.mirror()
    os.utime(stale, (0, reactor.seconds() - sources.KEPT - 1))
    await bench.fetch(f"file://{bench.repository.directory}")

    (stale.parent / "killed.new").mkdir()

    await bench.sources.trim()

    assert not stale.exists()
    assert bench.mirror().exists()
    assert ["git", "helpers"] == sorted(path.suffix[1:] or path.name for path in stale.parent.iterdir())


@pytest_twisted.ensureDeferred
async def test_huge_fetch_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that would fill the disk is a clear error, and nothing of it stays."""
    monkeypatch.setattr(gitrun, "LARGEST_FILE", 100_000)
    bench.repository.git("config", "uploadpack.allowFilter", "false")
    bench.repository.commit({"large": base64.b85encode(os.urandom(400_000)).decode()})

    told = await refused(bench.fetch(f"file://{bench.repository.directory}"))

    assert "more than 100000 bytes" in told
    assert [] == [*(bench.folder / "sources").glob("*.git")]
