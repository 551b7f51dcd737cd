"""Which image a manifest asks for, and what is told where it cannot be had."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from imaginator.build.job import SourceWish
from imaginator.model.errors import BuildFailed, ConfigurationError, SourceImageNeeded
from tests.support.house import House, Record


@pytest_twisted.ensureDeferred
async def test_the_wish_of_a_manifest(house: House) -> None:
    """All of it expands with the build's environment; the request's variables win over those for the source."""
    manifest = {
        "SourceImage": "small/$COLOUR/${IMAGE_STREAM[/0:1]}",
        "SourceImageGitCommitId": "$REQUESTED_GIT_BRANCH-x",
        "SourceImageTagsToMatch": {"colour": ["$COLOUR", "red", "$NOTHING"], "none": ["$NOTHING"]},
        "SourceImageBuildVariables": {"COLOUR": "green", "LEAF": "$IMAGE_STREAM_LEAF_NAME", "NO": "x$NOTHING"},
    }
    asked = {"COLOUR": "blue", "MORE": "more"}

    with pytest.raises(SourceImageNeeded, match="no source image: small/blue/test"):
        await house.build({"manifest": json.dumps(manifest)}, git_branch="master", variables=asked)

    variables = {**asked, "LEAF": "over", "NO": "x"}
    assert [SourceWish("small/blue/test", "master-x", {"colour": ("blue", "red")}, variables)] == house.wishes


@pytest_twisted.ensureDeferred
async def test_a_source_image_that_no_stream_can_be_called(house: House) -> None:
    """File, field, and what it became."""
    with pytest.raises(ConfigurationError, match=r"over/manifest: SourceImage 'small/\$NOTHING': stream name 'small/'"):
        await house.build({"manifest": '{"SourceImage": "small/$NOTHING"}'})


@pytest_twisted.ensureDeferred
async def test_what_is_doubtful_in_a_manifest_is_a_line_of_the_log(house: House) -> None:
    """Before anything is run; people keep fields of their own in the manifest, and the build goes on."""
    monitor = Record()
    await house.bootstrap()

    await house.build({"manifest": '{"SourceImage": "small", "Mine": 1}\nnote', "filters": ""}, monitor)

    warnings = [line for line in monitor.data.decode().splitlines() if line.startswith("warning: ")]
    assert 2 == len(warnings)
    assert "test/over/filters: has no effect" in warnings[0]
    assert "test/over/manifest: line 2, column 1: text after the first value is ignored" in warnings[1]


@pytest_twisted.ensureDeferred
async def test_a_bootstrap_for_another_architecture(house: House) -> None:
    """Its failure says that the stream's name means another one than the host's."""
    with pytest.raises(
        BuildFailed, match=r"^base/arm64/x names the architecture arm64, this host's is amd64: sh: exit"
    ):
        await house.bootstrap(more="exit 3\n", stream="base/arm64/x")
    with pytest.raises(BuildFailed, match=r"^sh: exit status 3"):
        await house.bootstrap(more="exit 3\n", stream="base/x86_64/x")
