"""The command ``imaginator``: ``twistd imaginator`` in the foreground."""

from __future__ import annotations

import os
import sys

from twisted.scripts import twistd

from imaginator.service.daemon import UMASK
from imaginator.service.options import Options


def main() -> None:
    """Check the flags, then run as twistd would, without daemonising."""
    Options().parseOptions(sys.argv[1:])
    os.umask(UMASK)
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "imaginator"]
    twistd.run()
