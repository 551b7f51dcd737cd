"""Who may build what, and for how long an image lives; scripts match these sentences."""

from __future__ import annotations

import pytest

from imaginator.model.build import BuildRequest
from imaginator.model.errors import NotPermitted, Refused
from imaginator.model.identity import Caller
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream
from imaginator.schedule.admission import check_expiry, check_permission
from tests.support.building import HOUR, LIMITS, ROOT

STREAM = Stream(manifest_url="dir:///m", builder_users=("ann",), builder_groups=("web",))
BOOTSTRAP = BootstrapStream(bootstrap_command=("true",), packager_type="deb")


@pytest.mark.parametrize("caller", [ROOT, Caller("ann"), Caller("bob", ("db", "web"))])
def test_builders_of_a_stream(caller: Caller) -> None:
    """Full access, the stream's users and the members of its groups may build it."""
    check_permission("s", STREAM, caller)


@pytest.mark.parametrize(("definition", "user"), [(STREAM, "bob"), (BOOTSTRAP, "ann")])
def test_everybody_else(definition: Stream | BootstrapStream, user: str) -> None:
    """Others may not, and nobody without full access builds a bootstrap stream."""
    with pytest.raises(NotPermitted, match=r"^no permission to build: s$"):
        check_permission("s", definition, Caller(user))


@pytest.mark.parametrize(
    ("hours", "caller", "sentence"),
    [
        (0, ROOT, "minimum expiration duration is 15m"),
        (0.1, ROOT, "minimum expiration duration is 15m"),
        (25, Caller("ann"), "maximum expiration time is 1d for you"),
        (731, Caller("ann"), "maximum expiration time is 30d10h"),
        (731, ROOT, "maximum expiration time is 30d10h"),
    ],
)
def test_expiry_out_of_limits(hours: float, caller: Caller, sentence: str) -> None:
    """The sentence tells the limit that was broken."""
    with pytest.raises(Refused) as caught:
        check_expiry(BuildRequest(stream_name="s", expires_in=hours * HOUR), caller, LIMITS)

    assert sentence == str(caught.value)


@pytest.mark.parametrize(("hours", "caller"), [(0.25, Caller("ann")), (24, Caller("ann")), (730, ROOT)])
def test_expiry_at_the_limits(hours: float, caller: Caller) -> None:
    """The limits themselves are allowed."""
    check_expiry(BuildRequest(stream_name="s", expires_in=hours * HOUR), caller, LIMITS)
