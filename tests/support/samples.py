"""The sample configurations that operators start from, as tests use them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from demo.site import ARCH, SAMPLE, Site, read_sample, replace

SAMPLES = SAMPLE.parent / "samples"
INSTALLED = "/etc/imaginator"
"""Where they are installed, as they say themselves."""

ALL = (SAMPLE, *sorted(SAMPLES.glob("*.json")))


def install(site: Site, name: str) -> tuple[str, Path]:
    """Let a site's daemon use a sample; the name of its bootstrap stream, and the folder where its other files are."""
    folder = site.folder / "etc"
    shutil.copytree(SAMPLES, folder)
    values = {**read_sample(SAMPLES / f"{name}.json"), "ImageStreamsUrl": site.streams.as_uri()}
    site.write_streams({})
    replace(site.configuration, json.dumps(values).replace(INSTALLED, str(folder)))
    (stream,) = values["BootstrapStreams"]
    return stream.replace("$ARCH", ARCH), folder
