"""The configuration is watched, the last good version of each file is kept, secrets are known to the redactor."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from imaginator.model.errors import ConfigurationError
from tests.support.schedule_parts import running_schedule


@pytest_twisted.ensureDeferred
async def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    """One look takes over what both files say now."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure("small", streams={"app": {}})
        configuration = schedule.make_configuration()
        await configuration.load()
        before = configuration.names
        schedule.configure("small", "large", streams={"app": {}, "web": {}})
        await configuration.look()

        assert ["app", "small"] == before
        assert ["app", "large", "small", "web"] == configuration.names


@pytest_twisted.ensureDeferred
async def test_an_unknown_stream_makes_everything_be_read(tmp_path: Path) -> None:
    """A stream that was added a moment ago is found without waiting for the watch."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure(streams={"app": {}})
        configuration = schedule.make_configuration()
        await configuration.load()
        schedule.configure(streams={"app": {}, "new": {}})

        assert await configuration.find("new") is not None
        assert await configuration.find("newer") is None


@pytest_twisted.ensureDeferred
async def test_a_broken_version_never_replaces_a_good_one(tmp_path: Path) -> None:
    """The error names file, line and column, and is gone when the file is mended."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure(streams={"app": {}})
        configuration = schedule.make_configuration()
        await configuration.load()
        good = schedule.streams.read_text()
        schedule.streams.write_text('{\n  "Streams": oops}')
        await configuration.look()
        names, errors = configuration.names, configuration.errors
        schedule.streams.write_text(good)
        await configuration.look()

        assert ["app"] == names
        assert [True] == [f"{schedule.streams}: line 2" in error for error in errors]
        assert [] == configuration.errors


@pytest_twisted.ensureDeferred
async def test_a_file_that_comes_back_unchanged(tmp_path: Path) -> None:
    """A file that could not be reached for a while leaves no error behind."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure(streams={"app": {}})
        configuration = schedule.make_configuration()
        await configuration.load()
        away = schedule.streams.rename(tmp_path / "away")
        await configuration.look()
        errors = configuration.errors
        away.rename(schedule.streams)
        await configuration.look()

        assert [f"{schedule.streams}: cannot be read: No such file or directory"] == errors
        assert ([], ["app"]) == (configuration.errors, configuration.names)


@pytest.mark.parametrize("broken", ["", "{oops"])
@pytest_twisted.ensureDeferred
async def test_the_last_good_streams_outlive_a_restart(tmp_path: Path, broken: str) -> None:
    """While the streams file is absent or malformed at start, the last good copy stands in."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure(streams={"app": {}})
        await schedule.make_configuration().load()
        schedule.streams.unlink()
        if broken:
            schedule.streams.write_text(broken)
        configuration = schedule.make_configuration()
        await configuration.load()

        assert ["app"] == configuration.names
        assert 1 == len(configuration.errors)


@pytest_twisted.ensureDeferred
async def test_a_malformed_main_configuration_ends_the_start(tmp_path: Path) -> None:
    """Even where a good copy is known, so that an operator's slip is told at once."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure()
        await schedule.make_configuration().load()
        schedule.settings.write_text("{oops")

        with pytest.raises(ConfigurationError, match="line 1"):
            await schedule.make_configuration().load()


@pytest_twisted.ensureDeferred
async def test_no_main_configuration_at_all(tmp_path: Path) -> None:
    """Without a file and without a copy there is nothing to start with."""
    async with running_schedule(tmp_path) as schedule:
        with pytest.raises(ConfigurationError, match="No such file"):
            await schedule.make_configuration().load()


@pytest_twisted.ensureDeferred
async def test_secrets_expand_in_the_address_and_show_by_name(tmp_path: Path) -> None:
    """The streams file is found by the secret's value; errors about it have the secret's name."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure(ImageStreamsUrl=f"{tmp_path}/$FOLDER/streams.json")
        (tmp_path / "variables").write_text("FOLDER=hidden-place\n")
        configuration = schedule.make_configuration(tmp_path / "variables")
        await configuration.load()
        errors = configuration.errors
        (tmp_path / "hidden-place").mkdir()
        schedule.streams.rename(tmp_path / "hidden-place/streams.json")
        await configuration.look()

        assert [f"{tmp_path}/$FOLDER/streams.json: cannot be read: No such file or directory"] == errors
        assert [] == configuration.errors


@pytest_twisted.ensureDeferred
async def test_a_changed_secret_is_redacted_at_once(tmp_path: Path) -> None:
    """The redactor follows the variables file."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure()
        variables = tmp_path / "variables"
        variables.write_text("TOKEN=first-secret\n")
        configuration = schedule.make_configuration(variables)
        await configuration.load()
        variables.write_text("TOKEN=another-secret\n")
        await configuration.look()

        assert "a $TOKEN b" == configuration.redact("a another-secret b")
