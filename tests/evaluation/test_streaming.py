"""Scores and results of items that stay in their file: those of the list, in bounded memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bench.scale import write_items

import culnig
from culnig.data import item_stream, load_items, stream_items
from culnig.evaluation import AnswerResult, EvalResult
from tests.helpers.cli import invoke

SMALL = ("--token-budget", "400", "--json")


@pytest.fixture
def path(tmp_path):
    write_items(tmp_path / "items.jsonl", 70)
    return tmp_path / "items.jsonl"


@pytest.mark.parametrize(
    "options",
    [
        {"method": "culnig,atp:control", "formulation": "mcf", "blocks": 4, "block_groups": True, "padded_zeros": 8},
        {"method": "culnig:sum:diff", "calibration": "pmi", "shard": (2, 3), "control": True},
    ],
)
def test_scores_of_a_stream_are_those_of_the_list(tiny, path, monkeypatch, options):
    options = dict(options)
    policy = tiny.scoring_policy("cf").model_copy(update={"calibration": options.pop("calibration", "none")})
    options |= {"policy": policy if "shard" in options else None, "token_budget": 300}
    expected = culnig.score(tiny, load_items(path), **options)
    tiny.offsets.clear()
    monkeypatch.setattr(item_stream, "CHUNK", 16)
    found = culnig.score(tiny, stream_items(path), **options)
    assert not tiny.offsets  # what was measured on the way is dropped again
    for ours, theirs in ((found.sums, expected.sums), (found.blocks, expected.blocks)):
        assert ours.keys() == theirs.keys()
        for key, sums in theirs.items():
            np.testing.assert_allclose(ours[key], sums, rtol=1e-4, atol=1e-6)
    assert found.meta.pop("item_ids") != expected.meta.pop("item_ids") and found.meta == expected.meta
    np.testing.assert_array_equal(found.tokens, expected.tokens)


@pytest.mark.parametrize("verb", ["eval", "answer"])
def test_rows_of_a_stream_are_those_of_the_list(path, reference_dir, tmp_path, monkeypatch, verb):
    write_items(path, 70, short=verb == "answer")
    kind, more = (
        (AnswerResult, ["--max-new-tokens", "2"]) if verb == "answer" else (EvalResult, ["--formulation", "cf"])
    )
    said = []
    for chunk in (100, 16):
        monkeypatch.setattr(item_stream, "CHUNK", chunk)
        out = tmp_path / f"{chunk}.parquet"
        ran = invoke(verb, "-m", reference_dir, "-i", path, "-o", out, *more, *SMALL)
        said.append(ran.stdout.replace(str(out), "OUT"))
    whole, parts = (kind.load(tmp_path / f"{chunk}.parquet") for chunk in (100, 16))
    assert whole.meta == parts.meta
    pd.testing.assert_frame_equal(whole.rows, parts.rows, rtol=1e-3, atol=1e-5)
    assert said[0].splitlines()[:4] == said[1].splitlines()[:4]
    assert not list(tmp_path.glob(".*"))
