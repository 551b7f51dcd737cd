"""Data flows one way: a room imports itself and the rooms above it, never one below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["model", "srpc", "sandbox", "store", "build", "schedule", "rpc", "web", "service"]
"""From top to bottom; see docs/architecture.rst."""

ALLOWED = {room: set(ROOMS[: place + 1]) for place, room in enumerate(ROOMS)}
ALLOWED["web"].discard("rpc")
ALLOWED["cli"] = {*ROOMS, "cli"} - {"web"}

STANDARD_ONLY = ["sandbox/serving.py", "rpc/client.py", "cli/main.py"]
"""What starts often, or inside a build: no Twisted may be imported, directly or through the project's own modules."""


def modules() -> list[Path]:
    """Every module of the program that lies in a room."""
    return sorted(path for path in (ROOT / "imaginator").rglob("*.py") if path.parent != ROOT / "imaginator")


def imports(path: Path) -> Iterator[str]:
    """The absolute names that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path: Path) -> set[Path]:
    """The project's modules that a module imports."""
    found = set()
    for name in imports(path):
        target = ROOT / Path(*name.split(".")).with_suffix(".py")
        if name.startswith("imaginator.") and target.exists():
            found.add(target)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_goes_down(path: Path) -> None:
    """A module imports no room below its own."""
    room = path.relative_to(ROOT / "imaginator").parts[0]

    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("imaginator.")}

    assert rooms <= ALLOWED[room] | {"__version__"}


@pytest.mark.parametrize("path", [path for path in modules() if "model" in path.parts], ids=lambda path: path.name)
def test_the_model_is_pure(path: Path) -> None:
    """Values and rules need neither Twisted nor the file system nor processes."""
    forbidden = {"twisted", "os", "pathlib", "subprocess", "socket", "sqlite3", "treq", "klein"}

    assert forbidden.isdisjoint(name.split(".")[0] for name in imports(path))


@pytest.mark.parametrize("name", STANDARD_ONLY)
def test_quick_starters_know_no_twisted(name: str) -> None:
    """The sandbox's helpers and the synchronous client start without Twisted, whatever they import of ours."""
    seen: set[Path] = set()
    pending = {ROOT / "imaginator" / name}
    while pending:
        path = pending.pop()
        seen.add(path)
        pending |= own(path) - seen

    assert not [path for path in seen if any(name.split(".")[0] == "twisted" for name in imports(path))]


def test_only_the_wiring_imports_the_reactor() -> None:
    """The reactor is an argument everywhere but in the service room."""
    guilty = [
        path
        for path in modules()
        if path.relative_to(ROOT / "imaginator").parts[0] != "service"
        and any(name == "twisted.internet.reactor" for name in imports(path))
    ]

    assert not guilty


def test_only_the_sandbox_starts_processes() -> None:
    """Neither subprocess nor spawnProcess is used outside the sandbox room."""
    guilty = [
        path
        for path in modules()
        if path.relative_to(ROOT / "imaginator").parts[0] != "sandbox"
        and ("subprocess" in set(imports(path)) or ".spawnProcess(" in path.read_text())
    ]

    assert not guilty
