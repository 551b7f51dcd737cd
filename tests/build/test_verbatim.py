"""Verbatim lines that would take the rest of the packager's script with them are refused."""

from __future__ import annotations

import pytest
import pytest_twisted

from imaginator.build.verbatim import check_verbatim
from imaginator.model.errors import ConfigurationError
from imaginator.model.packagers import PackagerType
from imaginator.model.settings import Settings
from tests.support.real_reactor import reactor


def configured(*verbatim: str) -> Settings:
    """A configuration with one packager type of these lines, after a good one."""
    return Settings(packager_types={"good": PackagerType(), "bad": PackagerType(verbatim=verbatim)})


@pytest.mark.parametrize(
    "lines",
    [
        ("export DEBIAN_FRONTEND=noninteractive",),
        ("greet() {", "    echo hello", "}", "# it's a comment"),
        ("case x in", "    x) A=esac ;;", "esac"),
        ("cat > /dev/null <<END", "if", "END"),
        ("-c() { :; }",),
        ("export A=b\\",),
        ("words=(one two)", "function greet { echo; }"),
        ("exit $(false)",),
    ],
)
@pytest_twisted.ensureDeferred
async def test_complete_lines_are_good(lines: tuple[str, ...]) -> None:
    """Nothing is executed; what only some shells understand is left to the image's."""
    await check_verbatim(reactor, configured(*lines), "conf.json")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (("if true; then", "  :"), "line 3: syntax error: unexpected end of file"),
        ((":", "esac"), "line 2: syntax error near unexpected token `esac'"),
        (("A='open",), "line 1: unexpected EOF while looking for matching `''"),
        (("cat <<END",), "line 1: warning: here-document at line 1 delimited by end-of-file"),
        (("esac; case x in *)",), "line 1: syntax error near unexpected token `esac'"),
        (("}",), "line 1: syntax error near unexpected token `}'"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_lines_that_reach_into_the_script(lines: tuple[str, ...], sentence: str) -> None:
    """The error names the file, the packager type and the line."""
    with pytest.raises(ConfigurationError) as caught:
        await check_verbatim(reactor, configured(*lines), "conf.json")

    assert str(caught.value).startswith(f"conf.json: $.PackagerTypes.bad.Verbatim: {sentence}")
