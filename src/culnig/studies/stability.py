"""Stability: would other items, other halves of them, another wording or other thresholds have chosen the same neurons?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig import distributed
from culnig.attribution import Scores, score
from culnig.attribution.method import SweepMethod, parse_method
from culnig.errors import UsageError
from culnig.figures import (
    ACCENT,
    INK,
    PALETTE,
    QUIET,
    empty_figure,
    error_bars,
    heat_map,
    legend_below,
    size_curves,
)
from culnig.formatting import percent
from culnig.neurons import MODULES, UP, NeuronSet
from culnig.selection import (
    Stability,
    bootstrap_budget,
    jaccard_matrix,
    rank_correlation,
    size_general,
    size_specific,
)
from culnig.selection.pools import Pool
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, Finding, MeasurementContext, Section
from culnig.studies._compared_methods import (
    MethodComparisonSettings,
    is_random,
    method_names,
    methods_on,
    parts_of,
    sets_of,
)
from culnig.studies._country_stability import add_country_stability

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "stability"
REWORDED = ("neur", "ctrl")
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04)
REMOVED = (0.0, 0.01, 0.05)
SCORES_Z = (0.0, 0.5, 1.0, 2.0)
OFTEN = 0.9


class StabilitySettings(Settings):
    """Settings of the study `stability`; the modules are those of `method_comparison`."""

    budget: float = Field(0.01, gt=0, le=1, description="share of each module's neurons that is selected")
    resamples: int = Field(40, ge=0, description="bootstrap resamples of the items")
    halves: int = Field(10, ge=0, description="random splits of the items into halves")
    wordings: int = Field(
        1,
        ge=1,
        description="score so many wordings, and compare the sets of the first and of the others; 1: no comparison",
    )


class StabilityStudy:
    """Resampled selections of every method at one budget, from sums kept at score time."""

    settings = StabilitySettings
    section = "stability"
    order = 40
    title = "Stability of the selected neurons"
    tab = "sure"
    titles: ClassVar = {
        "stability": "Stability of each method's set",
        "stability-specific": "Stability of the culture-specific sets",
        "stability-wordings": "Other prompt wordings",
        "stability-size": "Size of the culture-general set against t and r",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        return run.config.section(StabilitySettings).wordings == 1 or all(
            _reworded_path(run, part).is_file() for part in REWORDED
        )

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Score with more wordings; what the first ones gave is taken off again in the analysis."""
        wordings = run.config.section(StabilitySettings).wordings
        if not isinstance(context.scoring_policy.wordings, int) or context.scoring_policy.wordings >= wordings:
            raise UsageError(
                f"stability.wordings = {wordings} must be more than prompts.wordings = {context.scoring_policy.wordings}, which is scored"
                " already"
            )
        policy = context.scoring_policy.model_copy(update={"wordings": wordings})
        for part in REWORDED:
            items = context.items(getattr(run.config.identify, part))
            with context.reporter.step(
                f"score {part} in {wordings} wordings", len(items) * wordings, "prompts"
            ) as progress:
                scores = score(
                    context.lm,
                    items,
                    policy=policy,
                    method=_rewordable(run.config),
                    control=True if part == "ctrl" else None,
                    token_budget=context.token_budget,
                    progress=progress,
                )
            if distributed.is_main():
                scores.save(_reworded_path(run, part))

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        config = run.config.section(StabilitySettings)
        made = {method: _resampled(run, method) for method in _resampleable(run)}
        section.tables = {"stability": _summary(run, made)}
        if made and config.resamples:
            frequencies = [each.frequency().assign(method=method) for method, each in made.items()]
            section.tables["stability-frequency"] = pd.concat(frequencies, ignore_index=True)
        section.text = [_text(run, made)]
        if made:
            caption = (
                f"Jaccard index of the sets ({percent(config.budget)} of each module) that resampled items choose."
                " Bars hold 95 % of the resamples."
            )
            section.figures.append((caption, agreement_bars(section.tables["stability"])))
        first = method_names(run.config)[0]
        if first in made and made[first].sets:
            section.figures.append(
                (
                    f"Selection frequency of each neuron by {first}, over the bootstrap.",
                    frequency_curve(made[first].frequency()),
                )
            )
        _add_overlap(section, run)
        if config.wordings > 1:
            section.tables["stability-wordings"] = _wordings(run)
            section.text.append(_wording_text(run))
        _add_sizes(section, run, first)
        section.numbers = {"resampled": section.tables["stability"].to_dict("records")}
        if first in made and set(MODULES) - {UP} <= set(run.scores("neur", first).modules):
            draws = {"resamples": config.resamples, "halves": config.halves, "seed": run.config.seed}
            add_country_stability(section, run, first, draws)
        section.findings = _findings(section.tables["stability"], first)
        return section


STUDIES.register(NAME)(StabilityStudy())


def _reworded_path(run: SavedRun, part: str) -> Any:
    return run.measured_path(NAME) / f"{part}.safetensors"


def _rewordable(config: RunSettings) -> list[str]:
    """Methods whose sums add up over wordings and that share cheap passes."""
    methods = [parse_method(name) for name in method_names(config)]
    fixed = [m for m in methods if getattr(m, "reference", None) == "dataset"]
    return [m.name for m in methods if not isinstance(m, SweepMethod) and m not in fixed]


def _place_of(run: SavedRun, method: str) -> str | None:
    """Of the config's places, the one with most modules that the method scores."""
    places = [
        place for place in run.config.section(MethodComparisonSettings).modules if method in methods_on(run, place)
    ]
    return max(places, key=lambda place: len(run.config.section(MethodComparisonSettings).modules[place]), default=None)


def _resampleable(run: SavedRun) -> list[str]:
    """Methods with per-block sums; what is random says nothing about items."""
    names = [name for name in method_names(run.config) if not is_random(name) and _place_of(run, name)]
    return [name for name in names if run.scores("neur", name).blocks]


def _resampled(run: SavedRun, method: str) -> Stability:
    config = run.config.section(StabilitySettings)
    place = _place_of(run, method)
    assert place is not None
    return bootstrap_budget(
        parts_of(run, method),
        run.config.section(MethodComparisonSettings).modules[place],
        config.budget,
        rule=run.config.culture_general,
        resamples=config.resamples,
        halves=config.halves,
        seed=run.config.seed,
    )


def _summary(run: SavedRun, made: dict[str, Stability]) -> pd.DataFrame:
    """A row a method and kind of resampling: means, and the range that holds 95 % of the Jaccard indices."""
    rows = []
    for method, each in made.items():
        often = int((each.frequency().query("chosen")["frequency"] >= OFTEN).sum()) if each.sets else 0
        for kind, part in each.table.groupby("kind"):
            low, high = np.quantile(part["jaccard"], [0.025, 0.975])
            row = {"method": method, "modules": _place_of(run, method), "kind": kind, "neurons": len(each.chosen)}
            row |= {"jaccard": part["jaccard"].mean(), "jaccard_low": float(low), "jaccard_high": float(high)}
            row |= {column: part[column].mean() for column in ("chance", "rank_all", "rank_chosen")}
            rows.append(row | {"in_90_percent": often if kind == "bootstrap" else None})
    columns = ["method", "modules", "kind", "neurons", "jaccard", "jaccard_low", "jaccard_high"]
    return pd.DataFrame(rows, columns=[*columns, "chance", "rank_all", "rank_chosen", "in_90_percent"])


def _text(run: SavedRun, made: dict[str, Stability]) -> str:
    config = run.config.section(StabilitySettings)
    blocks = run.scores("neur").block_count
    text = (
        f"From sums of {len(blocks) if blocks is not None else 0} blocks of items, kept at score time, each method selects"
        f" {percent(config.budget)} of its modules again: {config.resamples} bootstrap resamples, each against the set"
        f" of all items, and {config.halves} splits, one half against the other. Halves have half the items and give the harsher"
        " figure; resamples share items with the whole and give the kinder one."
    )
    left = [name for name in method_names(run.config) if name not in made and not is_random(name)]
    if left:
        text += f" Not resampled, for lack of per-block sums or of a set of modules that they score: {', '.join(left)}."
    return text


def _add_overlap(section: Section, run: SavedRun) -> None:
    """How much the methods' sets have in common, where most methods take part."""
    place = max(run.config.section(MethodComparisonSettings).modules, key=lambda name: len(methods_on(run, name)))
    share = run.config.section(StabilitySettings).budget
    names = methods_on(run, place)
    sets = {name: sets_of(parts_of(run, name), run.config, place, [share])[0] for name in names}
    matrix = jaccard_matrix(sets)
    section.tables["stability-overlap"] = matrix.rename_axis("method").reset_index()
    caption = f"Overlap (Jaccard) of the methods' sets, {percent(share)} of '{place}'."
    section.figures.append((caption, heat_map(matrix, "Jaccard", "%{z:.2f}")))


def _wordings(run: SavedRun) -> pd.DataFrame:
    """Each method's set from the first wordings against that from the others; country reading stays in the first."""
    rows = []
    for method in _rewordable(run.config):
        if (place := _place_of(run, method)) is None:
            continue
        parts = parts_of(run, method)
        others = parts | {part: _others(run, part, method, parts[part]) for part in REWORDED}
        share = [run.config.section(StabilitySettings).budget]
        a, b = (sets_of(each, run.config, place, share)[0] for each in (parts, others))
        modules = run.config.section(MethodComparisonSettings).modules[place]
        ranked = [Pool(neur, modules).flat(neur.mean) for neur in (parts["neur"], others["neur"])]
        row = {"method": method, "modules": place, "neurons": len(a), "jaccard": a.jaccard(b)}
        rows.append(row | {"rank correlation of S(neur)": rank_correlation(*ranked)})
    return pd.DataFrame(rows)


def _others(run: SavedRun, part: str, method: str, first: Scores) -> Scores:
    """Scores of the further wordings alone: all wordings minus the first ones."""
    everything = Scores.load(_reworded_path(run, part)).of_method(method)
    tokens = None if everything.tokens is None or first.tokens is None else everything.tokens - first.tokens
    sums = {key: everything.sums[key].astype(np.float64) - first.sums[key] for key in first.sums}
    return Scores(sums, everything.count - first.count, first.groups, first.meta, tokens)


def _wording_text(run: SavedRun) -> str:
    left = [n for n in method_names(run.config) if n not in _rewordable(run.config) and not is_random(n)]
    text = f"The items were scored in {run.config.section(StabilitySettings).wordings} wordings; the set of the first is compared with that of the others."
    return text + (f" Left out for their cost, or because their sums do not add up: {', '.join(left)}." if left else "")


def _add_sizes(section: Section, run: SavedRun, method: str) -> None:
    """Size of the culture-general and the culture-specific sets against the thresholds, by the first method."""
    if not set(MODULES) - {UP} <= set(run.scores("neur", method).modules):
        return
    parts = parts_of(run, method)
    scores, preset = (parts["neur"], parts["ctrl"], parts["crc"]), run.config.culture_general.preset
    general = size_general(*scores, t_mlp=SHARES, r=REMOVED, ability=parts.get("ability"), preset=preset)
    section.tables["stability-size"] = general
    section.figures.append(
        (f"Size of {method}'s culture-general set against t, for several r.", size_curves(general, "t_mlp", "r"))
    )
    if len(parts["neur"].groups) > 1:
        specific = size_specific(
            *scores, t=(0.001, 0.003, 0.01), r=(run.config.culture_specific.r,), z=SCORES_Z, preset=preset
        )
        section.tables["stability-size-specific"] = specific
        caption = f"Mean size of {method}'s culture-specific sets against the least z, for several t."
        section.figures.append((caption, size_curves(specific, "z", "t")))


def _findings(table: pd.DataFrame, method: str) -> list[Finding]:
    half = table[(table["method"] == method) & (table["kind"] == "half")]
    if not len(half):
        return []
    row = half.iloc[0]
    value = f"Jaccard {row['jaccard']:.2f}"
    return [
        Finding(
            f"{method}, split halves",
            value,
            f"{row['jaccard_low']:.2f} to {row['jaccard_high']:.2f}; chance {row['chance']:.3f}",
        )
    ]


def agreement_bars(table: pd.DataFrame) -> go.Figure:
    """Jaccard index of resampled selections for each method: mean with the range of 95 % of them, and what chance gives.

    Args:
        table: columns method, kind (bootstrap, half), jaccard, jaccard_low, jaccard_high, chance.
    """
    kinds = {"bootstrap": "resampled items, against all", "half": "one half against the other"}
    methods = list(dict.fromkeys(table["method"]))
    figure = empty_figure(120 + 44 * len(methods))
    for offset, (kind, label), colour in zip((-0.15, 0.15), kinds.items(), (ACCENT, PALETTE[0]), strict=True):
        part = table[table["kind"] == kind]
        figure.add_scatter(
            x=list(part["jaccard"]),
            y=[methods.index(method) + offset for method in part["method"]],
            mode="markers",
            name=label,
            error_x=error_bars(part["jaccard"], part["jaccard_low"], part["jaccard_high"]),
            marker={"size": 9, "color": colour},
            hovertemplate=f"{label}: %{{x:.2f}}<extra></extra>",
        )
    if len(table):
        figure.add_scatter(
            x=[table[table["method"] == method]["chance"].mean() for method in methods],
            y=list(range(len(methods))),
            mode="markers",
            name="two random sets of these sizes",
            marker={"symbol": "line-ns-open", "size": 12, "color": INK},
        )
    figure.update_yaxes(
        tickvals=list(range(len(methods))), ticktext=methods, range=[len(methods) - 0.4, -0.6], showgrid=False
    )
    figure.update_xaxes(title="Jaccard index", range=[-0.02, 1.02])
    return legend_below(figure)


def frequency_curve(table: pd.DataFrame) -> go.Figure:
    """Selection frequency of every neuron, most frequent first: the chosen set and the others that come up.

    Args:
        table: what `selection.selection_frequency` gives.
    """
    figure = empty_figure(320)
    for chosen, colour, name in ((True, ACCENT, "chosen from all items"), (False, QUIET, "not chosen")):
        part = table[table["chosen"] == chosen].sort_values("frequency", ascending=False)
        figure.add_scatter(
            x=list(range(1, len(part) + 1)),
            y=list(100 * part["frequency"]),
            mode="lines",
            line={"color": colour, "width": 2},
            name=name,
            hovertemplate=f"{name}, neuron %{{x}}: %{{y:.0f}} % of resamples<extra></extra>",
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="neurons, most frequent first")
    figure.update_yaxes(title="chosen in, % of resamples", range=[0, 102])
    return figure
