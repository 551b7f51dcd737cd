"""The local store as a daemon's image server: asked in the same way, by calls that this process answers itself."""

from __future__ import annotations

from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imaginator.cli.fetching import Blocks
from imaginator.model.errors import ImaginatorError
from imaginator.model.identity import Identity, Trusted
from imaginator.rpc.callers import Callers
from imaginator.rpc.client import ClientError, RpcError
from imaginator.rpc.faults import Fault
from imaginator.rpc.operations import Operations
from imaginator.service.once import Beside
from imaginator.service.options import settled
from imaginator.service.works import Works
from imaginator.store.compression import zstd_blocks
from imaginator.store.tar import tar_blocks

OPERATOR = Identity("root", methods=("*",))
"""Whoever may read the directory owns all that is in it."""

_IMAGE = "/getImage?"
_BLOCK = 1 << 18


class LocalStore:
    """A context, with what `imaginator.rpc.client.Client` has for images; the reactor runs in a thread meanwhile."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def __enter__(self) -> Self:
        if not (self._state / "catalogue.sqlite").exists():
            raise ClientError(f"{self._state}: there is no local store")
        with ExitStack() as leaving:
            self._beside = leaving.enter_context(Beside())
            self._works = self._beside.wait(self._opened)
            leaving.callback(self._beside.wait, self._closed)
            self._leaving = leaving.pop_all()
        self._operations = Operations(self._works.builder, Callers(Trusted()), str)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a call; raises `RpcError`. With a deleted image goes what only it needed."""
        try:
            result = self._beside.wait(lambda: self._operations.perform(method, parameters, OPERATOR))
        except Fault as fault:
            raise RpcError(fault.code, fault.message, fault.data) from None
        if method == "ImageServer.DeleteImage":
            self._beside.wait(self._works.collector.run)
        return result

    def stream(self, path: str) -> BufferedReader:
        """The archive of the page ``/getImage?NAME``, with ``&compress=zstd`` behind it or not; raises `RpcError`."""
        name, _, compressed = path.removeprefix(_IMAGE).partition("&")
        try:
            image = self._beside.wait(lambda: self._works.store.get(name))
        except ImaginatorError as error:
            raise RpcError(error.code, str(error), {}) from None
        blocks = tar_blocks(image, self._works.store)
        return BufferedReader(Blocks(zstd_blocks(blocks) if compressed else blocks), _BLOCK)

    async def _opened(self) -> Works:
        given = {"state_dir": self._state, "build_log_dir": self._state / "build-logs"}
        try:
            works = Works(settled(**{name: str(path) for name, path in given.items()}), self._beside.reactor)
            works.catalogue.startService()
        except ImaginatorError as error:
            raise ClientError(str(error)) from None
        works.workers.startService()
        return works

    async def _closed(self) -> None:
        self._works.catalogue.stopService()
        self._works.workers.stopService()
