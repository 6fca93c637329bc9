"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.helpers.cli import invoke

VERBS = [
    ["run"], ["score"], ["select"], ["select", "general"], ["select", "specific"], ["select", "random"], ["eval"],
    ["report"], ["export"], ["modules"], ["finetune"], ["compare"], ["data"], ["data", "list"], ["data", "show"], ["data", "check"], ["models"],
    ["models", "list"], ["models", "fetch"], ["models", "inspect"], ["doctor"], ["answer"], ["perplexity"], ["stats"], ["stability"],
    ["stability", "bootstrap"], ["stability", "sets"], ["stability", "size"], ["fidelity"], ["plan"], ["merge"],
    ["push"], ["pull"], ["generate"], ["lm-eval"], ["tasks"], ["diff"], ["init"],
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help(verb):
    result = invoke(*verb, "--help")
    assert result.exit_code == 0 and "Usage" in result.output
    if verb not in (["select"], ["data"], ["models"], ["stability"]):
        assert "Example" in result.output


def test_help_is_light():
    """Nothing heavy is imported for `--help`: that, not a stopwatch, is what keeps it quick."""
    heavy = ("torch", "transformers", "pandas", "numpy", "pydantic", "plotly", "scipy", "yaml", "datasets")
    code = (
        "import sys; from culnig.cli import main; sys.argv = ['culnig', '--help']\n"
        "try: main()\n"
        f"finally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout and done.stderr.strip() == "[]"
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "culnig", "--help"], capture_output=True, check=True)
    assert time.monotonic() - started < 10


def test_version():
    assert invoke("--version").output.startswith("culnig ")


def test_score_select_eval_export(tmp_path, reference_dir, reference_files):
    m = ["--model", reference_dir, "--chat-template", "off"]
    for name, part in (("neur", "blend"), ("ctrl", "blendcontrol"), ("crc", "countryrc")):
        done = invoke(
            "score", *m, "--items", reference_files[part], "--out", tmp_path / f"{name}.safetensors", "--json"
        )
        assert json.loads(done.stdout)["formulation"] == "mcf"
    scores = [x for n in ("neur", "ctrl", "crc") for x in (f"--{n}", tmp_path / f"{n}.safetensors")]
    general, random = tmp_path / "g.json", tmp_path / "r.json"
    assert "neurons (" in invoke("select", "general", *scores, "--out", general).output
    assert invoke("select", "random", *scores, "--out", random, "--seed", 4).exit_code == 0
    assert (
        invoke(
            "select", "random", "--like", general, "--scores", tmp_path / "neur.safetensors", "--out", random
        ).exit_code
        == 0
    )
    done = invoke(
        "select", "specific", *scores, "--countries", "iran,South_Korea", "--out", tmp_path / "sets", "--json"
    )
    assert len(json.loads(done.stdout)["files"]) == 2 and (tmp_path / "sets" / "South Korea.json").exists()
    for op in ("suppress", "scale=0.5"):
        out = tmp_path / f"{op}.parquet"
        done = invoke(
            "eval", *m, "--items", reference_files["blend"], "--neurons", general, "--op", op, "--out", out, "--json"
        )
        assert json.loads(done.stdout)["rows"] == 96 and out.exists()
    done = invoke("export", "--model", reference_dir, "--neurons", general, "--out", tmp_path / "ck", "--json")
    assert done.exit_code == 0 and (tmp_path / "ck" / "culnig.json").exists()
    again = invoke("models", "inspect", tmp_path / "ck", "--json")
    assert json.loads(again.stdout)["sites"]["mlp.gate_proj"] == {"layers": 4, "neurons": 640}


def test_data_verbs(tmp_path):
    names = [row["name"] for row in json.loads(invoke("data", "list", "--json").stdout)]
    assert {"everyday:neur", "everyday:test", "ability", "country_rc:neur"} <= set(names)
    shown = invoke("data", "show", "everyday:test", "-n", 2, "--formulation", "mcf").output
    assert shown.count("Answer:") == 2 and "A. " in shown
    assert invoke("data", "check", "ability").exit_code == 0
    bad = tmp_path / "bad.jsonl"
    bad.write_text(
        '{"id":"1","benchmark":"b","country":"Iran","question":"q","options":["tea","black tea"],"answer":0}\n'
    )
    done = invoke("data", "check", bad)
    assert done.exit_code == 1 and "also right" in done.output


def test_models_and_doctor():
    assert "smollm2-135m" in invoke("models", "list").output
    facts = json.loads(invoke("doctor", "--json").stdout)
    assert facts["versions"]["torch"] and "problems" in facts
