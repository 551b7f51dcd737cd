"""Every method, called by both protocols with what its own description allows, and with what nearly is that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imaginator.rpc.faults import INTERNAL_ERROR
from imaginator.rpc.methods import METHODS, description
from tests.abuse.calling import Answered, Caller
from tests.abuse.normal import Idle, unharmed
from tests.abuse.schemas import values
from tests.rpc.test_discovery import answers, described
from tests.support.live import Live
from tests.support.printed import FIGURES

pytestmark = pytest.mark.integration

EXAMPLES = int(os.environ.get("IMAGINATOR_FUZZ", "30"))
WAITS = ("Imaginator.BuildImage",)
"""Methods that would wait for a build if they named a stream that there is."""

COUNTS = {"result": 0, "error": 0}

NAMES = [
    "", "small", "no/such", "../../etc/passwd", "/", "small/", "a" * 5000, "small\0", "\u017fmall", "small\n",
    "%s{0}$TOKEN", "small/2026-11-22:23:38:05", "small/9999-99-99:99:99:99",
    "01JDAV3K8ZQ5TQXH3N7RWM2E4C", "rpc.discover", "\ud800",
]  # fmt: skip
TIMES = [
    "2026-11-22T23:38:05Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-11-22",
    "1970-01-01T00:00:00",
]
NUMBERS = [-1, 0, 0.5, 60, 3600, 86400, 2**31, 2**53, 2**63, 2**64, 10**30, 1e15, 1e300, -1e300, 5e-324]
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(NAMES) | st.sampled_from(TIMES) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def parameters(name: str) -> st.SearchStrategy[Any]:
    """What a method takes, that with a field changed or added or left out, and anything."""
    fields: Any = described(name)["params"]
    schema = {
        "type": "object",
        "properties": {field["name"]: field["schema"] for field in fields},
        "required": [field["name"] for field in fields if field["required"]],
    }
    components: Any = description()["components"]
    valid = values(schema, components["schemas"]).map(
        lambda value: value if name not in WAITS else {**value, "StreamName": "no/such"}
    )
    known = [field["name"] for field in fields] or ["Unknown"]
    changed = st.builds(
        lambda value, field, other: {**value, field: other}, valid, st.sampled_from([*known, "Unknown"]), VALUES
    )
    several = st.fixed_dictionaries({}, optional=dict.fromkeys(known, VALUES))
    fitting = st.fixed_dictionaries({}, optional={field: plausible(field) for field in known})
    return (valid | changed | several | fitting | VALUES).filter(lambda value: name not in WAITS or patient(value))


def plausible(field: str) -> st.SearchStrategy[Any]:
    """Values of the kind that a field is about, judged by its name."""
    if field.endswith(("Name", "Id", "Prefix", "Branch", "After")):
        return st.sampled_from(NAMES)
    if field.endswith(("At", "Since")):
        return st.sampled_from(TIMES)
    if field.endswith(("In", "Age", "Duration", "For", "Limit", "Rows", "Columns", "Failed")):
        return st.sampled_from(NUMBERS)
    return VALUES


def patient(value: Any) -> bool:
    """Whether parameters name no stream that there is."""
    parts = value if isinstance(value, list) else [value]
    return not any(isinstance(part, dict) and part.get("StreamName") == "small" for part in parts)


@pytest.fixture(scope="module", autouse=True)
def nobody_else_notices(live: Live, idle: Idle) -> Iterator[None]:
    """All is as before afterwards; builds that were asked for are cancelled."""
    with unharmed(live, f"{EXAMPLES} generated calls of each of {len(METHODS)} methods by each protocol", idle):
        yield
        live.call("Imaginator.DisableBuildRequests", DisableFor=0)
        live.call("Imaginator.DisableAutoBuilds", DisableFor=0)
        for state in ("queued", "waiting", "running"):
            for build in live.call("Imaginator.ListBuilds", State=state, Limit=1000)["Builds"]:
                live.call("Imaginator.CancelBuild", BuildId=build["BuildId"])
    FIGURES.append(f"generated calls: {COUNTS['result']} results, {COUNTS['error']} errors")


@pytest.fixture(scope="module")
def caller(live: Live) -> Iterator[Caller]:
    """A connection for all calls."""
    with Caller(live) as caller:
        yield caller


@pytest.mark.parametrize("name", METHODS)
def test_generated_calls(live: Live, name: str) -> None:
    """Each is answered by a result that fits the description, or by an error that is the caller's."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="IMAGINATOR_FUZZ" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(parameters(name))
    def call(value: Any) -> None:
        with Caller(live) as caller:
            by_json = caller.json(name, value)
            check(by_json, value)
            check(caller.xml(name, value), value)
            if not by_json.code:
                answers(name).validate(by_json.result)

    call()


def check(answered: Answered, value: Any) -> None:
    """An error, if it is one, is not the program's, and says something."""
    COUNTS["error" if answered.code else "result"] += 1
    assert INTERNAL_ERROR != answered.code, (value, answered)
    assert answered.message or not answered.code
