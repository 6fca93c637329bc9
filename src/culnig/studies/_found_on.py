"""Culture-general sets found on further benchmarks by the run's rule, for the studies `overlap` and `transfer`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from culnig.data import DataConfig
from culnig.neurons import ATTENTION_POOL, MLP_POOL, NeuronSet, number_of_neurons
from culnig.selection import select_general
from culnig.settings import Settings

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun


class FoundOn(Settings):
    """A benchmark that neurons are found on."""

    neur: DataConfig
    ctrl: DataConfig


def set_name(study: str, benchmark: str) -> str:
    """Name of the set that a study finds on a benchmark."""
    return f"{study}-{re.sub(r'[^A-Za-z0-9._-]+', '-', benchmark)}"


def part_name(study: str, benchmark: str, part: str) -> str:
    """Name of the score file of one part (neur, ctrl) of a benchmark."""
    return f"{set_name(study, benchmark)}-{part}"


def check_distinct(benchmarks: Iterable[str]) -> None:
    """Check that no two benchmarks share the names of their files.

    Raises:
        ValueError: two do.
    """
    taken: dict[str, str] = {}
    for name in benchmarks:
        other = taken.setdefault(set_name("", name).casefold(), name)
        if other != name:
            raise ValueError(f"'{other}' and '{name}' would share one score file; rename one of them")


def scored_parts(study: str, benchmarks: Mapping[str, FoundOn]) -> dict[str, DataConfig]:
    """Name of each score file -> the set that is scored for it."""
    sets: dict[str, DataConfig] = {}
    for name, found in benchmarks.items():
        sets |= {part_name(study, name, "neur"): found.neur, part_name(study, name, "ctrl"): found.ctrl}
    return sets


def select_on(run: SavedRun, study: str, benchmarks: Iterable[str]) -> dict[str, NeuronSet]:
    """Benchmark -> its culture-general set by the run's rule, with the run's country reading and ability scores."""
    rule = run.config.culture_general.model_dump()
    plain = run.scores("ability") if run.config.identify.ability else None
    sets = {}
    for name in benchmarks:
        neur, ctrl = (run.scores(part_name(study, name, part)) for part in ("neur", "ctrl"))
        sets[name] = select_general(neur, ctrl, run.scores("crc"), ability=plain, **rule)
    return sets


def pair_table(sets: Mapping[str, NeuronSet], shapes: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """What every two sets share, beside what random sets of the same sizes would share."""
    rows = []
    for (a, one), (b, other) in combinations(sets.items(), 2):
        chance = pooled_chance(one, other, shapes)
        jaccard = one.jaccard(other)
        rows.append(
            {
                "a": a,
                "b": b,
                "neurons a": len(one),
                "neurons b": len(other),
                "shared": len(one & other),
                "jaccard": jaccard,
                "jaccard by chance": chance,
                "times chance": jaccard / chance if chance else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def pooled_chance(one: NeuronSet, other: NeuronSet, shapes: Mapping[str, tuple[int, int]]) -> float:
    """Jaccard at the expected overlap of random sets with as many neurons in each pool (MLP; q, k, v)."""
    shared = 0.0
    for pool in (MLP_POOL, ATTENTION_POOL):
        size = number_of_neurons({m: shapes[m] for m in pool if m in shapes})
        m, n = (sum(neuron.module in pool for neuron in each) for each in (one, other))
        shared += m * n / size if size else 0.0
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0
