"""The parts of the documentation that are made from the code's own tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from imaginator.cli.commands import COMMANDS, GONE, every_command
from imaginator.cli.main import builder_tool
from imaginator.model.limits import StreamLimits
from imaginator.model.mounts import StreamCache
from imaginator.model.packagers import ListCommand, PackageCache, PackagerType
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.streams import Stream, StreamsFile
from imaginator.rpc.methods import METHODS, Method
from imaginator.service.options import FLAGS, Flag

CONFIGURATION = (
    Settings, BootstrapStream, PackagerType, ListCommand, PackageCache, StreamCache, StreamsFile, Stream, StreamLimits,
)  # fmt: skip

_MARKS = re.compile("[*_`]")
"""What reStructuredText would take for its own."""

_MODULES = re.compile(r"imaginator\.model\.\w+\.|datetime\.|typing\.")


def write(folder: Path) -> None:
    """Write every generated page's text into ``folder``, to be included."""
    folder.mkdir(exist_ok=True)
    pages = {
        "flags": flags(),
        "flag_list": flag_list(),
        "fields": fields(),
        "methods": methods(),
        "commands": commands(),
        "gone": gone(),
    }
    for name, lines in pages.items():
        (folder / f"{name}.rst").write_text("\n".join(lines) + "\n")


def flags() -> Iterator[str]:
    """The table of the daemon's flags."""
    rows = [(f"``--{flag.name}``", flag_default(flag), sentence(flag.help)) for flag in FLAGS]
    yield from table(("Flag", "Default", "Meaning"), rows)


def flag_list() -> Iterator[str]:
    """The same as a list, for a man page."""
    for flag in FLAGS:
        yield from (f"``--{flag.name}``", f"    {sentence(flag.help)} Default: {flag_default(flag)}.", "")


def flag_default(flag: Flag) -> str:
    """What a flag is when it is not given; what depends on the machine in words."""
    machine = {"maximum-concurrent-builds": "number of CPUs", "build-memory": "half the memory"}
    return machine.get(flag.name) or (f"``{flag.default}``" if flag.default else "none")


def gone() -> Iterator[str]:
    """The original's commands that are no more."""
    yield from table(("The original's", "What replaces it"), [(f"``{name}``", sentence(GONE[name])) for name in GONE])


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
    yield from ("", method.name, "~" * len(method.name), "", method.help, "", f"For {method.access.value}.", "")
    yield from field_table(method.request)


def commands() -> Iterator[str]:
    """Every command of builder-tool with its options, and those that stand before any command."""
    yield from ("Options", "-------", "")
    yield from definitions(builder_tool)
    yield from ("Commands", "--------", "")
    for (name, row), found in zip(COMMANDS.items(), every_command(), strict=True):
        context = click.Context(found, info_name=name)
        usage = " ".join([name, *found.collect_usage_pieces(context)])
        yield from ("", name, "~" * len(name), "", f"``builder-tool {usage}``", "")
        yield from (inspect.cleandoc(found.help or ""), "")
        yield from definitions(found)
        yield from ("For example::", "", *(f"    {example}" for example in row.examples), "")


def definitions(found: click.Command) -> Iterator[str]:
    """A definition list of a command's own options."""
    for option in found.params:
        record = option.get_help_record(click.Context(found)) if isinstance(option, click.Option) else None
        if record is not None:
            yield from (f"``{record[0]}``", f"    {_MARKS.sub(_escaped, record[1])}", "")


def _escaped(mark: re.Match[str]) -> str:
    return f"\\{mark[0]}"


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
