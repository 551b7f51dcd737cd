"""More connections, and more handshakes, than anybody needs."""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from imaginator.rpc.certificates import make_authority, make_certificate
from imaginator.service.refusals import MOST_OF_ONE, WINDOW
from imaginator.web.crowd import MOST
from tests.abuse.normal import Idle, unharmed
from tests.abuse.rude import Rude, outlived, rest
from tests.abuse.test_slow import client_hello
from tests.integration.test_bad_input import poll
from tests.support.live import Live
from tests.support.printed import FIGURES

pytestmark = pytest.mark.integration

CONNECTIONS = 4000
"""From one address, which has half of the places."""

HALF_OPEN = 500
SECONDS = 3.0
FLOODERS = 4
RENEGOTIATIONS = 20


def test_more_connections_than_places(live: Live, idle: Idle) -> None:
    """One address gets no more than its share, and its own oldest connections pay for it."""
    with unharmed(live, f"{CONNECTIONS} connections of one address", idle), Rude(live) as rude:
        flood = [rude.plain() for _ in range(CONNECTIONS)]
        poll(lambda: sum(map(stands, flood)) <= MOST // 2, "the end of most connections")

        assert stands(flood[-1])
        assert not stands(flood[0])


def stands(one: socket.socket) -> bool:
    """Whether the other side has not ended a connection."""
    one.setblocking(False)
    try:
        return bool(one.recv(1))
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_handshakes(live: Live, idle: Idle) -> None:
    """Hundreds that were begun, as many again as two processors can make, and those that end in nonsense."""
    done: list[int] = []
    with unharmed(live, f"{HALF_OPEN} handshakes begun, others made in a loop", idle), Rude(live) as rude:
        hello = client_hello()
        for _ in range(HALF_OPEN):
            rude.plain().sendall(hello)
        threads = [threading.Thread(target=flood, args=(live, done)) for _ in range(FLOODERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nonsense = [rude.plain() for _ in range(100)]
        for one in nonsense:
            one.sendall(b"\x16\x03\x01" + b"\xff" * 1000)
        outlived(nonsense)
    FIGURES.append(f"{len(done)} handshakes in {SECONDS:.0f} s")

    assert done


def flood(live: Live, done: list[int]) -> None:
    """Shake hands and go, again and again."""
    end = time.monotonic() + SECONDS
    with Rude(live, "127.0.0.4") as rude:
        context = rude.context()
        while time.monotonic() < end:
            with suppress(OSError), context.wrap_socket(rude.plain(), server_hostname="localhost"):
                done.append(1)


REFUSED = 300


def test_refused_handshakes(live: Live, idle: Idle, tmp_path: Path) -> None:
    """All are counted by reason; of the log they get some lines, however many they are."""
    said = live.daemon.log.stat().st_size
    foreign = make_certificate(make_authority("another authority"), "eve")
    foreign.write(tmp_path / "eve.pem", tmp_path / "eve.key")
    before, begun = refused(live), time.monotonic()
    with unharmed(live, f"{2 * REFUSED} handshakes refused", idle), Rude(live, "127.0.0.5") as rude:
        context = rude.context("")
        context.load_cert_chain(tmp_path / "eve.pem", tmp_path / "eve.key")
        for _ in range(REFUSED):
            nonsense = rude.plain()
            nonsense.sendall(b"\x16\x03\x01" + b"\xff" * 1000)
            outlived([nonsense])
            with suppress(OSError), context.wrap_socket(rude.plain(), server_hostname="localhost") as one:
                rest(one)
    poll(lambda: refused(live) - before == Counter({"foreign-authority": REFUSED, "not-tls": REFUSED}), "the count")
    with live.daemon.log.open() as log:
        log.seek(said)
        lines = [line for line in log if "TLS handshake" in line]

    windows = 2 + int((time.monotonic() - begun) / WINDOW)
    assert len(lines) <= windows * (MOST_OF_ONE + 1)
    assert any("TLS handshake with 127.0.0.5 refused: " in line for line in lines)
    FIGURES.append(f"{2 * REFUSED} handshakes refused: {len(lines)} lines of the log")


def refused(live: Live) -> Counter[str]:
    """How many handshakes were refused for which reason."""
    with urllib.request.urlopen(f"{live.daemon.url}metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r'^imaginator_tls_handshakes_refused_total\{reason="([a-z-]+)"\} ([0-9.]+)$', text, re.MULTILINE)
    return Counter({reason: int(float(number)) for reason, number in found})


def test_renegotiation(live: Live, idle: Idle) -> None:
    """TLS 1.2 lets clients ask for new handshakes on an old connection; the daemon makes none."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with unharmed(live, f"{RENEGOTIATIONS} renegotiations of TLS 1.2", idle), Rude(live) as rude:
        for _ in range(RENEGOTIATIONS):
            plain = rude.plain()
            plain.settimeout(None)
            one = SSL.Connection(context, plain)
            one.set_connect_state()
            one.do_handshake()
            one.renegotiate()
            with pytest.raises(SSL.Error, match="no renegotiation"):
                one.do_handshake()

            assert "TLSv1.2" == one.get_protocol_version_name()
