"""Judging an answer: from the log-probabilities of an item's options and what calibrates them to right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.prompts.calibration import Calibration, Offsets, check_calibration

KEPT = {"option_lengths": "lengths", "pmi_offsets": "pmi", "contrast_offsets": "contrast"}
"""Column of a result -> field of `Offsets` that it keeps."""


def judged(
    logprobs: np.ndarray, gold: int, calibration: Calibration, offsets: Offsets, greedy: int | None = None
) -> dict[str, Any]:
    """Return the columns of a row that depend on the calibration.

    Args:
        logprobs: log-probability of each option, [options].
        gold: index of the gold option.
        calibration: what is asked for; the column `calibration` says what this row got.
        offsets: what calibrates the options.
        greedy: mcf: index of the label that is the most probable next token, -1 for none of them; None in cf.
    """
    applied = offsets.applied(calibration)
    z = offsets.calibrated(logprobs, calibration)
    among_options = np.exp(z - np.logaddexp.reduce(z))
    best = int(np.argmax(z))
    if greedy is not None and applied == "none":
        # As in the paper: the greedy next token over the whole vocabulary has to be the gold label.
        prediction, p_gold = greedy, float(np.exp(logprobs[gold]))
    else:
        prediction, p_gold = best, float(among_options[gold])
    others = np.delete(z, gold)
    return {
        "calibration": applied,
        "prediction": prediction,
        "correct": prediction == gold,
        "prediction_among_options": best,
        "correct_among_options": best == gold,
        "p_gold": p_gold,
        "log_odds": float(z[gold] - np.logaddexp.reduce(others)) if len(others) else float("nan"),
        "margin": float(z[gold] - others.mean()) if len(others) else float("nan"),
    }


def kept(offsets: Offsets) -> dict[str, Any]:
    """Return the columns from which a row can be judged under another calibration."""
    return {column: _listed(getattr(offsets, field)) for column, field in KEPT.items()}


def rejudged(rows: pd.DataFrame, calibration: str, *, mcf: bool) -> pd.DataFrame:
    """Judge saved rows under another calibration.

    Raises:
        UsageError: an unknown calibration, or rows without the offsets or lengths that it needs.
    """
    kind = check_calibration(calibration)
    lacking = {"length": "option_lengths", "pmi": "pmi_offsets", "contrast": "contrast_offsets"}.get(kind)
    if lacking and (lacking not in rows or rows[lacking].isna().all()):
        raise UsageError(f"the rows have no column {lacking}; evaluate with --calibration {kind}, or add offsets first")
    if "alignment" in rows and kind != "none":
        raise UsageError("answers on a numeric scale are judged without calibration; use none")
    made = []
    for row in rows.to_dict("records"):
        greedy = int(row["greedy"] if "greedy" in row else row["prediction"]) if mcf else None
        made.append(judged(np.asarray(row["option_logprobs"]), row["gold"], kind, _offsets(row), greedy))
    return rows.assign(**pd.DataFrame(made, index=rows.index))


def leads(rows: pd.DataFrame) -> np.ndarray:
    """Return the calibrated log-probability of the gold option minus that of the best other, float64 [rows], nats.

    It is above 0 exactly where the gold option is chosen among the options; NaN where there are no others.
    """
    found = []
    for row in rows.to_dict("records"):
        z = _offsets(row).calibrated(np.asarray(row["option_logprobs"]), row.get("calibration", "none"))
        others = np.delete(z, row["gold"])
        found.append(z[row["gold"]] - others.max() if len(others) else np.nan)
    return np.array(found, dtype=float)


def option_probabilities(rows: pd.DataFrame, *, mcf: bool) -> list[np.ndarray]:
    """Return the probability of each option of each row, [options] each, as the rows were judged.

    It is among the options and calibrated; over the vocabulary for mcf without calibration (then the sum is below 1).
    """
    found = []
    for row in rows.to_dict("records"):
        kind = row.get("calibration", "none")
        z = _offsets(row).calibrated(np.asarray(row["option_logprobs"]), kind)
        found.append(np.exp(z) if mcf and kind == "none" else np.exp(z - np.logaddexp.reduce(z)))
    return found


def _offsets(row: Mapping[Any, Any]) -> Offsets:
    values = {field: row.get(column) for column, field in KEPT.items()}
    found = {field: None if value is None or np.ndim(value) == 0 else tuple(value) for field, value in values.items()}
    return Offsets(found["lengths"] or (1,) * len(row["option_logprobs"]), found["pmi"], found["contrast"])


def _listed(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)
