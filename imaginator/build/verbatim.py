"""Whether a packager type's verbatim lines are shell text that ends where they end.

Lines that leave something open, or close what they did not open, would take the rest of the packager's script with
them, in whatever image is bootstrapped next. Only a shell can tell, so one of this host is asked, when a configuration
is taken over; it reads the lines and executes nothing. That is bash where there is one, since it understands what is
peculiar to the shell of an image with bash as its ``/bin/sh``, and complains about an unfinished here-document; a shell
of less patience answers at the bootstrap, whose first step with the script is ``clean``.
"""

from __future__ import annotations

import re
import shutil

from imaginator.build.environment import PATH
from imaginator.model.errors import BuildFailed, ConfigurationError, TimedOut
from imaginator.model.places import show_path
from imaginator.model.problems import Problem
from imaginator.model.settings import Settings
from imaginator.sandbox.process import Reactor, Tail, finish, spawn

SHELLS = ("bash", "sh")
"""The first of these that is installed is asked."""

LONGEST = 30.0
"""Seconds that it may take to read the lines."""

_SPEAKER = re.compile(r"^\S*sh: (-c: )?")


async def check_verbatim(reactor: Reactor, settings: Settings, where: str) -> None:
    """Raise `ConfigurationError` for a packager type of the file ``where`` whose verbatim lines are not complete."""
    for name, packager in settings.packager_types.items():
        complaint = await _complaint(reactor, "\n".join(packager.verbatim)) if packager.verbatim else ""
        if complaint:
            words = f"{complaint}; expected lines of shell, complete in themselves"
            raise ConfigurationError.of([Problem(where, words, field=show_path(("PackagerTypes", name, "Verbatim")))])


async def _complaint(reactor: Reactor, text: str) -> str:
    """What a shell says of ``text``, in one line; nothing where all is well."""
    shell = next((shell for shell in SHELLS if shutil.which(shell, path=PATH)), SHELLS[-1])
    said = Tail()
    try:
        child = spawn(reactor, [shell, "-n", "-c", "--", text], {"PATH": PATH, "LC_ALL": "C"}, output=said)
        ended = await finish(child, timeout=LONGEST)
    except (BuildFailed, TimedOut) as error:
        return f"{shell}: {error}"
    words = said.text() or ("" if ended.ok else f"{shell}: {ended.describe()}")
    return _SPEAKER.sub("", words.partition("\n")[0])
