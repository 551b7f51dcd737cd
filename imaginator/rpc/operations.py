"""One call, whatever protocol it came by: find the method, authorise, decode, perform, tell plainly what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from imaginator.model.codec import to_json
from imaginator.model.errors import ImaginatorError, InvalidRequest, NotPermitted
from imaginator.model.identity import Identity
from imaginator.model.names import check_build_id
from imaginator.model.shell import ShellRequest
from imaginator.rpc.callers import Callers
from imaginator.rpc.faults import UNKNOWN_METHOD, Fault, fault_of, internal_fault
from imaginator.rpc.methods import BUILDING, METHODS, Method

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder
    from imaginator.schedule.shells import Shell

SHELL = "Imaginator.OpenShell"
"""What a shell is called where methods are; its answer is a stream, so that it is none of them (see `shells`)."""

S = TypeVar("S", bound=msgspec.Struct)

_log = Logger()


class Operations:
    """The methods over one builder; ``redact`` replaces secrets in a text, and sees everything that is answered.

    ``called`` hears of every call of a method with an error's code, or 0 for a result.
    """

    def __init__(
        self,
        builder: Builder,
        callers: Callers,
        redact: Callable[[str], str],
        called: Callable[[str, int], None] = lambda name, code: None,
    ) -> None:
        self._builder = builder
        self._callers = callers
        self._redact = redact
        self._called = called

    async def perform(self, name: str, parameters: object, identity: Identity) -> Any:
        """The result of a call in JSON values; raises `Fault` for whatever goes wrong."""
        return msgspec.json.decode(await self.answer(name, parameters, identity))

    async def answer(self, name: str, parameters: object, identity: Identity) -> bytes:
        """The same as JSON text."""
        with self._faults(name, identity):
            result = await self._perform(name, parameters, identity)
            answer = redacted_json(to_json(result), self._redact)
            self._called(name, 0)
            return answer

    async def open_shell(self, parameters: object, identity: Identity, output: Callable[[bytes], None]) -> Shell:
        """A shell in the tree of a failed build, whose output goes to ``output``; raises `Fault`."""
        with self._faults(SHELL, identity):
            caller = self._callers.known(identity, BUILDING)
            wanted = decode_fields(SHELL, ShellRequest, parameters)
            check_build_id(wanted.build_id)
            return await self._builder.shells.open(wanted, caller, output)

    @contextmanager
    def _faults(self, name: str, identity: Identity) -> Iterator[None]:
        """Turn whatever goes wrong into a `Fault` without secrets."""
        try:
            yield
        except CancelledError:
            raise
        except Exception as error:
            fault = self.redacted(_fault_for(error, name, identity))
            self._called(name if name in METHODS else "unknown", fault.code)
            raise fault from None

    async def _perform(self, name: str, parameters: object, identity: Identity) -> object:
        method = METHODS.get(name)
        if method is None:
            raise Fault(UNKNOWN_METHOD, f"no such method: {name}", {"kind": "unknown-method"})
        caller = self._callers.admitted(method, identity)
        return await method.call(self._builder, caller, decode_parameters(method, parameters))

    def redacted(self, fault: Fault) -> Fault:
        """A fault without secrets."""
        return Fault(fault.code, self._redact(fault.message), redacted(fault.data, self._redact))


def decode_parameters(method: Method, parameters: object) -> msgspec.Struct:
    """The request that ``parameters`` of a method hold (see `decode_fields`)."""
    return decode_fields(method.name, method.request, parameters)


def decode_fields(name: str, structure: type[S], parameters: object) -> S:
    """The structure that ``parameters`` hold: an object, an array of one object, or nothing (None, an empty array).

    Raises `InvalidRequest` naming the field that is unknown, missing or of the wrong type.
    """
    fields = _fields(name, parameters)
    known = _names(structure)
    unknown = sorted(set(fields) - known)
    if unknown:
        expected = ", ".join(sorted(known)) or "none"
        raise InvalidRequest(f"{name}: unknown field {unknown[0]!r}, the fields are: {expected}")
    try:
        return msgspec.convert(fields, structure)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{name}: {error}") from None


@cache
def _names(structure: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(structure))


def _fields(name: str, parameters: object) -> dict[str, object]:
    if isinstance(parameters, list):
        parameters = parameters[0] if len(parameters) == 1 else parameters or None
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{name}: expected one object of named parameters")
    return parameters


def redacted_json(text: bytes, redact: Callable[[str], str]) -> bytes:
    """JSON text with every string in it redacted."""
    # A redactor finds what JSON has escaped, too; most texts have nothing to hide.
    plain = text.decode()
    return text if redact(plain) == plain else msgspec.json.encode(redacted(msgspec.json.decode(text), redact))


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """``value`` (JSON values) with every string in it redacted, an object's names included."""
    # All at once: large answers have nothing to hide, and looking at each string of theirs would keep the reactor.
    together = "\0".join(_strings(value))
    return value if redact(together) == together else _each_redacted(value, redact)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _each_redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): _each_redacted(item, redact) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_redacted(item, redact) for item in value]
    return value


def _fault_for(error: Exception, name: str, identity: Identity) -> Fault:
    if isinstance(error, Fault):
        return error
    if isinstance(error, NotPermitted) and name in METHODS:
        return _not_permitted(error, METHODS[name])
    if isinstance(error, ImaginatorError):
        return fault_of(error)
    fault = internal_fault()
    _log.failure("incident {id}: {user} called {name}", id=fault.data["Incident"], user=identity.user, name=name)
    return fault


def _not_permitted(error: NotPermitted, method: Method) -> Fault:
    """With whom the method is for, and which permission would give full access to it."""
    fault = fault_of(error)
    return Fault(
        fault.code, fault.message, {**fault.data, "For": method.access.value, "Permission": method.grant or method.name}
    )
