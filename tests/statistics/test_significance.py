"""Exact tests, corrections and power: against by-hand values and simulation; `culnig stats` as a user meets it."""

from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, discordance, mcnemar, power_table, restrict, significance_table
from culnig.statistics.power import power_of, questions_needed, smallest_drop
from culnig.statistics.tests import adjust
from tests.helpers.cli import invoke, use
from tests.helpers.results import made


def pair(lost, gained, same, ids=None, variant=""):
    """Two results: a has lost and gained so many rows against b."""
    b = [True] * lost + [False] * gained + [True] * (same // 2) + [False] * (same - same // 2)
    a = [False] * lost + [True] * gained + b[lost + gained :]
    return made(a, ids, variant), made(b, ids, variant)


def test_mcnemar_is_the_binomial_test_of_discordant_questions():
    test = mcnemar(*pair(12, 4, 84))
    assert (test.lost, test.gained, test.questions) == (12, 4, 100)
    assert test.p == pytest.approx(2 * sum(comb(16, k) for k in range(5)) / 2**16)
    assert mcnemar(*pair(0, 0, 10)).p == 1
    with pytest.raises(UsageError, match="right and wrong"):
        mcnemar(*pair(1, 1, 2), metric="log_odds")


def test_draws_of_a_question_count_once():
    """Four draws of 15 questions all fall together: 15 lost questions, not 60 lost rows."""
    ids, variant = [f"q{i // 4}/{i % 4}" for i in range(120)], [str(i % 4) for i in range(120)]
    a, b = pair(60, 0, 60, ids, variant)
    assert (mcnemar(a, b).lost, mcnemar(a, b).questions) == (15, 30)
    assert discordance(a, b) == 0.5


def test_corrections_by_hand():
    p = [0.01, 0.04, np.nan, 0.03]
    assert adjust(p, "holm") == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert adjust(p, "bh") == pytest.approx([0.03, 0.04, np.nan, 0.04], nan_ok=True)
    assert np.isnan(adjust([np.nan])).all()
    with pytest.raises(UsageError, match="unknown correction"):
        adjust(p, "bonferroni")


def test_power_agrees_with_simulation():
    """Questions that change with probability 0.2, 13 % to the worse and 7 % to the better: the planned share is detected."""
    n = questions_needed(0.06, 0.2)
    assert power_of(n, 0.06, 0.2) == pytest.approx(0.8, abs=0.002) and smallest_drop(n, 0.2) == pytest.approx(
        0.06, abs=5e-4
    )
    rng = np.random.default_rng(0)
    lost, gained, _ = rng.multinomial(n, [0.13, 0.07, 0.8], size=4000).T
    # The test that power is planned for: McNemar's, without continuity correction.
    seen = (lost - gained) ** 2 > 1.96**2 * (lost + gained)
    assert seen.mean() == pytest.approx(0.8, abs=0.02)


def test_power_at_the_edges():
    assert questions_needed(0.1, 0.0) == questions_needed(
        0.1, 0.1
    )  # a drop of 10 points changes a tenth of the answers
    assert np.isnan(smallest_drop(2, 0.2))
    for wrong in ((0.0, 0.1), (1.5, 0.1), (0.1, 1.5)):
        with pytest.raises(UsageError):
            questions_needed(*wrong)


def test_table_corrects_over_its_rows():
    first, second = pair(14, 2, 84), pair(5, 4, 91)
    table = significance_table([(first[0], [first[1]]), (second[0], [second[1]])], correction="bh")
    assert list(table["p_mcnemar_adjusted"]) == pytest.approx(list(adjust(table["p_mcnemar"], "bh")))
    by = significance_table([(first[0], [first[1]])], by="country")
    assert list(by["country"]) == ["China", "Iran"] and by["lost"].sum() == 14
    assert list(by["p_adjusted"]) == pytest.approx(list(adjust(by["p"], "holm")))
    several = significance_table([(first[0], [first[1], second[1]])])
    assert several["p_mcnemar"].isna().all() and several["p"].notna().all()
    with pytest.raises(UsageError, match="no column 'planet'"):
        significance_table([(first[0], [first[1]])], by="planet")
    with pytest.raises(UsageError, match="leave the controls out"):
        power_table([(first[0], [first[1], second[1]])])


def test_mcnemar_keeps_its_level():
    """No true difference: over 200 data sets the exact test rejects at most about one in twenty."""
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):
        base, other = rng.random((2, 60)) < 0.5
        keep = rng.random(60) < 0.7
        p.append(mcnemar(made(base), made(np.where(keep, base, other))).p)
    assert np.mean(np.array(p) <= 0.05) <= 0.07


def test_derived_metrics():
    rows = made([True, False]).rows.assign(
        prediction=[0, -1], option_logprobs=[[np.log(0.25), np.log(0.25)], [np.log(0.1), np.log(0.3)]]
    )
    mcf, cf = (EvalResult(rows, {"formulation": f}) for f in ("mcf", "cf"))
    assert list(mcf.values("outside_options")) == [0, 1]
    assert list(np.exp(cf.values("option_logmass"))) == pytest.approx([0.5, 0.4])
    with pytest.raises(UsageError, match="mcf results only"):
        cf.values("outside_options")


def test_restrict_keeps_the_rows_of_the_other():
    whole = made([True, False] * 3)
    part = EvalResult(whole.rows.iloc[[4, 1]].reset_index(drop=True))
    assert list(restrict(whole, part).rows["id"]) == ["i1", "i4"]


@pytest.fixture
def files(tmp_path):
    a, b = pair(14, 2, 84)
    paths = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for result, path in zip((a, b), paths, strict=True):
        result.meta = {"formulation": "cf"}
        result.save(path)
    return paths


def test_stats_verb(files):
    shown = invoke("stats", *files, "--by", "country", "--power", 5).output
    assert "China" in shown and "14" not in shown.splitlines()[0] and "n needed for 5 points" in shown
    done = json.loads(invoke("stats", *files, "--json", "--power", 3, "--discordance", 0.2).stdout)
    (test,) = done["tests"]
    assert test["p_mcnemar"] == pytest.approx(mcnemar(*map(EvalResult.load, files)).p)
    assert done["power"][0]["needed_3"] == questions_needed(0.03, 0.2)
    controls = json.loads(invoke("stats", *files, files[1], "--controls", "--json").stdout)["tests"][0]
    assert controls["p_mcnemar"] is None and controls["difference"] == pytest.approx(-0.12)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a"], "1 files do not form pairs"),
        (["a", "--controls"], "--controls needs a condition"),
        (["a", "none"], "no such file"),
        (["a", "b", "--correction", "x"], "unknown correction 'x'"),
        (["a", "b", "--metric", "luck"], "unknown metric 'luck'"),
        (["a", "b", "--metric", "outside_options"], "mcf results only"),
        (["a", "b", "--by", "planet"], "no column 'planet'"),
        (["a", "b", "--power", "0"], "detect a drop of 0 points"),
        (["a", "b", "--discordance", "0.1"], "--discordance is for --power"),
        (["a", "b", "b", "--controls", "--power", "3"], "leave the controls out"),
        (["text", "b"], "not a Parquet file"),
    ],
)
def test_wrong_uses_of_stats(files, arguments, says, capsys, monkeypatch):
    (files[0].parent / "text").write_text("no")
    known = {"a": files[0], "b": files[1], "none": files[0].parent / "none", "text": files[0].parent / "text"}
    code, _, err = use(capsys, monkeypatch, "stats", *(known.get(argument, argument) for argument in arguments))
    assert code in (1, 2) and says in err and len(err.splitlines()) == 1


def test_results_with_doubled_ids_are_refused():
    twice = made([True] * 4, ids=["a", "a", "b", "c"])
    other = EvalResult(twice.rows.iloc[::-1].reset_index(drop=True))
    with pytest.raises(UsageError, match="'a' twice"):
        mcnemar(twice, other)
