"""The path of a guarded selection: its rounds, and the ordered set, of which every prefix is a set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from culnig.guarded.checks import Change
from culnig.neurons import Neuron, NeuronSet


@dataclass
class Round:
    """One round: what it added or dropped, what the checks said, and whether it was kept.

    `forwards` is its cost in forward passes of a prompt or a text, ranking and checking together; a backward pass counts
    as two.
    """

    number: int
    added: list[Neuron]
    gains: list[float]
    neurons: int
    changes: dict[str, Change]
    crossed: list[str]
    seconds: float
    dropped: list[Neuron] = field(default_factory=list)
    forwards: int = 0

    @property
    def kept(self) -> bool:
        return not self.crossed

    def row(self) -> dict[str, Any]:
        """A row for tables: size, every change with its interval, and the guards that were crossed."""
        found: dict[str, Any] = {"round": self.number, "added": len(self.added), "neurons": self.neurons}
        found |= {"dropped": len(self.dropped)}
        for name, change in self.changes.items():
            found |= {name: change.change, f"{name} low": change.low, f"{name} high": change.high}
            found |= {f"{name} nats": change.log_odds, f"{name} P(gold)": change.p_gold}
        return found | {
            "kept": self.kept,
            "crossed": ", ".join(self.crossed),
            "seconds": round(self.seconds, 1),
            "forwards": self.forwards,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "added": [list(neuron) for neuron in self.added],
            "gains": self.gains,
            "neurons": self.neurons,
            "changes": [change.to_dict() for change in self.changes.values()],
            "crossed": self.crossed,
            "seconds": self.seconds,
            "dropped": [list(neuron) for neuron in self.dropped],
            "forwards": self.forwards,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Round:
        changes = {each["name"]: Change(**each) for each in data["changes"]}
        neurons = {key: [Neuron(*neuron) for neuron in data.get(key, [])] for key in ("added", "dropped")}
        return cls(**(data | neurons | {"changes": changes}))


@dataclass
class GuardedPath:
    """The result of a guarded selection.

    Attributes:
        rounds: every round, those taken back included.
        stopped: why the search stopped.
        neurons: the set, in the order in which its neurons were chosen.
        done: whether what is not needed was looked for.
    """

    rounds: list[Round] = field(default_factory=list)
    stopped: str = ""
    neurons: NeuronSet = field(default_factory=NeuronSet)
    done: bool = False

    @property
    def table(self) -> pd.DataFrame:
        """A row a round."""
        return pd.DataFrame([each.row() for each in self.rounds])

    @property
    def chosen(self) -> dict[Neuron, float]:
        """The neurons of the rounds that were kept, with the gains that they were chosen for."""
        found: dict[Neuron, float] = {}
        for each in self.rounds:
            if each.kept:
                found |= dict(zip(each.added, each.gains, strict=True))
                for neuron in each.dropped:
                    del found[neuron]
        return found
