"""A study, a method, a family, a benchmark and a template in a package of their own: installed, and nothing else done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow  # an installation by pip, and several processes

PLUGIN = Path(__file__).parents[1] / "files" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package, built and installed by pip into a folder; gives the environment that sees it."""
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    shutil.copytree(PLUGIN, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder / "packages"), str(source)], check=True)
    paths = [str(folder / "packages"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def culnig(environment, *arguments):
    """The output of a command line."""
    command = [sys.executable, "-m", "culnig", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tiny_ctrl(tmp_path_factory):
    """A tiny model of an architecture that culnig does not know."""
    import torch
    from transformers import CTRLConfig, CTRLLMHeadModel

    from tests.helpers import tiny_models

    torch.manual_seed(0)
    sizes = {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4, "vocab_size": 512, "n_positions": 128}
    model = CTRLLMHeadModel(CTRLConfig(**sizes))
    folder = tmp_path_factory.mktemp("ctrl")
    model.save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def finished(installed, tiny_ctrl, tmp_path_factory):
    """A run whose model, data, prompts, scores and study all come from the package."""
    folder = tmp_path_factory.mktemp("run")
    config = {
        "name": "lakes",
        "model": {"name": str(tiny_ctrl)},
        "prompts": {"formulation": "cf"},
        "scoring": "gradient_norm:sum",
        "identify": {"neur": {"items": "lakes:neur"}, "ctrl": {"items": "lakes:ctrl"}, "crc": {"items": "lakes:test"}},
        "test": [{"role": "culture", "items": "lakes:test"}],
        "culture_general": {"t_mlp": 0.1, "t_attn": 0.05},
        "random_controls": 1,
        "studies": ["culture_general", "first_neurons"],
        "guards": {"text": None},
        "first_neurons": {"count": 2},
    }
    (folder / "lakes.yaml").write_text(yaml.safe_dump(config))
    culnig(installed, "run", folder / "lakes.yaml", "--out", folder / "out", "--json")
    return folder / "out"


def test_everything_comes_from_the_package(finished):
    """The settings of the YAML count, the table has its heading, and the figure is in the page."""
    assert json.loads((finished / "results.json").read_text())["first_neurons"]["neurons"] == 2
    page = (finished / "report.html").read_text()
    assert "What the first neurons cost" in page and "Accuracy without the first neurons." in page
    assert (finished / "tables" / "first-neurons.csv").is_file()
    assert yaml.safe_load((finished / "config.yaml").read_text())["first_neurons"] == {"count": 2}


def test_help_and_lists_name_them(installed, tiny_ctrl):
    assert "first_neurons" in culnig(installed, "run", "--help")
    assert "gradient_norm" in culnig(installed, "score", "--help")
    assert "lakes:neur" in culnig(installed, "data", "list", "--json")
    assert "w1" in culnig(installed, "data", "show", "lakes:test", "-n", 1)
    assert "ffn.0" not in culnig(installed, "models", "inspect", tiny_ctrl, "--json")


def test_a_wrong_setting_of_a_plugin_is_one_line(installed):
    command = [sys.executable, "-m", "culnig", "run", "--set", "first_neurons.count=0"]
    done = subprocess.run(command, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "first_neurons.count" in done.stderr and "Traceback" not in done.stderr
