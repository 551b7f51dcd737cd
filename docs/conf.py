"""Sphinx configuration; ``make docs`` treats every warning as an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

from imaginator import __version__

project = "imaginator"
author = "The imaginator authors"
version = release = __version__
html_theme = "alabaster"
html_theme_options = {"description": "Builds operating-system images from manifests kept in Git"}
man_pages = [
    ("tool", "builder-tool", "ask an imaginator for operating-system images", author, 1),
    ("daemon", "imaginator", "build operating-system images from manifests kept in Git", author, 8),
]
exclude_patterns = ["_build", "_generated"]

reference.write(Path(__file__).parent / "_generated")
