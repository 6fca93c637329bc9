"""Arms at equal task accuracy: what each has lost where it has learnt as much as the slowest one learns at all.

Arms learn at different speeds, so at the end of training the one that learnt least has often lost least.  Every arm is
also measured after parts of its training.  Between these points task, culture and ability are straight lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from culnig.evaluation.comparing import question_of
from culnig.statistics.bootstrap import JOINT_RESAMPLES, bootstrap_p, by_question, percentile_interval
from culnig.studies._tuned import at, repeats

if TYPE_CHECKING:
    from culnig.studies._base import Section
    from culnig.studies._saved import SavedRun

KEPT = ("culture", "ability")


class Crossing(NamedTuple):
    """Where a path first reaches a level.

    Attributes:
        place: position between the points of the path: 1.5 is half-way between the second and the third.
        value: the other quantity there.
    """

    place: np.ndarray
    value: np.ndarray


def crossing(task: np.ndarray, other: np.ndarray, level: np.ndarray) -> Crossing:
    """Return where the task first reaches a level along training, and the other quantity there.

    Args:
        task: accuracy on the task, [R, K], in the order of training.
        other: the other accuracy, [R, K].
        level: the level, [R]; a path that never reaches it ends at its best point.
    """
    rows = np.arange(len(task))
    reached = task >= level[:, None]
    stop = np.where(reached.any(axis=1), reached.argmax(axis=1), task.argmax(axis=1))
    start = np.maximum(stop - 1, 0)
    rise = task[rows, stop] - task[rows, start]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(rise > 0, (level - task[rows, start]) / rise, 1.0)
    part = np.clip(part, 0.0, 1.0)
    value = other[rows, start] + part * (other[rows, stop] - other[rows, start])
    return Crossing(np.where(stop == 0, 0.0, start + part), value)


def add_equal_task(
    section: Section, run: SavedRun, arms: list[str], pairs: list[tuple[str, str]], along: list[float]
) -> None:
    """Add the tables `finetune-equal-task` and `finetune-equal-task-differences`, and a paragraph."""
    shares = np.array([0.0, *along, 1.0])
    draws = _draws(run, arms, along)
    best = np.stack([draws[arm, "task"].max(axis=1) for arm in arms])
    level = best.min(axis=0)
    roles = [role for role in KEPT if run.config.test_of(role)]
    rows, found = [], {}
    for arm in arms:
        row: dict[str, object] = {"arm": arm, "task": float(level[0])}
        for role in roles:
            there = crossing(draws[arm, "task"], draws[arm, role], level)
            row["share of training"] = float(np.interp(there.place[0], np.arange(len(shares)), shares))
            change = there.value - draws[arm, role][:, 0]
            low, high = percentile_interval(change[1:])
            found[arm, role] = there.value
            row |= {role: float(there.value[0]), f"{role} change": float(change[0])}
            row |= {f"{role} low": low, f"{role} high": high}
        rows.append(row)
    section.tables["finetune-equal-task"] = pd.DataFrame(rows)
    section.tables["finetune-equal-task-differences"] = _differences(found, pairs, roles)
    slowest = arms[int(best[:, 0].argmin())]
    section.text.append(
        f"At equal task accuracy ({level[0]:.1%}, the best that {slowest} reaches) every arm is read off where its training"
        " first gets there, on straight lines between the measured points. Intervals resample questions and seeds,"
        " and the level with them."
    )
    section.numbers["equal_task"] = {
        "level": float(level[0]),
        "arms": rows,
        "differences": section.tables["finetune-equal-task-differences"].to_dict("records"),
    }


def _differences(
    found: dict[tuple[str, str], np.ndarray], pairs: list[tuple[str, str]], roles: list[str]
) -> pd.DataFrame:
    rows = []
    for one, other in pairs:
        for role in roles:
            difference = found[one, role] - found[other, role]
            low, high = percentile_interval(difference[1:])
            value = {"difference": float(difference[0]), "low": low, "high": high, "p": bootstrap_p(difference[1:])}
            rows.append({"pair": f"{one} - {other}", "role": role, **value})
    return pd.DataFrame(rows, columns=["pair", "role", "difference", "low", "high", "p"])


def _draws(run: SavedRun, arms: list[str], along: list[float]) -> dict[tuple[str, str], np.ndarray]:
    """Accuracies along training of each arm and role, [1 + resamples, points]; the first row is what was measured.

    Arms share the resamples of questions and of seeds, so that they are compared in pairs.
    """
    rng = np.random.default_rng(run.config.seed)
    seeds = run.config.seeds
    of_seed = _weights(rng, seeds) / seeds
    found = {}
    for role in ("task", *KEPT):
        if run.config.test_of(role) is None:
            continue
        untouched = _by_question(run, role, "none", 1)[0]
        weights = _weights(rng, untouched.shape[1])
        for arm in arms:
            points = [_by_question(run, role, at(arm, share), seeds) for share in (*along, 1)]
            drawn = [np.broadcast_to(_mean(weights, untouched), (seeds, len(weights)))]
            drawn += [np.stack([_mean(weights, one) for one in point]) for point in points]
            found[arm, role] = np.einsum("rs,ksr->rk", of_seed, np.stack(drawn))
    return found


def _weights(rng: np.random.Generator, units: int) -> np.ndarray:
    """How often each unit is drawn, [1 + resamples, units]; the first row takes each once."""
    drawn = rng.multinomial(units, np.full(units, 1 / units), size=JOINT_RESAMPLES)
    return np.concatenate([np.ones((1, units)), drawn])


def _mean(weights: np.ndarray, sums_and_counts: np.ndarray) -> np.ndarray:
    sums, counts = sums_and_counts
    return (weights @ sums) / (weights @ counts)


def _by_question(run: SavedRun, role: str, arm: str, seeds: int) -> list[np.ndarray]:
    """Sums and counts of right answers by question, [2, questions], one a seed."""
    results = repeats(run, role, arm)
    assert len(results) == seeds
    return [np.stack(by_question(r.rows["correct"].to_numpy(float), question_of(r.rows))) for r in results]
