"""Every message goes through a program of Go's own gob and comes back as it was."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaginator.srpc.decoding import Decoder
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.kinds import Message
from tests.srpc.test_gob import ALL, whole
from tests.support.go_programs import compiled


class Mirror:
    """The running program, until `close`."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def says(self, name: str, said: bytes) -> bytes:
        """What it makes of a value of the type with a name."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(f"{name} {len(said)}\n".encode() + said)
        asked.flush()
        length, _, reason = answers.readline().decode().strip().partition(" ")
        assert not reason, reason
        return answers.read(int(length))

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """The program, compiled once."""
    program = Mirror(compiled(tmp_path_factory.mktemp("go"), "mirror", "types"))
    yield program
    program.close()


@pytest.mark.timeout(400)
def test_every_message(mirror: Mirror) -> None:
    """Go understands what we say, and we what Go says."""

    @settings(max_examples=400, deadline=None)
    @given(st.sampled_from(ALL).flatmap(whole))
    def comes_back(said: Message) -> None:
        decoder = Decoder()
        decoder.feed(mirror.says(type(said).__name__, Encoder().encode(said)))

        assert said == decoder.next(type(said))

    comes_back()
