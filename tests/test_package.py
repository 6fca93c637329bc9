"""The wheel and the source archive: they hold every file, and the wheel works in an environment where no source lies."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow  # a build by pip, and processes of its own

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel):
    """A folder with what the wheel installs."""
    folder = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of an environment into which pip has installed the wheel; it sees the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(command, check=True)
    inside = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(inside, check=True, capture_output=True, text=True).stdout.strip())
    # Paths of a .pth file stand behind the environment's own, and the .pth files there are not read: no editable culnig.
    there = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_path("purelib")]
    (site / "dependencies.pth").write_text("\n".join(dict.fromkeys(there)) + "\n")
    return scripts / "culnig"


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


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"culnig"}
    assert not [
        name for name in names if "tests" in Path(name).parts or Path(name).name.startswith(("test_", "conftest"))
    ]
    for needed in (
        "report/templates",
        "run/configs",
        "prompts/templates",
        "benchmarks/embedded",
        "data/plain_text.txt",
    ):
        assert any(name.startswith(f"culnig/{needed}") for name in names), needed


def test_the_source_archive_builds_the_same_wheel(unpacked, tmp_path):
    code = f"import hatchling.build; print(hatchling.build.build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (folder for folder in tmp_path.iterdir() if folder.is_dir())
    assert (source / "tests").is_dir() and (source / "constraints.txt").is_file() and not (source / "runs").exists()
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(again) as archive:
        names = {name for name in archive.namelist() if not name.endswith("RECORD")}
    here = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert names == {name for name in here if not name.endswith("RECORD")}


def culnig(command, folder, *arguments, **more):
    """Run the installed command outside the repository; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"} | more
    done = subprocess.run(
        [command, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_wheel_runs_without_the_repository(installed, tmp_path, reference_dir):
    config = write_config(tmp_path, reference_dir)
    run = tmp_path / "run"
    where = "import culnig; print(culnig.__file__)"
    python = installed.with_name("python")
    assert str(installed.parent.parent) in culnig(python, tmp_path, "-c", where)
    culnig(installed, tmp_path, "run", config, "--out", run, "--set", "studies=[culture_general]")
    assert (run / "report.html").stat().st_size > 100_000 and (run / "results.json").is_file()


@pytest.mark.parametrize(
    ("words", "completes"),
    [("culnig mod", {"models", "modules"}), ("culnig data l", {"list"}), ("culnig score --met", {"--method"})],
)
def test_shells_complete_verbs_and_options(installed, tmp_path, words, completes):
    at = str(len(words.split()) - 1)
    answered = culnig(installed, tmp_path, _CULNIG_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at)
    assert completes <= set(answered.split()) and all(word.startswith(words.split()[-1]) for word in answered.split())


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_completion_is_installed_for_the_shell(installed, tmp_path):
    path = f"{installed.parent}{os.pathsep}{os.environ['PATH']}"
    culnig("bash", tmp_path, "-c", "culnig --install-completion; true", HOME=str(tmp_path), PATH=path)
    (script,) = (path for path in tmp_path.rglob("culnig.sh"))
    assert "_CULNIG_COMPLETE=complete_bash" in script.read_text() and str(script) in (tmp_path / ".bashrc").read_text()
