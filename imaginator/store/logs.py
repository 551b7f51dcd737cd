"""The archive of build logs.

::

    STREAM/
      STAMP/            the image's date stamp; of a build without an image, its id
        buildInfo       the build's record, JSON
        buildLog
        buildTimes      when its lines were written (`imaginator.model.marks`)

An entry appears by rename of its directory. No lock: one worker stores at a time per build, and each has its own
entry. When the archive is larger than its quota, the oldest entries go first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from imaginator.model.build import BuildRecord
from imaginator.model.codec import to_json
from imaginator.model.marks import Mark, encode_marks
from imaginator.store.quota import Kept, make_room
from imaginator.store.workers import Workers

INFO = "buildInfo"
LOG = "buildLog"
TIMES = "buildTimes"

MOST_READ = 256 << 20
"""Bytes of logs that one search reads."""

LONGEST_HIT = 200
"""Bytes of a line that a search tells."""


class LogArchive:
    """The archive in ``directory``, of at most ``quota`` bytes (0: no limit) beside the entry stored last."""

    def __init__(self, directory: Path, quota: int, workers: Workers) -> None:
        self._directory = directory
        self._quota = quota
        self._workers = workers
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def room_for(self, largest: int) -> int:
        """How many bytes the log of one build may have, ``largest`` where the quota is no less."""
        return min(largest, self._quota or largest)

    def path_of(self, record: BuildRecord) -> Path:
        """Where the log of a build is, or would be."""
        return self._entry(record) / LOG

    async def store(self, record: BuildRecord, path: Path, marks: Iterable[Mark] = ()) -> None:
        """Keep a copy of the log at ``path``, and of its marks, then make room."""
        await self._workers.run(self._store, record, path, encode_marks(marks))

    async def search(self, records: Sequence[BuildRecord], text: str) -> dict[str, str]:
        """Of some builds those whose logs have a text, in whatever case: build id → the first line that has it.

        It ends after `MOST_READ` bytes.
        """
        return await self._workers.run(self._search, records, text)

    def _search(self, records: Sequence[BuildRecord], text: str) -> dict[str, str]:
        hits, room = {}, MOST_READ
        for record in records:
            with suppress(OSError):
                data = self.path_of(record).read_bytes()
                room -= len(data)
                if found := _line_with(text.encode().lower(), data):
                    hits[record.build_id] = found
            if room < 0:
                break
        return hits

    def _entry(self, record: BuildRecord) -> Path:
        stamp = record.image_name.rpartition("/")[2] or record.build_id
        return self._directory / record.request.stream_name / stamp

    def _store(self, record: BuildRecord, path: Path, times: bytes) -> None:
        entry = self._entry(record)
        fresh = self._directory / f".{record.build_id}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        (fresh / INFO).write_bytes(to_json(record) + b"\n")
        (fresh / TIMES).write_bytes(times)
        shutil.copyfile(path, fresh / LOG)
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(entry, ignore_errors=True)
        fresh.rename(entry)
        self._make_room(entry)

    def _make_room(self, newest: Path) -> None:
        def remove(entry: Path) -> bool:
            if entry != newest:
                shutil.rmtree(entry, ignore_errors=True)
            return entry != newest

        if self._quota:
            make_room(_entries(self._directory), self._quota, remove)


def _line_with(text: bytes, data: bytes) -> str:
    """The first line that has a text, in lower case, cut to what a page can show; empty where none has."""
    place = data.lower().find(text)
    if place < 0:
        return ""
    begin = data.rfind(b"\n", 0, place) + 1
    end = data.find(b"\n", place)
    line = data[begin : end if end >= 0 else len(data)]
    return line[max(0, place - begin - LONGEST_HIT // 2) :][:LONGEST_HIT].decode(errors="replace")


def _entries(directory: Path) -> Iterator[Kept[Path]]:
    for place, _, files in os.walk(directory):
        if INFO in files:
            stats = [os.stat(os.path.join(place, file)) for file in files]
            yield Kept(max(stat.st_mtime for stat in stats), Path(place), sum(stat.st_size for stat in stats))
