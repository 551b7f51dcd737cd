"""What PyPI would carry: a source distribution, and the wheel made of it, in an environment that has nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ("imaginator", "twisted", "pyproject.toml", "README.rst", "LICENSE")
MAKE = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def run(*argv: object, folder: Path) -> str:
    """What a program prints that has to succeed, without this environment's variables for Python."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    ended = subprocess.run(
        list(map(str, argv)), cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    run(sys.executable, "-c", MAKE, folder / "dist", folder=folder)
    (found,) = (folder / "dist").glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, distribution: Path) -> Path:
    """A clean environment in which pip has installed it, with what it needs."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "5")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, distribution, folder=folder)
    (wheel,) = folder.glob("*.whl")
    run(*pip, "install", wheel, folder=folder)
    return folder


def test_everything_is_in_the_distributions(distribution: Path, environment: Path) -> None:
    """Every module and every file of data, and no test."""
    wanted = {
        str(path.relative_to(ROOT))
        for folder in ("imaginator", "twisted")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "dropin.cache"
    }
    with tarfile.open(distribution) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    (wheel,) = environment.glob("*.whl")
    with zipfile.ZipFile(wheel) as binary:
        installed = set(binary.namelist())

    assert set() == wanted - source
    assert wanted == {name for name in installed if ".dist-info/" not in name}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("imaginator -h", "--configuration-url"),
        ("twistd imaginator --help", "--configuration-url"),
        ("twistd --help", "Builds operating-system images from manifests kept in Git."),
        ("builder-tool --help", "build-image"),
        ("builder-tool --version", "builder-tool"),
    ],
)
def test_the_commands(environment: Path, command: str, said: str) -> None:
    """They work in another folder than the checkout."""
    program, *arguments = command.split()

    assert said in run(environment / "venv" / "bin" / program, *arguments, folder=environment)


def test_a_daemon(environment: Path) -> None:
    """``twistd imaginator`` goes to the background with its own pidfile, answers, and ends."""
    folder = environment
    (folder / "conf.json").write_text("{}")
    flags = ("--configuration-url", folder / "conf.json", "--state-dir", folder / "state", "--log-dir", folder / "logs")
    twistd = folder / "venv" / "bin" / "twistd"
    run(
        twistd,
        "--pidfile",
        folder / "pid",
        "imaginator",
        *flags,
        "--listen-address",
        "127.0.0.1",
        "--port",
        0,
        folder=folder,
    )
    look = (
        "import pathlib, re, time, urllib.request as r\n"
        "log = pathlib.Path('logs/imaginator.log')\n"
        "while not (found := re.search(r'listening on port (\\d+)', log.read_text() if log.exists() else '')):\n"
        "    time.sleep(0.1)\n"
        "print(r.urlopen(f'http://127.0.0.1:{found[1]}/healthz').read().decode().strip())\n"
    )
    try:
        answer = run(sys.executable, "-c", look, folder=folder).strip()
    finally:
        run(
            "sh",
            "-c",
            'pid=$(cat pid); kill "$pid"; while kill -0 "$pid"; do sleep 0.1; done 2> /dev/null',
            folder=folder,
        )

    assert "ok" == answer
