"""The run's set beside a guarded set that was found before: what each takes from culture, and what each costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.errors import UsageError
from culnig.evaluation import compare, compare_text
from culnig.figures import ACCENT, COOL, INK, ROLE_NAMES, empty_figure, error_bars, legend_below
from culnig.formatting import interval, points
from culnig.models.fingerprint import same_model
from culnig.neurons import NeuronSet, check_belongs
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies.culture_general import CultureGeneralStudy
from culnig.studies.guarded import NAME as SEARCHED

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "guarded_beside"
READY = "guarded-ready"
"""Name of the set that was found before, and of its condition."""
SHIPPED = "shipped"
READY_SETS = Path(__file__).parent / "ready_sets"
"""Guarded sets that come with the package, a neuron file for each model."""
ROLES = ("culture", "facts", "ability")
TEXT = "Perplexity, plain text"


class GuardedBesideSettings(Settings):
    """The study `guarded_beside`: where the guarded set comes from."""

    neurons: str = Field(
        SHIPPED,
        description="shipped: the set that comes with culnig, if the run's model is that set's; or a neuron file",
    )


class GuardedBesideStudy:
    """Evaluate a guarded set that needs no search, and put it beside the run's own set.

    A run with the study `guarded` shows the set of its own search.  A model without a ready set gets one sentence.
    """

    settings = GuardedBesideSettings
    section = NAME
    order = 12
    needs = ("culture",)
    title = "The run's set and a guarded set, side by side"
    titles: ClassVar = {"guarded-beside": "What each set takes, and what it costs"}

    def check(self, config: RunSettings) -> None:
        """Check before a model is loaded that a file which is named can be read."""
        _load(config)

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        sets = {CULTURE_GENERAL: culture_general_set(run)}
        ready = None if SEARCHED in run.config.studies else ready_set(run)
        return sets | ({READY: ready} if ready else {})

    def conditions(self, run: SavedRun) -> list[Condition]:
        name = _beside(run)
        return _both(run.config, name) if name else []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        if SEARCHED in config.studies:
            return _both(config, SEARCHED)
        chosen = _load(config)
        expected = chosen is not None and (
            config.section(GuardedBesideSettings).neurons != SHIPPED or chosen.model_name == config.model.name
        )
        return _both(config, READY) if expected else []

    def analyse(self, run: SavedRun) -> Section:
        section, name = Section(self.title, titles=self.titles), _beside(run)
        if name is None:
            section.text = [
                f"There is no guarded set for {run.scores('neur').meta['model']} yet. {_how_to_search(run)}"
            ]
            return section
        table = pd.DataFrame(_rows(run, name))
        section.tables["guarded-beside"] = table
        section.numbers = {"set": name, "rows": table.to_dict("records")}
        section.text = [_origin(run, name), _compared(table, run, name)]
        if name == READY:
            section.text.append(_how_to_search(run))
        section.figures = [
            (
                f"Change under {run.config.done.noun} of each set, against the untouched model, with 95 % intervals:"
                " accuracy in points, perplexity in percent. A rise of perplexity is a loss.",
                change_figure(table),
            )
        ]
        culture = table[(table["measure"] == ROLE_NAMES["culture"]) & (table["set"] == name)].iloc[0]
        if name == READY:  # the study of the search has its own
            detail = f"{culture['neurons']} neurons; {_span(culture)}"
            section.findings = [Finding("culture, guarded set", f"{points(culture['change'] / 100)} points", detail)]
        return section


STUDIES.register(NAME)(GuardedBesideStudy())


def shipped_sets() -> list[NeuronSet]:
    """Return the guarded sets that come with the package."""
    return [NeuronSet.load(path) for path in sorted(READY_SETS.glob("*.json"))]


def ready_set(run: SavedRun) -> NeuronSet | None:
    """Return the set that was found before for the run's model; None if the package has none.

    Raises:
        UsageError: the file that the config names was made on another model.
    """
    asked, model = run.config.section(GuardedBesideSettings).neurons, run.scores("neur").meta
    if asked == SHIPPED:
        return next((each for each in shipped_sets() if same_model(each.provenance, model)), None)
    chosen = NeuronSet.load(asked)
    recorded = chosen.provenance.get("model_hash") is not None
    if recorded and not same_model(chosen.provenance, model):
        raise UsageError(
            f"{NAME}.neurons: {asked} was made on another model ('{chosen.model_name}') than {model['model']}"
        )
    check_belongs(chosen, run.scores("neur").shapes(), model["model"])
    return chosen if len(chosen) else None


def _load(config: RunSettings) -> NeuronSet | None:
    """Return the set that a config names, or the shipped one of a model of that name, which may yet be another model."""
    asked = config.section(GuardedBesideSettings).neurons
    if asked != SHIPPED:
        return NeuronSet.load(asked)
    return next((each for each in shipped_sets() if each.model_name == config.model.name), None)


def _beside(run: SavedRun) -> str | None:
    """Return the name of the set that is shown beside: the run's own search, the ready one, or none."""
    name = SEARCHED if SEARCHED in run.config.studies else READY
    return name if run.neurons_path(name).is_file() and len(run.neurons(name)) else None


def _both(config: RunSettings, name: str) -> list[Condition]:
    general = [c for c in CultureGeneralStudy().planned(config, []) if c.name == CULTURE_GENERAL]
    return [UNTOUCHED, *general, Condition(name, name, config.operation, ROLES)]


def _rows(run: SavedRun, name: str) -> list[dict[str, Any]]:
    """Rows for each measure: each set against the untouched model, and the guarded set against the run's own."""
    pairs = [(CULTURE_GENERAL, "none"), (name, "none"), (name, CULTURE_GENERAL)]
    rows = []
    for role in ROLES:
        if (test := run.config.test_of(role)) is None:
            continue
        for mine, other in pairs:
            made = compare(run.result_on(test, mine), run.result_on(test, other), seed=run.config.seed)
            rows.append(
                _row(run, ROLE_NAMES[role], test.label, mine, other, "points")
                | {"with": 100 * made.a, "without": 100 * made.b}
                | {"change": 100 * made.difference, "low": 100 * made.low, "high": 100 * made.high}
            )
    found = {each: run.text(each) for each in ("none", CULTURE_GENERAL, name)}
    texts = {each: text for each, text in found.items() if text is not None}
    if len(texts) < len(found):  # there is no text, or a report so far comes before all of it has been read
        return rows
    for mine, other in pairs:
        ratio = compare_text(texts[mine], texts[other], seed=run.config.seed)
        change = {key: 100 * (getattr(ratio, key) - 1) for key in ("low", "high")}
        rows.append(
            _row(run, TEXT, str(run.config.guards.text), mine, other, "%")
            | {"with": ratio.a, "without": ratio.b, "change": 100 * (ratio.ratio - 1)}
            | change
        )
    return rows


def _row(run: SavedRun, measure: str, test: str, mine: str, other: str, unit: str) -> dict[str, Any]:
    against = "untouched" if other == "none" else other
    size = len(run.neurons(mine))
    return {"measure": measure, "test": test, "set": mine, "neurons": size, "against": against, "unit": unit}


def _origin(run: SavedRun, name: str) -> str:
    """Where the guarded set comes from."""
    if name == SEARCHED:
        return "The guarded set is that of this run's own search."
    chosen, asked = run.neurons(READY), run.config.section(GuardedBesideSettings).neurons
    command = chosen.provenance.get("command")
    made = f" by {command}" if command else ""
    where = "ships with culnig" if asked == SHIPPED else f"comes from {asked}"
    belongs = (
        "It belongs to this model by the hash of the weights."
        if chosen.provenance.get("model_hash")
        else "Its file records no hash of a model, so only its places were checked."
    )
    found = f"The guarded set of {len(chosen)} neurons was found before{made} and {where}: this run has not searched."
    return f"{found} {belongs}"


def _compared(table: pd.DataFrame, run: SavedRun, name: str) -> str:
    """Both sets in words, a sentence a measure."""
    parts = [
        f"The culture-general set has {len(run.neurons(CULTURE_GENERAL))} neurons, and the guarded set {len(run.neurons(name))}."
    ]
    for measure, rows in table.groupby("measure", sort=False):
        cells = rows.set_index(["set", "against"])
        ours, theirs = cells.loc[(name, "untouched")], cells.loc[(CULTURE_GENERAL, "untouched")]
        unit = "points" if ours["unit"] == "points" else "%"
        parts.append(
            f"{measure}: {points(theirs['change'] / 100)} {unit} ({_span(theirs)}) under the"
            f" culture-general set, {points(ours['change'] / 100)} {unit} ({_span(ours)}) under the guarded one."
        )
    return " ".join(parts)


def _span(row: Any) -> str:
    return interval({"low": row["low"] / 100, "high": row["high"] / 100})


def _how_to_search(run: SavedRun) -> str:
    """The command that adds a search to the run's folder."""
    studies = ", ".join([*run.config.studies, SEARCHED])
    return (
        "The study guarded searches a set on this run's own questions, which takes a quarter of an hour or more. The command:"
        f" culnig run {run.path / 'config.yaml'} --set 'studies=[{studies}]' --out {run.path}"
    )


def change_figure(table: pd.DataFrame) -> go.Figure:
    """Draw the change of each measure under each set, with intervals; rows of `guarded-beside`."""
    rows = table[table["against"] == "untouched"]
    measures = list(dict.fromkeys(rows["measure"]))
    figure = empty_figure(70 + 64 * len(measures))
    for name, colour in zip(dict.fromkeys(rows["set"]), (ACCENT, COOL), strict=False):
        part = rows[rows["set"] == name]
        figure.add_scatter(
            x=list(part["change"]),
            y=list(part["measure"]),
            error_x=error_bars(part["change"], part["low"], part["high"], thickness=2),
            mode="markers",
            orientation="h",
            offsetgroup=name,
            marker={"size": 11, "color": colour},
            name=f"{'culture-general' if name == CULTURE_GENERAL else 'guarded'} set, {part['neurons'].iloc[0]} neurons",
            hovertemplate="%{y}: %{x:+.1f}<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_layout(scattermode="group")
    figure.update_xaxes(title="change: points, and % of perplexity")
    figure.update_yaxes(autorange="reversed")
    return legend_below(figure)
