"""The configuration is watched, the last good version of each file is kept, secrets are known to the redactor."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from imaginator.model.errors import ConfigurationError
from tests.support.building import Files, make_configuration
from tests.support.git_repository import Repository
from tests.support.git_server import Backend, served
from tests.support.store_parts import running_store


@pytest_twisted.ensureDeferred
async def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    """One look takes over what both files say now."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_main({"small": "deb"}, {"deb": {}})
        files.write_streams(["app"])
        configuration = make_configuration(parts, files)
        await configuration.load()
        before = configuration.names
        files.write_main({"small": "deb", "large": "deb"}, {"deb": {}})
        files.write_streams(["app", "web"])
        await configuration.look()

        assert ["app", "small"] == before
        assert ["app", "large", "small", "web"] == configuration.names


@pytest_twisted.ensureDeferred
async def test_an_unknown_stream_makes_everything_be_read(tmp_path: Path) -> None:
    """A stream that was added a moment ago is found without waiting for the watch."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["app"])
        configuration = make_configuration(parts, files)
        await configuration.load()
        files.write_streams(["app", "new"])

        assert await configuration.find("new") is not None
        assert await configuration.find("newer") is None


@pytest_twisted.ensureDeferred
async def test_a_broken_version_never_replaces_a_good_one(tmp_path: Path) -> None:
    """The error names file, line and column, and is gone when the file is mended."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["app"])
        configuration = make_configuration(parts, files)
        await configuration.load()
        good = files.streams.read_text()
        files.streams.write_text('{\n  "Streams": oops}')
        await configuration.look()
        names, errors = configuration.names, configuration.errors
        files.streams.write_text(good)
        await configuration.look()

        assert ["app", "boot"] == names
        assert [True] == [f"{files.streams}: line 2" in error for error in errors]
        assert ([], 1) == (configuration.errors, configuration.refusals)


@pytest_twisted.ensureDeferred
async def test_a_file_that_comes_back_unchanged(tmp_path: Path) -> None:
    """A file that could not be reached for a while leaves no error behind."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["app"])
        configuration = make_configuration(parts, files)
        await configuration.load()
        away = files.streams.rename(tmp_path / "away")
        await configuration.look()
        errors = configuration.errors
        away.rename(files.streams)
        await configuration.look()

        assert [f"{files.streams}: cannot be read: No such file or directory"] == errors
        assert ([], ["app", "boot"]) == (configuration.errors, configuration.names)


@pytest.mark.parametrize("broken", ["", "{oops"])
@pytest_twisted.ensureDeferred
async def test_the_last_good_streams_outlive_a_restart(tmp_path: Path, broken: str) -> None:
    """While the streams file is absent or malformed at start, the last good copy stands in."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["app"])
        await make_configuration(parts, files).load()
        files.streams.unlink()
        if broken:
            files.streams.write_text(broken)
        configuration = make_configuration(parts, files)
        await configuration.load()

        assert ["app", "boot"] == configuration.names
        assert 1 == len(configuration.errors)


@pytest_twisted.ensureDeferred
async def test_a_malformed_main_configuration_ends_the_start(tmp_path: Path) -> None:
    """Even where a good copy is known, so that an operator's slip is told at once."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        await make_configuration(parts, files).load()
        files.main.write_text("{oops")

        with pytest.raises(ConfigurationError, match="line 1"):
            await make_configuration(parts, files).load()


@pytest_twisted.ensureDeferred
async def test_no_main_configuration_at_all(tmp_path: Path) -> None:
    """Without a file and without a copy there is nothing to start with."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.main.unlink()
        with pytest.raises(ConfigurationError, match="No such file"):
            await make_configuration(parts, files).load()


@pytest_twisted.ensureDeferred
async def test_secrets_expand_in_the_address_and_show_by_name(tmp_path: Path) -> None:
    """The streams file is found by the secret's value; errors about it have the secret's name."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_main({}, {}, ImageStreamsUrl=f"{tmp_path}/$FOLDER/streams.json")
        files.variables.write_text("FOLDER=hidden-place\n")
        configuration = make_configuration(parts, files)
        await configuration.load()
        errors = configuration.errors
        (tmp_path / "hidden-place").mkdir()
        files.streams.rename(tmp_path / "hidden-place/streams.json")
        await configuration.look()

        assert [f"{tmp_path}/$FOLDER/streams.json: cannot be read: No such file or directory"] == errors
        assert [] == configuration.errors


@pytest_twisted.ensureDeferred
async def test_a_changed_secret_is_redacted_at_once(tmp_path: Path) -> None:
    """The redactor follows the variables file."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.variables.write_text("TOKEN=first-secret\n")
        configuration = make_configuration(parts, files)
        await configuration.load()
        files.variables.write_text("TOKEN=another-secret\n")
        await configuration.look()

        assert "a $TOKEN b" == configuration.redact("a another-secret b")


@pytest_twisted.ensureDeferred
async def test_verbatim_lines_that_are_no_shell_end_the_start(tmp_path: Path) -> None:
    """At start they are an error with its place; later the good version stays in force."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        configuration = make_configuration(parts, files)
        await configuration.load()
        files.write_main({"boot": "deb"}, {"deb": {"Verbatim": ["if true; then"]}})
        await configuration.look()

        assert ((), 1) == (configuration.settings.packager_types["deb"].verbatim, len(configuration.errors))
        with pytest.raises(ConfigurationError, match=r"PackagerTypes\.deb.Verbatim: line 2: syntax error"):
            await make_configuration(parts, files).load()


@pytest_twisted.ensureDeferred
async def test_arguments_that_a_shell_would_have_seen_are_warned_of(tmp_path: Path) -> None:
    """The log names the file and the place, each time the file is taken over."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_main({}, {"deb": {"CleanCommand": ["rm", "/var/cache/*"], "UpdateCommand": ["apt-get", "update"]}})
        with capturedLogs() as logs:
            await make_configuration(parts, files).load()

    told = [event["problem"] for event in logs if "problem" in event]
    place = f"{files.main}: line 1, column 75: $.PackagerTypes.deb.CleanCommand[1]"
    assert [
        f"{place}: '/var/cache/*' reaches the program as it stands; the original let the shell interpret it"
    ] == told


@pytest_twisted.ensureDeferred
async def test_configuration_in_git(tmp_path: Path) -> None:
    """Both files may lie in a repository with a password, which a refusal does not tell."""
    secret = "s3cr3t-word"
    repository = Repository(tmp_path / "conf.git")
    backend = Backend(tmp_path, password=secret)
    async with running_store(tmp_path / "state") as parts, served(backend) as address:
        files = Files(repository.directory)
        files.write_main(
            {"small": "deb"},
            {"deb": {}},
            ImageStreamsUrl=f"http://$TOKEN:$TOKEN@{address}/at/conf.git/{files.streams.name}",
        )
        files.write_streams(["app"])
        files.variables = tmp_path / "variables"
        files.variables.write_text(f"TOKEN={secret}\n")
        repository.commit({})
        url = f"http://{secret}:{secret}@{address}/at/conf.git/{files.main.name}"
        configuration = make_configuration(parts, files, url=url)
        await configuration.load()
        names = configuration.names
        backend.password = "another"
        await configuration.reload()

        assert ["app", "small"] == names == configuration.names
        assert 2 == len(configuration.errors)
        assert [] == [error for error in configuration.errors if secret in configuration.redact(error)]


@pytest_twisted.ensureDeferred
async def test_streams_go_with_their_address(tmp_path: Path) -> None:
    """Without ImageStreamsUrl there are no image streams, nor does a copy of them come back later."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["app"])
        configuration = make_configuration(parts, files)
        await configuration.load()
        before = configuration.names
        files.write_main({"boot": "deb"}, {"deb": {}}, ImageStreamsUrl="")
        await configuration.look()
        without = configuration.names
        files.write_main({"boot": "deb"}, {"deb": {}}, ImageStreamsUrl="/no/such/file")
        await configuration.look()

        assert ["app", "boot"] == before
        assert [["boot"], ["boot"]] == [without, configuration.names]
        assert ["/no/such/file: cannot be read: No such file or directory"] == configuration.errors


@pytest_twisted.ensureDeferred
async def test_streams_outlive_a_main_configuration_that_is_out_of_reach(tmp_path: Path) -> None:
    """What cannot be read does not say that there are no image streams."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["app"])
        configuration = make_configuration(parts, files)
        await configuration.load()
        files.main.unlink()
        await configuration.look()

        assert ["app", "boot"] == configuration.names


@pytest.mark.parametrize("reachable", [False, True])
@pytest_twisted.ensureDeferred
async def test_last_good_streams_of_the_original(tmp_path: Path, reachable: bool) -> None:
    """Its copy in the state directory stands in where the streams cannot be reached, and only there."""
    async with running_store(tmp_path / "state") as parts:
        files = Files(tmp_path)
        files.write_streams(["old"])
        files.streams.rename(parts.directory / "image-streams.json")
        if reachable:
            files.write_streams(["new"])
        configuration = make_configuration(parts, files)
        await configuration.load()

        assert ["boot", "new" if reachable else "old"] == configuration.names
        assert (not reachable) == bool(configuration.errors)
