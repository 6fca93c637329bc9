"""MLP against attention: which part of the culture-general set carries the effect?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.errors import UsageError
from culnig.figures import (
    ACCENT,
    COOL,
    INK,
    ROLE_NAMES,
    empty_figure,
    error_bars,
)
from culnig.neurons import ATTENTION_POOL, MLP_POOL, NeuronSet
from culnig.selection import select_random
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import culture_general_set
from culnig.studies._metric_table import changes, metric_table

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

PARTS = {"mlp": MLP_POOL, "attention": ATTENTION_POOL}
PREFIX = "only-"


class ModulesSettings(Settings):
    """Study `modules`: the MLP part and the attention part alone."""

    random_controls: int = Field(3, ge=1, le=1000, description="matched random sets for each part")


class ModulesStudy:
    """Suppress only the gate neurons, or only the q, k and v neurons, of the culture-general set, against matched random ones."""

    settings = ModulesSettings
    section = "modules"
    order = 30
    needs = ("culture",)
    title = "MLP against attention"
    titles: ClassVar = {
        "modules": "Changes by part",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        whole, shapes = culture_general_set(run), run.scores("neur").shapes()
        sets: dict[str, NeuronSet] = {}
        for part, modules in PARTS.items():
            chosen = whole - NeuronSet([neuron for neuron in whole if neuron.module not in modules])
            sets[PREFIX + part] = chosen
            for i in range(run.config.section(ModulesSettings).random_controls if len(chosen) else 0):
                sets[f"{PREFIX}{part}-random-{i}"] = select_random(chosen, shapes, seed=run.config.seed + i)
        if not any(map(len, sets.values())):
            raise UsageError(
                "the culture-general set is empty: there is no part of it to suppress; raise general.t_mlp"
            )
        return sets

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [c for c in self.planned(run.config, []) if c.neurons is None or _there(run, c.neurons)]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = [name for part in PARTS for name in (PREFIX + part, *_controls(config, part))]
        return [UNTOUCHED, *(Condition(n, n, config.operation, ("culture", "ability")) for n in names)]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        parts = [part for part in PARTS if _there(run, PREFIX + part)]
        rows = []
        for part in parts:
            rows += metric_table(run, PREFIX + part, _controls(run.config, part), {"part": part})
        table = pd.DataFrame(rows)
        sizes = {part: len(run.neurons(PREFIX + part)) for part in parts}
        table.insert(1, "neurons", table["part"].map(sizes))
        section.tables["modules"] = table
        section.numbers = {"sizes": sizes, "changes": changes(table, "part")}
        section.figures = [
            (
                f"Change of accuracy when only a part of the culture-general set is under {run.config.operation}, against"
                " the untouched model and against the mean of random sets of the same modules and layers. 95 % intervals.",
                changes_by_part(table, "part"),
            )
        ]
        held = ", ".join(f"{count:,} neurons in {part}" for part, count in sizes.items())
        section.text = [f"The culture-general set holds {held}. {changes_text(table)}"]
        return section


STUDIES.register("modules")(ModulesStudy())


def _controls(config: RunSettings, part: str) -> list[str]:
    return [f"{PREFIX}{part}-random-{i}" for i in range(config.section(ModulesSettings).random_controls)]


def _there(run: SavedRun, name: str) -> bool:
    path = run.neurons_path(name)
    return path.is_file() and len(run.neurons(name)) > 0


def changes_text(table: pd.DataFrame) -> str:
    """A sentence a part: its change on culture items, and against random sets."""
    rows = table[(table["metric"] == "correct") & (table["role"] == "culture")].set_index(["part", "against"])
    sentences = []
    for part in dict.fromkeys(table["part"]):
        own, random = rows.loc[(part, "untouched")], rows.loc[(part, "random")]
        sentences.append(
            f"Suppressing {part} alone changes accuracy on culture items by {100 * own['difference']:+.1f} points"
            f" ({100 * own['low']:+.1f} to {100 * own['high']:+.1f}), {100 * random['difference']:+.1f} against random"
            f" ({100 * random['low']:+.1f} to {100 * random['high']:+.1f})."
        )
    return " ".join(sentences)


def changes_by_part(table: pd.DataFrame, column: str) -> go.Figure:
    """Paired changes of accuracy with intervals: a row for each value of a column and role.

    Args:
        table: rows of `studies._compared.metric_table` with `column` before them.
    """
    correct = table[table["metric"] == "correct"]
    figure = empty_figure(120 + 42 * len(correct[[column, "role"]].drop_duplicates()))
    for against, colour in (("untouched", ACCENT), ("random", COOL)):
        part = correct[correct["against"] == against]
        figure.add_scatter(
            x=list(100 * part["difference"]),
            y=[f"{value}: {ROLE_NAMES[role].lower()}" for value, role in zip(part[column], part["role"], strict=True)],
            error_x=error_bars(part["difference"], part["low"], part["high"], unit=100, thickness=1.4),
            mode="markers",
            orientation="h",
            offsetgroup=against,
            marker={"size": 9, "color": colour},
            name=f"against {against}",
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.35}, scattermode="group")
    figure.update_xaxes(title="change of accuracy, points")
    figure.update_yaxes(autorange="reversed")
    return figure
