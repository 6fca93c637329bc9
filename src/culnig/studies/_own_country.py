"""Drop matrices of countries' sets, and the own-country effect in them: of the sets, of random ones, of equally large ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from culnig.evaluation import EvalResult, restrict
from culnig.evaluation.comparing import aligned, question_of
from culnig.statistics.bootstrap import by_question, differences, joint_bootstrap
from culnig.statistics.matrices import FEWEST, own_country_effect

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

PREFIX = "specific-"
EQUAL = "equal-"
"""Sets cut to the size of the smallest."""
UNITS = {"log_odds": "log-odds (nats)", "p_gold": "probability", "correct": "share of items"}
RESAMPLES = 1000


def random_prefix(draw: int) -> str:
    """What the names of one draw of the countries' random sets begin with."""
    return f"own-random-{draw}-"


def random_draws(run: SavedRun) -> list[str]:
    """The prefixes of the random draws that were evaluated for at least `FEWEST` countries."""
    prefixes = [random_prefix(draw) for draw in range(run.config.specific_controls)]
    return [prefix for prefix in prefixes if len(evaluated(run, prefix)) >= FEWEST]


def set_names(run: SavedRun, prefix: str = PREFIX) -> list[str]:
    """Names of the countries' sets that hold any neuron, in the countries' order; a prefix names another kind of them."""
    return [name for name in run.set_names(prefix) if len(run.neurons(name))]


def evaluated(run: SavedRun, prefix: str) -> list[str]:
    """Those of `set_names` that have results on the culture items."""
    return [name for name in set_names(run, prefix) if run.has_result("culture", name)]


def drop_matrix(run: SavedRun, metric: str, prefix: str = PREFIX) -> pd.DataFrame:
    """Mean of a metric without suppression minus with: [sets, countries]; of the sets whose names begin with a prefix."""

    def by_country(result: EvalResult | None) -> pd.Series:
        assert result is not None
        return result.rows.groupby("country")[metric].mean()

    untouched = by_country(run.result("culture", "none"))
    names = set_names(run, prefix)
    drops = {name.removeprefix(prefix): untouched - by_country(run.result("culture", name)) for name in names}
    return pd.DataFrame(drops).T.dropna(axis=1)  # a country without items under the sets is no column


def resampled_drops(run: SavedRun, metric: str, countries: Sequence[str], prefixes: Sequence[str]) -> np.ndarray:
    """The square drop matrix of resampled questions, [resamples, sets, countries]; the mean over several draws of the sets.

    Questions are resampled within each country, and all sets share the resamples.
    """
    untouched = run.result("culture", "none")
    assert untouched is not None
    drops = []
    for country in countries:
        masked = [run.result("culture", prefix + country) for prefix in prefixes]
        before = restrict(untouched, masked[0])  # type: ignore[arg-type]
        after = np.mean([aligned(before, each).values(metric) for each in masked if each is not None], axis=0)
        drops.append(differences(before.values(metric), after))
    frame = before.rows
    rng = np.random.default_rng(run.config.seed)
    columns = []
    for country in countries:
        chosen = (frame["country"] == country).to_numpy()
        parts = [by_question(drop[chosen], question_of(frame[chosen])) for drop in drops]
        columns.append(joint_bootstrap(np.stack([s for s, _ in parts], axis=1), parts[0][1], rng, RESAMPLES))
    return np.stack(columns, axis=2)


def targets_of(matrix: pd.DataFrame) -> list[str]:
    """The countries that have both a set and items."""
    return [country for country in matrix.index if country in matrix.columns]


def own_country(run: SavedRun, matrix: pd.DataFrame, metric: str, prefixes: Sequence[str] = ()) -> dict[str, Any]:
    """The own-country effect of a drop matrix with its test; NaN where there are too few countries.

    Args:
        run: the run.
        matrix: sets x countries.
        metric: what the drops are of.
        prefixes: names of the sets begin with these, to resample questions for an interval; none gives no interval.
    """
    targets = targets_of(matrix)
    row: dict[str, Any] = {"metric": metric, "unit": UNITS[metric], "countries": len(targets)}
    if len(targets) < 3:
        names = ("effect", "low", "high", "p", "mean_rank", "slope")
        return row | dict.fromkeys((*names, *(f"{name} (double-centred)" for name in ("effect", "p", "rank"))), np.nan)
    resampled = None
    if prefixes and len(targets) >= FEWEST:
        resampled = resampled_drops(run, metric, targets, prefixes)
    test = own_country_effect(matrix.loc[targets, targets].to_numpy(), resampled=resampled, seed=run.config.seed)
    row |= {"effect": test.effect, "low": test.low, "high": test.high, "p": test.p}
    row |= {"mean_rank": test.mean_rank, "slope": test.slope}
    effect, p, rank = test.centred
    return row | {"effect (double-centred)": effect, "p (double-centred)": p, "rank (double-centred)": rank}


def own_country_table(run: SavedRun) -> pd.DataFrame:
    """The own-country effect by metric: of the countries' sets, of their random sets (mean of the draws), of equal ones."""
    random = random_draws(run)
    kinds: dict[str, list[str]] = {"own": [PREFIX]}
    if random:
        kinds[f"random ({len(random)} {'draw' if len(random) == 1 else 'draws'})"] = random
    if len(evaluated(run, EQUAL)) >= FEWEST:
        kinds["equal size"] = [EQUAL]
    rows = []
    for label, prefixes in kinds.items():
        for metric in UNITS:
            matrices = [drop_matrix(run, metric, prefix) for prefix in prefixes]
            shared = [c for c in matrices[0].index if all(c in other.index for other in matrices)]
            mean = sum(matrix.loc[shared] for matrix in matrices) / len(matrices)
            rows.append({"sets": label} | own_country(run, mean, metric, prefixes))
    return pd.DataFrame(rows)
