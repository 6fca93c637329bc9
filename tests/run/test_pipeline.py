"""A whole run: steps, resuming, interruption, report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from culnig.errors import UsageError
from culnig.evaluation import EvalResult
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_config


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    return write_config(tmp_path_factory.mktemp("config"), reference_dir)


@pytest.fixture(scope="module")
def finished(config_path, tmp_path_factory):
    return run(load_config(config_path), tmp_path_factory.mktemp("runs") / "tiny")


def test_everything_is_there(finished):
    names = {str(p.relative_to(finished.path)) for p in finished.path.rglob("*") if p.is_file()}
    assert {
        "config.yaml",
        "manifest.json",
        "results.json",
        "report.html",
        "scores/neur.safetensors",
        "neurons/culture-general.json",
    } <= names
    assert {
        "neurons/random-1.json",
        "evals/test/none.parquet",
        "evals/ability/random-0.parquet",
        "tables/accuracy.csv",
    } <= names
    assert not [n for n in names if n.endswith(".part")]
    assert any(n.startswith("evals/test/specific-") for n in names)


def test_numbers_recompute_from_saved_rows(finished):
    table = pd.read_parquet(finished.path / "tables" / "accuracy.parquet").set_index(["role", "condition"])
    for condition in ("none", "culture-general", "random-0"):
        rows = EvalResult.load(finished.path / "evals" / "test" / f"{condition}.parquet")
        assert table.loc[("culture", condition), "accuracy"] == pytest.approx(rows.accuracy)
    numbers = json.loads((finished.path / "results.json").read_text())["culture_general"]
    drop = numbers["drop"]["culture"]
    assert (
        drop["difference"] == pytest.approx(drop["a"] - drop["b"]) and drop["low"] <= drop["difference"] <= drop["high"]
    )
    assert (
        numbers["neurons"] == len(finished.neurons("culture-general")) and len(numbers["random_drops"]["culture"]) == 2
    )


def test_every_suppression_has_its_guards(finished):
    """Country reading and plain text under every set; the verdicts recompute from saved rows."""
    from culnig.evaluation import TextResult, compare, compare_text

    names = {path.stem for path in (finished.path / "neurons").glob("*.json") if len(finished.neurons(path.stem))}
    for folder in ("crc", "plain-text"):
        assert {path.stem for path in (finished.path / "evals" / folder).glob("*.parquet")} == names | {"none"}
    guards = finished.results["culture_general"]["guards"]
    assert set(guards) == {"culture-general", "random-0", "random-1"}
    assert set(finished.results["culture_specific"]["guards"]) == {
        name for name in names if name.startswith(("specific-", "own-random-0-"))
    }
    text, untouched = (TextResult.load(finished.text_path(name)) for name in ("culture-general", "none"))
    by_name = {guard["name"]: guard for guard in guards["culture-general"]["guards"]}
    assert by_name["plain text"]["change"] == pytest.approx(compare_text(text, untouched).ratio - 1)
    reading = compare(finished.result("surface", "culture-general"), finished.result("surface", "none"))
    assert by_name["country reading"]["change"] == pytest.approx(reading.difference)
    assert set(by_name) == {"plain text", "country reading"}  # cf: no answer can lie outside the options
    assert "guards" in finished.results["culture_general"]["claim"]


def test_p_values_are_corrected_over_test_sets_and_countries(finished):
    from culnig.statistics.tests import adjust

    table = pd.read_parquet(finished.path / "tables" / "differences.parquet")
    for (_, metric), family in table.groupby(["pair", "metric"]):
        assert list(family["p_adjusted"]) == pytest.approx(list(adjust(family["p"])))
        assert family["p_mcnemar"].notna().all() == (metric == "correct" and family["pair"].iloc[0][-6:] != "random")
    by = pd.read_parquet(finished.path / "tables" / "culture-general-by-country.parquet")
    assert list(by["p_mcnemar_adjusted"]) == pytest.approx(list(adjust(by["p_mcnemar"])))


def test_report_is_one_safe_page(finished):
    page = (finished.path / "report.html").read_text()
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r'(src|href)="(?!#)', outside)  # links within the page alone
    assert finished.results["culture_general"]["claim"].split(";")[0][:60] in page
    assert page.count('class="plot"') >= 4
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.S):
        json.loads(data.replace("<\\/", "</"))


def test_markup_in_names_is_escaped(finished):
    from culnig.report import render_report
    from culnig.studies import Section

    nasty = "<img src=x onerror=alert(1)>"
    before = (finished.path / "report.html").read_text()
    table = pd.DataFrame({"country": [nasty], "neurons": [1]})
    sections = [Section(nasty, text=[nasty], tables={"specific-sets": table}, claim=nasty)]
    render_report(finished, sections, finished.manifest)
    page = (finished.path / "report.html").read_text()
    (finished.path / "report.html").write_text(before)
    assert nasty not in page and "&lt;img" in page


def test_second_run_does_nothing_again(finished, config_path):
    stamps = {
        p: p.stat().st_mtime_ns
        for p in finished.path.rglob("*")
        if p.suffix in {".safetensors", ".parquet"} and "tables" not in p.parts
    }
    run(load_config(config_path), finished.path)
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}


def test_other_settings_are_refused(finished, config_path):
    with pytest.raises(UsageError, match="other settings \\(seed\\)"):
        run(load_config(config_path, ["seed=5"]), finished.path)


def test_a_folder_in_use_is_left_alone(finished, config_path):
    from filelock import FileLock

    with FileLock(finished.path / ".lock"), pytest.raises(UsageError, match="in use by another run"):
        run(load_config(config_path), finished.path)


def test_manifest_has_no_secrets(finished, monkeypatch):
    text = (finished.path / "manifest.json").read_text()
    assert {"model_hash", "versions", "seed", "data"} <= set(re.findall(r'"(\w+)":', text))
    assert not re.search(r"token|password|secret", text.replace("tokenizers", ""), flags=re.I)


@pytest.mark.slow
def test_interrupted_run_goes_on(config_path, tmp_path, finished):
    """Ctrl-C in the middle: one line, exit code 130; the same command finishes with the same numbers."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "culnig", "run", str(config_path), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    while not (out / "scores" / "neur.safetensors").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    if process.returncode != 0:
        assert (
            process.returncode == 130
            and err.strip().splitlines()[-1].startswith("culnig: interrupted")
            and "Traceback" not in err
        )
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    mine, theirs = ((p / "results.json").read_text() for p in (out, finished.path))
    assert mine == theirs


def test_report_again_without_the_model(finished, monkeypatch):
    from typer.testing import CliRunner

    from culnig.cli._app import app

    before = (finished.path / "results.json").read_text()
    monkeypatch.setattr("culnig.models.loading.load_model", None)
    result = CliRunner().invoke(app, ["report", str(finished.path)], catch_exceptions=False)
    assert result.exit_code == 0 and "report.html" in result.output
    assert (finished.path / "results.json").read_text() == before
