"""``twistd imaginator``: flags in, a tree of services out."""

from __future__ import annotations

import sys
from typing import Any

from twisted.logger import Logger

from imaginator.model.clock import make_steady
from imaginator.model.errors import ImaginatorError
from imaginator.service.assembly import Assembly
from imaginator.service.checks import check_host
from imaginator.service.daemon import Daemon, take_all_descriptors
from imaginator.service.options import Options
from imaginator.service.verify import verify_store

__all__ = ["Options", "makeService"]

_log = Logger()


def makeService(options: Options, reactor: Any = None) -> Daemon:  # noqa: N802 - Twisted's name
    """The daemon that the flags describe; exits with one sentence where this host cannot run it.

    With ``--verify-store`` it checks the store instead, and exits when that is done.
    """
    if reactor is None:
        from twisted.internet import reactor

        make_steady(reactor)
    for flag in options.dropped:
        _log.warn("flag {flag}: it has no effect any more", flag=flag)
    try:
        check_host()
        if options["verify-store"]:
            sys.exit(verify_store(options["state-dir"], reactor))
        take_all_descriptors()
        return Assembly(options, reactor).daemon()
    except (ImaginatorError, OSError) as error:
        sys.exit(f"imaginator: {error}")
