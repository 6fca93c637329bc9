"""The study of the neurons that cost plain text, in a run of the tiny model."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from culnig.data import load_texts
from culnig.errors import UsageError
from culnig.evaluation import costliest
from culnig.models import load_model
from culnig.run.checks import check_config
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import WORDS, write_config


@pytest.mark.slow
def test_neurons_of_damaging_sets(tmp_path, reference_dir):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(" ".join(WORDS[i : i + 9]) for i in range(0, 90, 9)))
    path = write_config(tmp_path, reference_dir)
    config = yaml.safe_load(path.read_text()) | {
        "studies": ["culture_general", "costly_neurons"],
        "random_controls": 1,
        "guards": {"text": str(text)},
        "costly_neurons": {"exact": 2, "beyond": -1},
    }
    path.write_text(yaml.safe_dump(config))
    done = run(load_config(path), tmp_path / "run")
    rows = pd.read_parquet(done.path / "tables" / "costly-all.parquet")
    for name in ("culture-general", "random-0"):
        own = rows[rows["set"] == name].drop(columns="set").reset_index(drop=True)
        expected = costliest(load_model(reference_dir), done.neurons(name), load_texts(text), exact=2)
        pd.testing.assert_frame_equal(own, expected, check_dtype=False, rtol=1e-4, atol=1e-7)
    assert "Which neurons cost plain text" in (done.path / "report.html").read_text()
    path.write_text(yaml.safe_dump(config | {"guards": {"text": None}}))
    with pytest.raises(UsageError, match=r"costly_neurons needs a plain text; set guards\.text"):
        check_config(load_config(path))
    path.write_text(yaml.safe_dump(config | {"costly_neurons": {"exact": 2, "beyond": 1e9}}))
    none = run(load_config(path), tmp_path / "other")
    assert "There is no such set in this run" in (none.path / "report.html").read_text()
