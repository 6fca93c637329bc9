"""Instance level: on which share of items does each of the best culture-general neurons score positive?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig import distributed
from culnig.data import Item
from culnig.evaluation.multiple_choice import count_rows
from culnig.figures import (
    ACCENT,
    empty_figure,
)
from culnig.neurons import NeuronSet
from culnig.sealed import load_tensors, save_tensors
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies.published import read_published

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


class InstanceSettings(Settings):
    """Study `instance`: the culture-general set's best neurons, item by item."""

    top: int = Field(1000, ge=1, description="so many neurons at most")


class InstanceStudy:
    """A second scoring pass over `neur` keeps each item's score of the culture-general set's best neurons (`instance.top`).

    A pass over the controls does the same.  An item's contrasted score is its own minus that of its control, the same item
    without the question; its mean over items is D, by which the neurons were chosen.
    """

    settings = InstanceSettings
    section = "instance"
    order = 35
    title = "Item by item"
    tab = "neurons"

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        return run.per_item_path.is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:

        from culnig.attribution.per_item import score_items

        found, asked = {}, {}
        for part in ("neur", "ctrl"):
            items = asked[part] = context.items(
                run.config.identify.neur if part == "neur" else run.config.identify.ctrl
            )
            total = count_rows(items, context.scoring_policy)
            with context.reporter.step(f"score {part} item by item", total, "prompts") as progress:
                found[part] = score_items(
                    context.lm,
                    items,
                    _best(run),
                    policy=context.scoring_policy,
                    method=run.scores("neur").method,
                    control=True if part == "ctrl" else None,
                    token_budget=context.token_budget,
                    progress=progress,
                )
        control = found["ctrl"]
        if not (aligned(asked["neur"], asked["ctrl"]) and len(control) == len(found["neur"])):
            control = control.mean(axis=0, keepdims=True)
        if distributed.is_main():
            save_tensors(run.per_item_path, {"scores": found["neur"], "control": control}, {"kind": "per item"})

    def analyse(self, run: SavedRun) -> Section:
        saved, best = load_tensors(run.per_item_path, "scores of items"), _best(run)
        values = saved["scores"]
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
        if "control" in saved:
            _add_contrasted(section, values, saved["control"])
        else:
            section.text.append("This run was made before the controls were scored item by item.")
        return section


STUDIES.register("instance")(InstanceStudy())


def aligned(items: list[Item], controls: list[Item]) -> bool:
    """Whether each item's control, the same item without the question, is at the same place of the controls."""
    names = [[(item.id, item.options) for item in part] for part in (items, controls)]
    return names[0] == names[1]


def _add_contrasted(section: Section, values: np.ndarray, control: np.ndarray) -> None:
    """Add the share of prompts with a contrasted score above 0, beside the published one.

    Args:
        section: the study's section, with its table.
        values: [prompts, neurons].
        control: [prompts, neurons] of each prompt's own control, or [1, neurons], their mean.
    """
    contrasted = values - control
    share = (contrasted > 0).mean(axis=0)
    section.tables["instance"] = section.tables["instance"].assign(
        **{"contrasted positive": share, "contrasted mean": contrasted.mean(axis=0)}
    )
    own = len(control) == len(values)
    published = read_published()["share_positive"]
    section.numbers |= {
        "mean_share_contrasted": float(share.mean()),
        "own_control": own,
        "published_share_percent": published,
    }
    section.figures.append(
        (
            f"The same after the control's score is taken off: share of {len(values):,} prompts with a contrasted score"
            " above 0.",
            histogram(100 * share, "% of prompts with a contrasted score above 0", "neurons"),
        )
    )
    what = "its own control" if own else "the mean of all controls, since they do not match the items one by one"
    section.text.append(
        f"Contrasted with {what}, they score above 0 on {share.mean():.0%} of the prompts on average (from {share.min():.0%}"
        f" to {share.max():.0%}). The paper reports that its top neurons score above 0 on {published} % of items."
    )


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
