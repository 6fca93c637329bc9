"""The neurons' part of the study `diff`: which sets each model has, which scores changed, and which rows moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from culnig.files import read_json
from culnig.neurons import ATTENTION_POOL, MLP_POOL, NeuronSet
from culnig.statistics.overlap import chance_jaccard
from culnig.studies._base import Section
from culnig.studies._culture_general_set import CULTURE_GENERAL
from culnig.studies._diff_measure import MODEL, MOVED, SET, path_of, tuned_scores

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

POOLS = {"MLP (gate)": MLP_POOL, "attention (q, k, v)": ATTENTION_POOL}


def add_neurons(section: Section, run: SavedRun, shown: int) -> None:
    """Add the overlap of the sets, the agreement of the scores, the neurons that changed most, and the rows' movement."""
    base, tuned = run.neurons(CULTURE_GENERAL), NeuronSet.load(path_of(run, SET))
    before, after = _differences(run)
    table = pd.DataFrame([_pool(name, modules, base, tuned, before, after) for name, modules in POOLS.items()])
    table = table[table["neurons"] > 0].reset_index(drop=True)
    size = int(table["neurons"].sum())
    section.tables["diff-sets"] = table
    section.tables["diff-moved"] = pd.read_parquet(path_of(run, MOVED))
    section.tables["diff-neurons"] = _changed(base, tuned, before, after).head(shown)
    section.numbers["tuned"] = read_json(path_of(run, MODEL), "the tuned model's description")
    section.numbers["sets"] = {
        "base": len(base),
        "tuned": len(tuned),
        "shared": len(base & tuned),
        "jaccard": base.jaccard(tuned),
        "chance": chance_jaccard(len(base), len(tuned), size),
    }
    section.numbers["pools"] = table.to_dict("records")
    section.text.append(
        f"The same rule selects {len(base):,} neurons on the base and {len(tuned):,} on the tuned model; {len(base & tuned):,}"
        f" are in both, {len(base - tuned):,} were left and {len(tuned - base):,} are new. D is S(neur) - S(ctrl), by which"
        " neurons are ranked; its rank correlation is over all neurons of a pool."
    )


def _differences(run: SavedRun) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Module -> D = S(neur) - S(ctrl), [L, N], on the base and on the tuned model."""
    modules = [m for pool in POOLS.values() for m in pool if m in run.scores("neur").modules]
    before = {m: run.scores("neur").mean(m) - run.scores("ctrl").mean(m) for m in modules}
    neur, ctrl = tuned_scores(run, "neur"), tuned_scores(run, "ctrl")
    return before, {m: neur.mean(m) - ctrl.mean(m) for m in modules}


def _pool(
    name: str,
    modules: tuple[str, ...],
    base: NeuronSet,
    tuned: NeuronSet,
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
) -> dict[str, object]:
    """A row of the table of sets: one pool."""
    own = [m for m in modules if m in before]
    first, second = ({n for n in each if n.module in own} for each in (base, tuned))
    size = sum(before[m].size for m in own)
    union = len(first | second)
    flat = [np.concatenate([each[m].ravel() for m in own]) if own else np.zeros(0) for each in (before, after)]
    return {
        "pool": name,
        "neurons": size,
        "base": len(first),
        "tuned": len(second),
        "shared": len(first & second),
        "jaccard": len(first & second) / union if union else 1.0,
        "jaccard by chance": chance_jaccard(len(first), len(second), size) if size else float("nan"),
        "rank correlation of D": float(spearmanr(*flat).statistic) if size else float("nan"),
    }


def _changed(
    base: NeuronSet, tuned: NeuronSet, before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> pd.DataFrame:
    """A row a neuron of either set, those whose D changed most first."""
    rows = []
    for neuron in base | tuned:
        old, new = (float(each[neuron.module][neuron.layer, neuron.index]) for each in (before, after))
        where = "both" if neuron in base and neuron in tuned else "base" if neuron in base else "tuned"
        place = {"module": neuron.module, "layer": neuron.layer, "neuron": neuron.index, "in the set of": where}
        rows.append(place | {"D before": old, "D after": new, "change": new - old})
    columns = ["module", "layer", "neuron", "in the set of", "D before", "D after", "change"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("change", key=lambda change: -change.abs(), ignore_index=True)
