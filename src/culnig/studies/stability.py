"""Stability: would other items, other halves of them, another wording or other thresholds have chosen the same neurons?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from culnig import distributed
from culnig.attribution import Scores, score
from culnig.attribution.method import SweepMethod, parse_method
from culnig.errors import UsageError
from culnig.neurons import MODULES, UP, NeuronSet
from culnig.selection import (
    Stability,
    bootstrap_budget,
    jaccard_matrix,
    rank_correlation,
    size_general,
    size_specific,
)
from culnig.studies import _method_figures as method_figures
from culnig.studies._methods_compared import (
    MethodsSettings,
    is_random,
    method_names,
    methods_on,
    parts_of,
    percent,
    sets_of,
)
from culnig.studies.base import STUDIES, Bench, Condition, Finding, Section
from culnig.studies.stability_figures import frequency_curve, size_curves

if TYPE_CHECKING:
    from culnig.studies.saved import SavedRun
    from culnig.studies.settings import RunSettings

NAME = "stability"
REWORDED = ("neur", "ctrl")
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04)
REMOVED = (0.0, 0.01, 0.05)
SCORES_Z = (0.0, 0.5, 1.0, 2.0)
OFTEN = 0.9


class StabilityStudy:
    """Resampled selections of every method at one budget, from sums kept at score time."""

    settings = MethodsSettings
    section = "methods"
    order = 40
    title = "Stability of the selected neurons"

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        return run.config.section(MethodsSettings).wordings == 1 or all(
            _reworded_path(run, part).is_file() for part in REWORDED
        )

    def measure(self, run: SavedRun, bench: Bench) -> None:
        """Score with more wordings; what the first ones gave is taken off again in the analysis."""
        wordings = run.config.section(MethodsSettings).wordings
        if not isinstance(bench.policy.wordings, int) or bench.policy.wordings >= wordings:
            raise UsageError(
                f"methods.wordings = {wordings} must be more than prompts.wordings = {bench.policy.wordings}, which is scored"
                " already"
            )
        policy = bench.policy.model_copy(update={"wordings": wordings})
        for part in REWORDED:
            items = bench.items(getattr(run.config.identify, part))
            with bench.reporter.step(
                f"score {part} in {wordings} wordings", len(items) * wordings, "prompts"
            ) as progress:
                scores = score(
                    bench.lm,
                    items,
                    policy=policy,
                    method=_rewordable(run.config),
                    control=True if part == "ctrl" else None,
                    token_budget=bench.token_budget,
                    progress=progress,
                )
            if distributed.is_main():
                scores.save(_reworded_path(run, part))

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title)
        config = run.config.section(MethodsSettings)
        made = {method: _resampled(run, method) for method in _resampleable(run)}
        section.tables = {"stability": _summary(run, made)}
        if made and config.resamples:
            frequencies = [each.frequency().assign(method=method) for method, each in made.items()]
            section.tables["stability-frequency"] = pd.concat(frequencies, ignore_index=True)
        section.text = [_text(run, made)]
        if made:
            caption = (
                f"Jaccard index of the sets ({percent(config.stability_budget)} of each module) that resampled items choose."
                " Bars hold 95 % of the resamples."
            )
            section.figures.append((caption, method_figures.agreement_bars(section.tables["stability"])))
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
    places = [place for place in run.config.section(MethodsSettings).modules if method in methods_on(run, place)]
    return max(places, key=lambda place: len(run.config.section(MethodsSettings).modules[place]), default=None)


def _resampleable(run: SavedRun) -> list[str]:
    """Methods with per-block sums; what is random says nothing about items."""
    names = [name for name in method_names(run.config) if not is_random(name) and _place_of(run, name)]
    return [name for name in names if run.scores("neur", name).blocks]


def _resampled(run: SavedRun, method: str) -> Stability:
    config = run.config.section(MethodsSettings)
    place = _place_of(run, method)
    assert place is not None
    return bootstrap_budget(
        parts_of(run, method),
        config.modules[place],
        config.stability_budget,
        rule=run.config.general,
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
    config = run.config.section(MethodsSettings)
    blocks = run.scores("neur").block_count
    text = (
        f"From sums of {len(blocks) if blocks is not None else 0} blocks of items, kept at score time, each method selects"
        f" {percent(config.stability_budget)} of its modules again: {config.resamples} bootstrap resamples, each against the set"
        f" of all items, and {config.halves} splits, one half against the other. Halves have half the items and give the harsher"
        " figure; resamples share items with the whole and give the kinder one."
    )
    left = [name for name in method_names(run.config) if name not in made and not is_random(name)]
    if left:
        text += f" Not resampled, for lack of per-block sums or of a set of modules that they score: {', '.join(left)}."
    return text


def _add_overlap(section: Section, run: SavedRun) -> None:
    """How much the methods' sets have in common, where most methods take part."""
    place = max(run.config.section(MethodsSettings).modules, key=lambda name: len(methods_on(run, name)))
    share = run.config.section(MethodsSettings).stability_budget
    names = methods_on(run, place)
    sets = {name: sets_of(parts_of(run, name), run.config, place, [share])[0] for name in names}
    matrix = jaccard_matrix(sets)
    section.tables["stability-overlap"] = matrix.rename_axis("method").reset_index()
    caption = f"Overlap (Jaccard) of the methods' sets, {percent(share)} of '{place}'."
    section.figures.append((caption, method_figures.overlap(matrix)))


def _wordings(run: SavedRun) -> pd.DataFrame:
    """Each method's set from the first wordings against that from the others; country reading stays in the first."""
    rows = []
    for method in _rewordable(run.config):
        if (place := _place_of(run, method)) is None:
            continue
        parts = parts_of(run, method)
        others = parts | {part: _others(run, part, method, parts[part]) for part in REWORDED}
        share = [run.config.section(MethodsSettings).stability_budget]
        a, b = (sets_of(each, run.config, place, share)[0] for each in (parts, others))
        ranked = [
            np.concatenate([neur.mean(m).ravel() for m in run.config.section(MethodsSettings).modules[place]])
            for neur in (parts["neur"], others["neur"])
        ]
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
    text = f"The items were scored in {run.config.section(MethodsSettings).wordings} wordings; the set of the first is compared with that of the others."
    return text + (f" Left out for their cost, or because their sums do not add up: {', '.join(left)}." if left else "")


def _add_sizes(section: Section, run: SavedRun, method: str) -> None:
    """Size of the culture-general and the culture-specific sets against the thresholds, by the first method."""
    if not set(MODULES) - {UP} <= set(run.scores("neur", method).modules):
        return
    parts = parts_of(run, method)
    scores, preset = (parts["neur"], parts["ctrl"], parts["crc"]), run.config.general.preset
    general = size_general(*scores, t_mlp=SHARES, r=REMOVED, general=parts.get("general"), preset=preset)
    section.tables["stability-size"] = general
    section.figures.append(
        (f"Size of {method}'s culture-general set against t, for several r.", size_curves(general, "t_mlp", "r"))
    )
    if len(parts["neur"].groups) > 1:
        specific = size_specific(*scores, t=(0.001, 0.003, 0.01), r=(run.config.specific.r,), z=SCORES_Z, preset=preset)
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
