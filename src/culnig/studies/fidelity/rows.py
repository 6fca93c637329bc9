"""What a fidelity measurement saves: a row for every neuron and prompt, from which all tables are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from culnig.statistics.agreement import LeftOut
from culnig.statistics.top_ranks import left_out_weights

NEUR, CTRL = "neur", "ctrl"
STRATIFIED, TOP = "stratified", "top"
FIXED = ("module", "layer", "neuron", "decile", "exact")
DRAWN = ("stratum", "pool", "draw", "weight", "k", "number")
"""Further columns of a neuron's row; runs of version 0.1 have none of them."""


@dataclass
class Fidelity:
    """What was measured; every table is computed from it, without the model.

    Attributes:
        neurons: a row a neuron and stratum: stratum, pool, draw (the stratum of its random draw), weight (the inverse of its
            inclusion probability), k (how many selection takes of its pool), number, module, layer, neuron, decile, `exact`
            (the mean over the cultural prompts of P(gold) times what zeroing it takes from P(gold)), and a column for each
            method, its S on the same prompts (nan where a method does not score the module).
        groups: a row a method and group: method, k, share (of the neurons that the method has scored), estimate (the sum
            of S over the method's top k), exact (the same neurons suppressed together).
        meta: model, data, prompts, methods, sampling.
        prompts: a row a prompt: part (neur, ctrl), id, question, country, probability; None in runs of version 0.1.
        effects: `exact` and each method -> what each prompt adds to S, float32 [prompts, numbers]; empty in such runs.
    """

    neurons: pd.DataFrame
    groups: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)
    prompts: pd.DataFrame | None = None
    effects: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        """The methods, in the order they were named."""
        return [column for column in self.neurons.columns if column not in (*FIXED, *DRAWN)]

    @property
    def quantities(self) -> list[str]:
        """S, and D where controls were measured."""
        return ["S", "D"] if self.prompts is not None and (self.prompts["part"] == CTRL).any() else ["S"]

    def of(self, stratum: str, quantity: str = "S") -> pd.DataFrame:
        """Return the rows of one stratum, with `exact` and the methods' columns in one quantity, S or D."""
        rows = self.neurons
        if "stratum" not in rows:
            return rows if stratum == STRATIFIED else rows.iloc[:0]
        rows = rows[rows["stratum"] == stratum].reset_index(drop=True)
        if quantity == "S":
            return rows
        means = self._means(quantity, *(self._even(part) for part in (NEUR, CTRL)))
        return rows.assign(**{name: values[0, rows["number"]] for name, values in means.items()})

    def left_out(self, rows: pd.DataFrame, quantity: str = "S") -> LeftOut | None:
        """Return `exact` and each method for these rows without each question; None in runs of 0.1."""
        if self.prompts is None:
            return None
        ids = self.prompts["question"].to_numpy(dtype=str)
        neur, ctrl = (ids[self._is(part)] for part in (NEUR, CTRL))
        # S looks at no controls, so only their own questions are left out of it.
        kinds = left_out_weights(neur, ctrl if quantity == "D" else None)
        numbers = rows["number"].to_numpy()
        return [
            {name: values[:, numbers] for name, values in self._means(quantity, *weights).items()} for weights in kinds
        ]

    def _means(self, quantity: str, neur: np.ndarray, ctrl: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return weighted means of what prompts add: S on the cultural prompts, D with that on the controls taken off."""
        means = {name: neur @ values[self._is(NEUR)] for name, values in self.effects.items()}
        if quantity == "D":
            assert ctrl is not None
            means = {name: mean - ctrl @ self.effects[name][self._is(CTRL)] for name, mean in means.items()}
        return means

    def _is(self, part: str) -> np.ndarray:
        assert self.prompts is not None
        return (self.prompts["part"] == part).to_numpy()

    def _even(self, part: str) -> np.ndarray:
        number = int(self._is(part).sum())
        return np.full((1, number), 1 / max(1, number))

    def save(self, folder: Path | str) -> None:
        """Write neurons, prompts, effects and groups (.parquet) and fidelity.json, the last of all, into a folder."""
        from culnig.files import write_json
        from culnig.sealed import save_rows

        tables = {"neurons": self.neurons, "groups": self.groups}
        if self.prompts is not None:
            tables |= {"prompts": self.prompts, "effects": self._long()}
        for name, table in tables.items():
            save_rows(Path(folder) / f"{name}.parquet", table)
        write_json(Path(folder) / "fidelity.json", self.meta)

    def _long(self) -> pd.DataFrame:
        prompts, numbers = self.effects["exact"].shape
        table = {
            "prompt": np.repeat(np.arange(prompts, dtype=np.int32), numbers),
            "number": np.tile(np.arange(numbers, dtype=np.int32), prompts),
        }
        return pd.DataFrame(table | {name: values.ravel() for name, values in self.effects.items()})

    @classmethod
    def load(cls, folder: Path | str) -> Fidelity:
        """Read what `save` has written, in version 0.1 too.

        Raises:
            UsageError: no such files.
            DataError: files that are damaged.
        """
        from culnig.files import read_json

        folder = Path(folder)
        meta = read_json(folder / "fidelity.json", "the description of a fidelity measurement")
        neurons = _read(folder / "neurons.parquet", FIXED)
        found = cls(neurons, _read(folder / "groups.parquet", ("method", "k", "estimate", "exact")), meta)
        if "number" in neurons:
            found.prompts = _read(folder / "prompts.parquet", ("part", "question", "probability"))
            long = _read(folder / "effects.parquet", ("prompt", "number", "exact", *found.methods))
            shape = len(found.prompts), -1
            found.effects = {name: long[name].to_numpy().reshape(shape) for name in ("exact", *found.methods)}
        return found


def _read(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    from culnig.errors import DataError
    from culnig.sealed import load_rows, unreadable

    found, _ = load_rows(path, "rows of a fidelity measurement")
    with unreadable(path, "rows of a fidelity measurement"):
        table = found.to_pandas()
    if missing := [column for column in needed if column not in table]:
        raise DataError(f"{path}: no column {', '.join(missing)}; `culnig fidelity` writes such files")
    return table
