"""Fidelity: do scores say what suppressing a neuron really does?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from pydantic import Field, field_validator

from culnig import distributed
from culnig.data import DataConfig
from culnig.figures import short_module
from culnig.neurons import NeuronSet
from culnig.settings import Settings
from culnig.statistics.agreement import levels, statement
from culnig.studies._base import STUDIES, Condition, Finding, MeasurementContext, Section
from culnig.studies._settings import checked_methods
from culnig.studies.fidelity import figures as fidelity_figures
from culnig.studies.fidelity.measure import Fidelity, Sampling, measure_fidelity

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "fidelity"


class FidelitySettings(Settings):
    """The study `fidelity`: estimates against exact suppression."""

    items: DataConfig = DataConfig(items="everyday:neur", limit_per_country=2, draws=1)
    methods: str = Field(
        "culnig,culnig:sum,atp,relp,ig:gate:steps=4",
        description="methods that estimate P(gold) lost to zeroing a neuron",
    )
    layers: int | None = Field(None, ge=1, description="so many layers, evenly spread; null is all")
    per_cell: int = Field(1, ge=1, description="neurons of each score decile of each module of each layer")
    largest: float = Field(0.01, gt=0, le=1, description="largest group that is suppressed together, as a share")
    groups: int = Field(9, ge=0, description="group sizes from 1 to the largest; 0 for none")

    @field_validator("methods")
    @classmethod
    def _methods(cls, text: str) -> str:
        return checked_methods(text)


class FidelityStudy:
    """A stratified sample of neurons, and every method's top groups, suppressed exactly."""

    settings = FidelitySettings
    section = "fidelity"
    order = 5
    title = "Fidelity: estimates against exact suppression"
    titles: ClassVar = {
        "fidelity": "Agreement with exact suppression",
        "fidelity-groups": "Groups: sum of the estimates and exact drop",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        return (run.measured_path(NAME) / "fidelity.json").is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        config = run.config.section(FidelitySettings)
        found = measure_fidelity(
            context.lm,
            context.items(config.items),
            methods=config.methods,
            sampling=Sampling(config.layers, config.per_cell, config.largest, config.groups, run.config.seed),
            policy=context.scoring_policy,
            token_budget=context.token_budget,
            reporter=context.reporter,
        )
        if distributed.is_main():
            found.save(run.measured_path(NAME))

    def analyse(self, run: SavedRun) -> Section:
        found = Fidelity.load(run.measured_path(NAME))
        tables = levels(found.neurons, found.methods, seed=run.config.seed)
        section = Section(self.title, titles=self.titles)
        shown = pd.concat([tables["all"].assign(module="all"), tables["module"]], ignore_index=True)
        section.tables = {"fidelity": with_intervals(shown), "fidelity-neurons": found.neurons}
        section.tables |= {f"fidelity-by-{level}": table for level, table in tables.items()}
        section.tables["fidelity-groups"] = found.groups
        section.text = [sample_text(found), *agreement_text(tables, found.methods[0])]
        section.figures = [
            (
                "Rank correlation of each estimate with exact suppression by module, with 95 % intervals.",
                fidelity_figures.agreement_by_module(tables["module"]),
            ),
            (
                "The same by layer, over all modules; a method that does not score all of them has no line.",
                fidelity_figures.agreement_by_layer(tables["layer"]),
            ),
        ]
        if len(found.groups):
            section.text.append(group_text(found.groups))
            caption = (
                "Each method's top k suppressed together, in % of the neurons it has scored: the sum of its estimates"
                " (dotted) and the exact drop (solid), both in P(gold) weighted by P(gold), on logarithmic scales."
            )
            section.figures.append((caption, fidelity_figures.groups(found.groups)))
        section.numbers = {"all": tables["all"].to_dict("records"), "module": tables["module"].to_dict("records")}
        section.claim, section.findings = _claim(tables["all"], found.methods[0])
        return section


STUDIES.register(NAME)(FidelityStudy())


def sample_text(found: Fidelity) -> str:
    """What was suppressed, on what, and which methods are the same or restricted."""
    rows, meta = found.neurons, found.meta
    text = (
        f"{len(rows):,} neurons ({meta['sampling']['per_cell']} of every tenth of the scores in {rows['module'].nunique()}"
        f" modules of {rows['layer'].nunique()} layers) were set to 0 one at a time, exactly, on {meta['num_prompts']} prompts,"
        " and what that takes from P(gold), weighted by P(gold), is set beside each method's S on the same prompts. Intervals"
        " are a bootstrap over neurons; other prompts are not part of them."
    )
    for method in found.methods:
        have = rows.loc[rows[method].notna(), "module"].unique()
        if len(have) < rows["module"].nunique():
            text += f" {method} was scored on {', '.join(map(short_module, have))} only, for its cost."
    for i, method in enumerate(found.methods):
        for other in found.methods[:i]:
            if rows[method].equals(rows[other]):
                text += f" {method} is the same number as {other}."
    return text


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """The table for readers: each figure with its interval in one cell."""
    columns = {
        "rho": "rank correlation",
        "behind": "behind the best",
        "signs": "sign errors",
        "signs_large": "of large effects",
    }
    shown = table[[name for name in ("module", "method", "neurons") if name in table]].copy()
    for column, heading in columns.items():
        low, high = ("low", "high") if column == "rho" else (f"{column}_low", f"{column}_high")
        shown[heading] = [f"{row[column]:.2f} ({row[low]:.2f} to {row[high]:.2f})" for _, row in table.iterrows()]
    return shown


def agreement_text(tables: dict[str, pd.DataFrame], reference: str) -> list[str]:
    """Where the reference method is the best, level with the best, or behind."""
    lines = []
    for level in ("module", "layer"):
        table = tables[level]
        if not len(table) or reference not in set(table["method"]):
            continue
        best, equal, behind = statement(table, reference)
        names = short_module if level == "module" else str
        parts = [
            f"{says} in {len(group)} of {len(best + equal + behind)} {level}s ({', '.join(map(names, group))})"
            for says, group in (("the best", best), ("level with the best", equal), ("behind the best", behind))
            if group
        ]
        lines.append(f"In ranking single neurons, {reference} is {'; '.join(parts)}.")
    if lines:
        lines[-1] += (
            " Behind means that the 95 % interval of the difference in rank correlation lies above 0 (not corrected for"
            " their number)."
        )
    whole = tables["all"]
    signs = [f"{r['method']} {r['signs']:.0%} ({r['signs_large']:.0%})" for _, r in whole.iterrows()]
    if signs:
        lines.append(
            "Sign errors, of all neurons with an effect (and of the half with the largest effects): "
            + ", ".join(signs)
            + "."
        )
    return lines


def group_text(groups: pd.DataFrame) -> str:
    """How far the sums are from the exact drops, for one neuron and for the largest group."""
    parts = []
    for method, part in groups.groupby("method", sort=False):
        ends = [part.iloc[0], part.iloc[-1]]
        ratios = [f"{r['estimate'] / r['exact']:.1f} at k = {r['k']:,}" for r in ends if r["exact"] > 0]
        parts.append(f"{method} {' and '.join(ratios) or 'no drop to compare with'}")
    return (
        (
            "Suppressed together, neurons take less than the sum of what each is estimated to take. Estimate over exact drop: "
            + "; ".join(parts)
            + "."
        )
        if _sums_overshoot(groups)
        else "Groups, estimate over exact drop: " + "; ".join(parts) + "."
    )


def _sums_overshoot(groups: pd.DataFrame) -> bool:
    """Whether every method's largest group loses less than the sum of its estimates."""
    last = groups.groupby("method", sort=False).tail(1)
    return bool((last["estimate"] > last["exact"]).all())


def _claim(whole: pd.DataFrame, reference: str) -> tuple[str, list[Finding]]:
    if not len(whole):
        return "", []
    table: dict[str, Any] = {row["method"]: row for _, row in whole.iterrows()}
    best = max(table, key=lambda method: table[method]["rho"])
    top = table[best]
    claim = (
        f"Against exact suppression of single neurons, {best} ranks best (rank correlation {top['rho']:.2f}, 95 % interval"
        f" {top['low']:.2f} to {top['high']:.2f})"
    )
    findings = [Finding(f"fidelity of {best}", f"{top['rho']:.2f}", f"{top['low']:.2f} to {top['high']:.2f}; the best")]
    own = table.get(reference)
    if own is None or reference == best:
        return claim + ".", findings
    worse = "is behind it" if own["behind_low"] > 0 else "cannot be told from it"
    claim += f"; {reference} {worse}, at {own['rho']:.2f} ({own['low']:.2f} to {own['high']:.2f})."
    findings.append(Finding(f"fidelity of {reference}", f"{own['rho']:.2f}", f"{own['low']:.2f} to {own['high']:.2f}"))
    return claim, findings
