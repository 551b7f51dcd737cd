"""The shelf of layers when others remove layers too."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from imaginator.store.quota import Kept
from imaginator.store.shelf import Shelf


class Raced(Shelf):
    """A shelf from which all layers go when it has just looked at them, as the collector may have it."""

    def _layers(self) -> Iterator[Kept[str]]:
        found = list(super()._layers())
        for layer in found:
            shutil.rmtree(self._directory / layer.what)
        yield from found


def test_a_layer_that_is_gone_is_no_excess(tmp_path: Path) -> None:
    """The build that makes room does not fail for it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    shelf = Raced(tmp_path, limit=10)
    shelf.add("layer", tree, 100)

    assert [] == shelf.take_excess()
