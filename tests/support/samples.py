"""The sample configurations that operators start from, as tests use them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from demo.site import ARCH, SAMPLE, Site, replace
from imaginator.model.codec import parse_json

SAMPLES = SAMPLE.parent / "samples"
INSTALLED = "/etc/imaginator"

ALL = [SAMPLE, *sorted(SAMPLES.glob("*.json"))]
"""The samples' files."""


def read(name: str) -> dict[str, Any]:
    """A sample as plain values."""
    path = SAMPLES / f"{name}.json"
    values: dict[str, Any] = parse_json(path.read_bytes(), str(path))
    return values


def install(site: Site, name: str) -> tuple[str, Path]:
    """Let a site's daemon use a sample as it is, its files in a folder of the site's; its bootstrap stream, the folder."""
    folder = site.folder / "etc"
    shutil.copytree(SAMPLES, folder)
    values = {**read(name), "ImageStreamsUrl": site.streams.as_uri()}
    site.write_streams({})
    replace(site.configuration, json.dumps(values).replace(INSTALLED, str(folder)))
    (stream,) = values["BootstrapStreams"]
    return stream.replace("$ARCH", ARCH), folder
