"""The tables of a frontier: every set, the area under each method's frontier, and perplexities at equal drops of culture."""

from __future__ import annotations

import numpy as np
import pandas as pd

from culnig.guarded.settings import PERPLEXITY
from culnig.statistics.bootstrap import percentile_interval
from culnig.statistics.frontier import area, cost_at
from culnig.statistics.tests import adjust

Draws = dict[str, np.ndarray]
"""culture, perplexity, ability, facts -> changes for the worse, [1 + resamples, sizes]; the first row is the estimate."""


def points_of(sets: dict[str, dict[int, str]], draws: dict[str, Draws]) -> pd.DataFrame:
    """A row a set: each change for the worse with its interval, as shares."""
    rows = []
    for label, members in sets.items():
        for k, (size, name) in enumerate(members.items()):
            row: dict[str, object] = {"method": label, "neurons": size, "set": name}
            for quantity, values in draws[label].items():
                low, high = percentile_interval(values[1:, k])
                row |= {quantity: values[0, k], f"{quantity}_low": low, f"{quantity}_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def areas_of(draws: dict[str, Draws], ours: str, most: dict[str, float]) -> pd.DataFrame:
    """The area under each frontier, and ours minus each, paired; p is corrected over all other methods and costs."""
    rows = []
    for cost, largest in most.items():
        for label, mine in draws.items():
            if cost not in mine:
                continue
            found = area(mine["culture"], mine[cost], largest)
            low, high = percentile_interval(found[1:])
            row = {"cost": cost, "method": label, "area": found[0], "low": low, "high": high}
            if label != ours and cost in draws[ours]:
                lead = area(draws[ours]["culture"], draws[ours][cost], largest) - found
                low, high = percentile_interval(lead[1:])
                row |= {"ours minus it": lead[0], "lead_low": low, "lead_high": high}
                tail = min((lead[1:] <= 0).mean(), (lead[1:] >= 0).mean())
                row["p"] = min(1.0, 2 * (tail * (len(lead) - 1) + 1) / len(lead))
            rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else ["cost", "method", "area", "low", "high"])
    if "p" in table:
        tested = table["p"].notna()
        table.loc[tested, "p_adjusted"] = adjust(table.loc[tested, "p"], "holm")
    return table


def at_equal_drops(draws: dict[str, Draws], ours: str, drops: list[float]) -> pd.DataFrame:
    """Perplexity at equal drops of culture: ours by each other method's, a ratio below 1 where ours costs less."""
    rows = []
    for label, other in draws.items():
        if label == ours or PERPLEXITY not in other:
            continue
        for wanted in drops:
            mine, theirs = (1 + cost_at(each["culture"], each[PERPLEXITY], wanted) for each in (draws[ours], other))
            ratio = mine / theirs
            low, high = percentile_interval(ratio[1:])
            rows.append(
                {"drop of culture": wanted, "method": label, "ours": mine[0] - 1, "its": theirs[0] - 1}
                | {
                    "ratio": ratio[0],
                    "low": low,
                    "high": high,
                    "resamples that reach it": np.isfinite(ratio[1:]).mean(),
                }
            )
    return pd.DataFrame(rows)


def at_its_sets(sets: dict[str, dict[int, str]], draws: dict[str, Draws], ours: str) -> pd.DataFrame:
    """Perplexity at the drop of culture that each set of another method has: ours by the set's own.

    In each resample the drop is that of the set in the same resample, so no drop has to be chosen.
    """
    rows = []
    for label, other in draws.items():
        if label == ours or PERPLEXITY not in other:
            continue
        for k, size in enumerate(sets[label]):
            ratio = np.exp(log_ratio_at_set(draws[ours], other, k))
            low, high = percentile_interval(ratio[1:])
            rows.append(
                {"method": label, "neurons": size, "drop of culture": other["culture"][0, k]}
                | {"its": other[PERPLEXITY][0, k], "ratio": ratio[0], "low": low, "high": high}
                | {"resamples that reach it": np.isfinite(ratio[1:]).mean()}
            )
    return pd.DataFrame(rows)


def log_ratio_at_set(ours: Draws, other: Draws, k: int) -> np.ndarray:
    """Return the log ratio of perplexities at the drop of the other's k-th set, ours by its own, [1 + resamples]."""
    mine = cost_at(ours["culture"], ours[PERPLEXITY], other["culture"][:, k])
    return np.log1p(mine) - np.log1p(other[PERPLEXITY][:, k])
