"""The parts of the documentation that are made from the code's own tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from imaginator.model.limits import StreamLimits
from imaginator.model.mounts import StreamCache
from imaginator.model.packagers import ListCommand, PackageCache, PackagerType
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.streams import Stream, StreamsFile
from imaginator.rpc.methods import METHODS, Method
from imaginator.service.options import FLAGS

CONFIGURATION = (
    Settings, BootstrapStream, PackagerType, ListCommand, PackageCache, StreamCache, StreamsFile, Stream, StreamLimits,
)  # fmt: skip

_MODULES = re.compile(r"imaginator\.model\.\w+\.|datetime\.|typing\.")


def write(folder: Path) -> None:
    """Write every generated page's text into ``folder``, to be included."""
    folder.mkdir(exist_ok=True)
    pages = {"flags": flags(), "fields": fields(), "methods": methods()}
    for name, lines in pages.items():
        (folder / f"{name}.rst").write_text("\n".join(lines) + "\n")


def flags() -> Iterator[str]:
    """The table of the daemon's flags."""
    rows = [
        (f"``--{flag.name}``", f"``{flag.default}``" if flag.default else "none", sentence(flag.help)) for flag in FLAGS
    ]
    machine = {"maximum-concurrent-builds": "number of CPUs", "build-memory": "half the memory"}
    shown = [(name, machine.get(name.strip("`-"), default), text) for name, default, text in rows]
    yield from table(("Flag", "Default", "Meaning"), shown)


def fields() -> Iterator[str]:
    """The structures of both configurations."""
    for kind in CONFIGURATION:
        yield from structure(kind)


def methods() -> Iterator[str]:
    """Every method with its request and answer."""
    for method in METHODS.values():
        yield from one_method(method)


def one_method(method: Method) -> Iterator[str]:
    """A method's section."""
    yield from ("", method.name, "~" * len(method.name), "", method.help, "", f"Open to: {method.access.value}.", "")
    yield from field_table(method.request)


def structure(kind: type[msgspec.Struct]) -> Iterator[str]:
    """A section on one structure."""
    yield from ("", kind.__name__, "~" * len(kind.__name__), "", inspect.getdoc(kind) or "", "")
    yield from field_table(kind)


def field_table(kind: type[msgspec.Struct]) -> Iterator[str]:
    """The fields of a structure, as they are spelled in JSON."""
    found = msgspec.structs.fields(kind)
    if not found:
        yield "No parameters."
        return
    rows = [(f"``{field.encode_name}``", f"``{spelled(field.type)}``", default_of(field)) for field in found]
    yield from table(("Field", "Type", "Default"), rows)


def spelled(kind: object) -> str:
    """A type for people."""
    text = kind.__name__ if isinstance(kind, type) and not getattr(kind, "__args__", None) else str(kind)
    return _MODULES.sub("", text)


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """What a field is when it is left out."""
    if field.required:
        return "required"
    none = not field.default or field.default is msgspec.NODEFAULT or isinstance(field.default, StreamLimits)
    return "empty" if none else f"``{field.default}``"


def sentence(text: str) -> str:
    """Text with a capital at its start and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A list-table."""
    yield from ("", ".. list-table::", "   :header-rows: 1", "")
    for row in (head, *rows):
        for place, cell in enumerate(row):
            yield f"   {'* -' if place == 0 else '  -'} {cell}"
    yield ""
