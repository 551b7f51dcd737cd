"""The daemon's log has no secrets and stays within its quota."""

from __future__ import annotations

import io
import time
from pathlib import Path

from twisted.logger import Logger, LogPublisher

from imaginator.model.redaction import Redactor
from imaginator.service.log import LONGEST, RECENT, RecentEntries, file_observer, stream_observer

redact = Redactor({"TOKEN": "correct-horse"}).text


def test_secrets_reach_no_line() -> None:
    """Neither the stream nor the remembered lines, in texts and in tracebacks."""
    stream, recent = io.StringIO(), RecentEntries(redact)
    log = Logger(observer=LogPublisher(stream_observer(stream, redact), recent))
    log.info("one {word}", word="correct-horse")
    try:
        raise ValueError("correct-horse")
    except ValueError:
        log.failure("two")

    assert "one $TOKEN" in stream.getvalue()
    assert "ValueError: $TOKEN" in stream.getvalue()
    assert "correct-horse" not in stream.getvalue() + "".join(entry.text for entry in recent.entries())


def test_only_the_last_entries_are_remembered() -> None:
    """Oldest first, each with its time, its level and who said it; of long ones the beginning and the end."""
    recent = RecentEntries(redact)
    log = Logger(observer=recent)
    for number in range(RECENT):
        log.warn("line {number}", number=number)
    log.info("a{long}z", long="-" * 2 * LONGEST)
    first, *_, last = recent.entries()

    assert RECENT == len(recent.entries())
    assert ("warn", "tests.service.test_log", "line 1") == first[1:]
    assert 0 <= time.time() - first.at < 600
    assert ("a--", "--z") == (last.text[:3], last.text[-3:])
    assert LONGEST + 3 == len(last.text)


def test_files_are_rotated_within_the_quota(tmp_path: Path) -> None:
    """All files together take no more, but for the line that each ends with."""
    observer = file_observer(tmp_path / "log", 10_000, redact)
    log = Logger(observer=observer)
    for number in range(1000):
        log.info("line {number} correct-horse", number=number)
    observer._outFile.close()
    files = list((tmp_path / "log").iterdir())

    assert 10 == len(files)
    assert sum(file.stat().st_size for file in files) < 10_000 + 10 * 100
    assert "line 999 $TOKEN" in (tmp_path / "log/imaginator.log").read_text()
