"""The wheel: it holds every file of the source, and works where no source lies."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # a build by pip, and processes of its own

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_file_of_the_source_is_in_the_wheel(unpacked):
    def files(folder):
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}

    assert files(unpacked / "culnig") == files(ROOT / "src" / "culnig")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--help"], "Usage"),
        (["data", "list"], "everyday:test"),
        (["data", "check", "country_rc:neur"], "country_rc"),
        (["run", "--set", "seed=x"], "seed"),  # reads the quickstart's config
    ],
    ids=["help", "list", "check", "config"],
)
def test_it_works_outside_the_tree(unpacked, tmp_path, arguments, says):
    code = f"import culnig; assert culnig.__file__.startswith({str(unpacked)!r}), culnig.__file__; from culnig.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(unpacked), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert says in done.stdout + done.stderr and "Traceback" not in done.stderr, done.stderr
