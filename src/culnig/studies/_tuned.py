"""What the studies that tune share: the arms' results over seeds, and their differences to the model before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from culnig.evaluation import EvalResult, compare
from culnig.evaluation.results import METRICS
from culnig.formatting import points
from culnig.sealed import load_table

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

COMPARED = ("correct", "log_odds")


def at(arm: str, share: float) -> str:
    """Name of an arm after a share of its training; after all of it, the arm's own."""
    return arm if share == 1 else f"{arm}-at{share:g}"


def repeats(run: SavedRun, role: str, arm: str) -> list[EvalResult]:
    """An arm's results, one a seed; the model before has one alone."""
    names = ["none"] if arm == "none" else [f"{arm}-{seed}" for seed in range(run.config.seeds)]
    return [result for name in names if (result := run.result(role, name)) is not None]


def over_seeds(run: SavedRun, role: str, arm: str) -> EvalResult:
    """An arm's results, each row's figures averaged over the seeds; "none" is the model before."""
    results = repeats(run, role, arm)
    first = results[0]
    rows = first.rows.copy()
    for metric in METRICS:
        rows[metric] = np.mean([r.rows[metric].to_numpy(dtype=float) for r in results], axis=0)
    return EvalResult(rows, first.meta)


def roles_of(run: SavedRun, roles: tuple[str, ...]) -> list[str]:
    """Those of some roles that the run has a test set for."""
    return [role for role in roles if run.config.test_of(role)]


def change_table(run: SavedRun, pairs: list[tuple[str, str]], roles: list[str]) -> pd.DataFrame:
    """Paired differences a - b of arms, for each role and metric.

    A seed is a draw: of the order of training, and of the random rows where the arm has such.  The intervals are over
    questions and seeds, and arms are paired seed by seed.
    """
    cache = {(role, arm): repeats(run, role, arm) for role in roles for arm in {x for pair in pairs for x in pair}}
    rows = [
        {"pair": f"{a} - {b}", "role": role, **compare(cache[role, a], cache[role, b], metric).to_dict()}
        for a, b in pairs
        for role in roles
        for metric in COMPARED
    ]
    return pd.DataFrame(rows)


def arm_table(run: SavedRun, arms: list[str], changes: pd.DataFrame, roles: list[str]) -> pd.DataFrame:
    """A row an arm: parameters that could move, accuracies, and changes with their intervals."""
    correct = changes[changes["metric"] == "correct"].set_index(["pair", "role"])
    rows = []
    for arm in ["none", *arms]:
        row: dict[str, Any] = {"arm": arm, "trainable": _trainable(run, arm) if arm != "none" else 0}
        for role in roles:
            if arm == "none":
                row[role] = over_seeds(run, role, arm).rows["correct"].mean()
                continue
            c = correct.loc[(f"{arm} - none", role)]
            row |= {role: c["a"], f"{role} change": c["difference"], f"{role} low": c["low"], f"{role} high": c["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def shown(table: pd.DataFrame, roles: list[str]) -> pd.DataFrame:
    """An arm table for people: in %, changes in points with their intervals."""
    made = table[["arm"]].assign(trainable=[f"{count:,}" if count else "" for count in table["trainable"]])
    for role in roles:
        made[f"{role}, %"] = [f"{100 * value:.1f}" for value in table[role]]
        made[f"{role}, change"] = [
            ""
            if row["arm"] == "none"
            else f"{points(row[f'{role} change'])} ({points(row[f'{role} low'])} to {points(row[f'{role} high'])})"
            for _, row in table.iterrows()
        ]
    return made


def seed_table(run: SavedRun, arms: list[str], roles: list[str]) -> pd.DataFrame:
    """Accuracy of every single tuning."""
    rows = []
    for arm in arms:
        for seed in range(run.config.seeds):
            row: dict[str, Any] = {"arm": arm, "seed": seed}
            for role in roles:
                result = run.result(role, f"{arm}-{seed}")
                assert result is not None
                row[role] = result.accuracy
            rows.append(row)
    return pd.DataFrame(rows)


def moved_table(run: SavedRun, arms: list[str]) -> pd.DataFrame:
    """How far the watched rows moved in each arm, against matched random rows; means over seeds."""
    frames = []
    for arm in arms:
        for seed in range(run.config.seeds):
            frame = load_table(run.tuned_path(f"{arm}-{seed}") / "moved.parquet", "what a tuning moved")
            frames.append(frame.assign(arm=arm))
    table = pd.concat(frames).groupby(["arm", "what"], sort=False).mean(numeric_only=True).reset_index()
    return table


def loss_tables(run: SavedRun, arms: list[str]) -> dict[str, pd.DataFrame]:
    """Arm -> loss curve of its first seed."""
    return {arm: load_table(run.tuned_path(f"{arm}-0") / "loss.parquet", "the losses of a tuning") for arm in arms}


def _trainable(run: SavedRun, arm: str) -> int:
    from culnig.finetune import manifest

    return int(manifest(run.tuned_path(f"{arm}-0"))["update"]["trainable"])
