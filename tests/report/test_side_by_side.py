"""Several runs on one page: differences recompute from saved rows; wrong uses are one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from culnig.cli._app import app
from culnig.errors import UsageError
from culnig.evaluation import EvalResult
from culnig.run.config import load_config
from culnig.run.directory import RunDirectory
from culnig.run.pipeline import run
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory, reference_dir):
    """Two runs of the same model: the second has larger sets."""
    config, folder = write_config(tmp_path_factory.mktemp("config"), reference_dir), tmp_path_factory.mktemp("runs")
    few = ["studies=[culture_general]", "random_controls=1", "guards.text=null"]
    run(load_config(config, few), folder / "before")
    run(load_config(config, [*few, "culture_general.t_mlp=0.05"]), folder / "after")
    return folder / "before", folder / "after"


def rows(folder, condition):
    return EvalResult.load(folder / f"evals/test/{condition}.parquet").rows.set_index("id")["correct"].astype(float)


def test_differences_recompute_from_saved_rows(runs, tmp_path):
    before, after = runs
    page = tmp_path / "both.html"
    done = CliRunner().invoke(app, ["report", *map(str, runs), "-o", str(page), "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    table = pd.DataFrame(found["differences"]).set_index(["role", "compared"])
    untouched, changed = ({f: rows(f, c) for f in runs} for c in ("none", "culture-general"))
    effect = (changed[after] - untouched[after]) - (changed[before] - untouched[before])
    wanted = {
        "untouched": (untouched[after] - untouched[before]).mean(),
        "culture neurons changed": (changed[after] - changed[before]).mean(),
        "effect of the change": effect.mean(),
    }
    for compared, value in wanted.items():
        row = table.loc[("culture", compared)]
        assert row["difference"] == pytest.approx(value) and row["low"] <= value <= row["high"]
        assert row["questions"] == len(effect)
    assert effect.abs().sum() > 0
    sets = [RunDirectory.open(folder).neurons("culture-general") for folder in runs]
    assert found["overlap"][0]["jaccard"] == pytest.approx(sets[0].jaccard(sets[1]))
    text = page.read_text()
    assert "before and after: side by side" in text and len(text) < 3_000_000


def test_questions_in_common_alone_are_paired(runs, tmp_path):
    """A run on fewer questions is compared on those; nothing is paired with itself by position."""
    part = tmp_path / "part"
    shutil.copytree(runs[1], part)
    for condition in ("none", "culture-general"):
        path = part / f"evals/test/{condition}.parquet"
        saved = EvalResult.load(path)
        EvalResult(saved.rows.iloc[10:].sample(frac=1, random_state=0).reset_index(drop=True), saved.meta).save(path)
    done = CliRunner().invoke(
        app, ["report", str(runs[0]), str(part), "-o", str(tmp_path / "p.html"), "--json"], catch_exceptions=False
    )
    row = next(r for r in json.loads(done.stdout)["differences"] if r["compared"] == "culture neurons changed")
    mine, theirs = rows(part, "culture-general"), rows(runs[0], "culture-general")
    assert row["questions"] == len(mine) == len(theirs) - 10
    assert row["difference"] == pytest.approx(np.mean(mine - theirs[mine.index]))


def test_wrong_uses_are_one_line(runs, tmp_path):
    def said(*arguments):
        with pytest.raises(UsageError) as error:
            CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
        return str(error.value)

    assert "given twice" in said(runs[0], runs[0], "-o", tmp_path / "p.html")
    assert "--out is for several runs" in said(runs[0], "-o", tmp_path / "p.html")
    assert "not a run folder" in said(runs[0], tmp_path, "-o", tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()
