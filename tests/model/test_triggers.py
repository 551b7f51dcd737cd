"""Triggers: decoding and merging."""

from __future__ import annotations

import pytest

from imaginator.model.errors import ConfigurationError
from imaginator.model.image import Trigger
from imaginator.model.triggers import decode_triggers, merge_triggers


def test_triggers_of_one_service_are_joined() -> None:
    """Lines are a sorted set, flags are OR-ed, the first sort name stays; reload is a trigger of its own."""
    source = [Trigger(("/b", "/a"), "ssh", "1", do_reboot=True), Trigger(("/s", "/r"), "ssh", do_reload=True)]
    added = [Trigger(("/c", "/a"), "ssh", "2", high_impact=True)]

    joined = Trigger(("/a", "/b", "/c"), "ssh", "1", do_reboot=True, high_impact=True)
    assert (joined, Trigger(("/r", "/s"), "ssh", do_reload=True)) == merge_triggers(source, added)


def test_a_bad_expression_names_its_place() -> None:
    """The error names file, place and field."""
    with pytest.raises(ConfigurationError, match=r"^t: line 1, column 18: \$\[0\].MatchLines\[0\]: '\('"):
        decode_triggers(b'[{"MatchLines": ["("], "Service": "ssh"}]', "t")
