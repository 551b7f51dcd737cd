"""Awkward Debian packages, installed with and without the sandbox and compared: ``python -m tests.packages``."""
