"""Files: what JSON cannot hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from culnig.files import json_text, read_json, write_json


def test_json_holds_what_json_does_not_know(tmp_path):
    """NaN is null, infinity a string; numpy's numbers are plain ones.  A strict reader takes the file."""
    value = {
        "nan": float("nan"),
        "high": [float("inf"), np.float64("inf"), np.float32("inf")],
        "low": (-float("inf"), np.float16("-inf")),
        "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.float64("nan")],
        "array": np.array([1.0, np.inf, np.nan]),
    }
    write_json(tmp_path / "a.json", value)

    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    strict = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert strict.pop("checksum").startswith("sha256:")
    assert (
        strict
        == read_json(tmp_path / "a.json", "a test")
        == {
            "nan": None,
            "high": ["Infinity"] * 3,
            "low": ["-Infinity"] * 2,
            "numpy": [0.5, 3, True, None],
            "array": [1.0, "Infinity", None],
        }
    )


def test_json_refuses_other_things_unless_told(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"path": tmp_path})
    assert not list(tmp_path.iterdir())
    assert json.loads(json_text({"path": tmp_path}, default=str)) == {"path": str(tmp_path)}
