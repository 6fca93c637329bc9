"""Instance level: on which share of items does each of the best culture-general neurons score positive?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig import distributed
from culnig.evaluation.multiple_choice import count_rows
from culnig.figures import (
    ACCENT,
    empty_figure,
)
from culnig.files import atomic_path
from culnig.neurons import NeuronSet
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


class InstanceSettings(Settings):
    """Study `instance`: the culture-general set's best neurons, item by item."""

    top: int = Field(1000, ge=1, description="so many neurons at most")


class InstanceStudy:
    """A second scoring pass over `neur` keeps each item's score of the culture-general set's best neurons (`instance.top`)."""

    settings = InstanceSettings
    section = "instance"
    order = 35
    title = "Item by item"

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        return run.per_item_path.is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        from safetensors.numpy import save_file

        from culnig.attribution.per_item import score_items

        items = context.items(run.config.identify.neur)
        with context.reporter.step("score item by item", count_rows(items, context.policy), "prompts") as progress:
            values = score_items(
                context.lm,
                items,
                _best(run),
                policy=context.policy,
                method=run.scores("neur").method,
                token_budget=context.token_budget,
                progress=progress,
            )
        if distributed.is_main():
            with atomic_path(run.per_item_path) as temporary:
                save_file({"scores": values}, str(temporary))

    def analyse(self, run: SavedRun) -> Section:
        from safetensors.numpy import load_file

        values, best = load_file(str(run.per_item_path))["scores"], _best(run)
        share = (values > 0).mean(axis=0)
        table = pd.DataFrame(
            {
                "rank": np.arange(1, len(best) + 1),
                "module": [n.module for n in best],
                "layer": [n.layer for n in best],
                "neuron": [n.index for n in best],
                "positive": share,
                "mean": values.mean(axis=0),
                "largest share of an item": values.max(axis=0) / np.maximum(values.clip(0).sum(axis=0), 1e-30),
            }
        )
        section = Section(self.title, tables={"instance": table})
        section.numbers = {"prompts": len(values), "neurons": len(best), "mean_share_positive": float(share.mean())}
        section.figures = [
            (
                f"Share of {len(values):,} prompts on which each neuron of the culture-general set scores above 0.",
                histogram(100 * share, "% of prompts with a score above 0", "neurons"),
            )
        ]
        section.text = [
            f"The {len(best):,} best culture-general neurons score above 0 on {share.mean():.0%} of the prompts on average"
            f" (from {share.min():.0%} to {share.max():.0%}). The score is the maximum over positions, which favours values"
            " above 0."
        ]
        return section


STUDIES.register("instance")(InstanceStudy())


def _best(run: SavedRun) -> NeuronSet:
    """Return the culture-general set's neurons with the largest D, at most `instance.top`."""
    scores = run.neurons(CULTURE_GENERAL).scores
    return NeuronSet(
        dict(sorted(scores.items(), key=lambda pair: -pair[1])[: run.config.section(InstanceSettings).top])
    )


def histogram(values: object, title: str, counted: str) -> go.Figure:
    """How often values come up."""
    figure = empty_figure(280)
    figure.add_histogram(x=list(values), nbinsx=40, marker={"color": ACCENT})  # type: ignore[call-overload]
    figure.update_xaxes(title=title)
    figure.update_yaxes(title=counted)
    return figure
