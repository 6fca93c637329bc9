"""Every scoring method at equal neuron budgets: what suppressing its neurons takes from culture, and from ability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from culnig.evaluation import Drops, EvalResult, drops, verdict, winners
from culnig.evaluation.guards import PERPLEXITY_MARGIN
from culnig.figures import (
    GRID,
    INK,
    colours,
    empty_figure,
    error_bars,
    legend_below,
    short_module,
)
from culnig.formatting import percent, points
from culnig.neurons import NeuronSet
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies._compared_methods import (
    RANDOM,
    MethodComparisonSettings,
    is_random,
    method_names,
    methods_on,
    parts_of,
    set_name,
    sets_of,
)
from culnig.studies._guards import measure

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

METRICS = {"correct": "accuracy", "p_gold": "P(gold)"}
ROLES = ("culture", "ability")
RESAMPLES = 9_999
"""So many that the smallest p, 2 in 10,000, passes a correction for a hundred comparisons."""


class MethodComparisonStudy:
    """Equal budgets in each module, the same items for every method, and a random line."""

    settings = MethodComparisonSettings
    section = "method_comparison"
    order = 30
    needs = ROLES
    title = "Scoring methods compared at equal budgets"
    titles: ClassVar = {
        "method-comparison-winners": "Which method wins where",
        "method-comparison-guards": "Guards: does the model still predict plain text?",
        "method-comparison-curves": "All drops, by method and budget",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        budgets = run.config.section(MethodComparisonSettings).budgets
        sets: dict[str, NeuronSet] = {}
        for place in run.config.section(MethodComparisonSettings).modules:
            for method in methods_on(run, place):
                made = sets_of(parts_of(run, method), run.config, place, budgets)
                sets |= {set_name(place, method, share): each for share, each in zip(budgets, made, strict=True)}
        return sets

    def conditions(self, run: SavedRun) -> list[Condition]:
        places = run.config.section(MethodComparisonSettings).modules
        return _conditions(run.config, {place: methods_on(run, place) for place in places})

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        """As if every method scored every module: no more than this."""
        return _conditions(
            config, dict.fromkeys(config.section(MethodComparisonSettings).modules, method_names(config))
        )

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        cells = _cells(run)
        found = {metric: _drops(run, cells, metric) for metric in METRICS}
        curves = _curves(run, cells, found)
        won = pd.concat([_winners(found[metric], cells, metric) for metric in METRICS], ignore_index=True)
        section.tables = {
            "method-comparison-winners": _shown(won, found, cells),
            "method-comparison-places": won,
            "method-comparison-curves": curves,
        }
        main = curves[curves["measure"] == "accuracy"]
        for place, modules in run.config.section(MethodComparisonSettings).modules.items():
            named = ", ".join(map(short_module, modules))
            caption = (
                f"{run.config.done.doing(f'the same share of every module ({named})')}: change of accuracy along the"
                " budget, with 95 % intervals (paired bootstrap over questions). Grey: random neurons."
            )
            part = main[main["modules"] == place]
            if len(part):
                section.figures.append((caption, budget_curves(part)))
        section.text = [
            _setting(run, won[won["measure"] == METRICS["correct"]]),
            *_not_best(won, method_names(run.config)[0]),
        ]
        if run.text("none") is not None:
            section.tables["method-comparison-guards"] = _plain_text(run, cells)
            section.text.append(
                "Guards: change of perplexity on plain text, and whether its whole 95 % interval lies within the margin of"
                f" {percent(PERPLEXITY_MARGIN)},"
                " beyond it, or neither (open). Beyond it the model itself is damaged, and selectivity is that of a damaged model."
            )
        section.claim, section.findings = _claim(won, method_names(run.config)[0])
        section.numbers = {"winners": section.tables["method-comparison-winners"].to_dict("records")}
        return section


STUDIES.register("method_comparison")(MethodComparisonStudy())

Cells = dict[tuple[str, float], dict[str, str]]
"""(modules, share) -> method -> condition."""


def _conditions(config: RunSettings, methods: dict[str, list[str]]) -> list[Condition]:
    names = [
        set_name(place, method, share)
        for place, chosen in methods.items()
        for method in chosen
        for share in config.section(MethodComparisonSettings).budgets
    ]
    return [UNTOUCHED, *(Condition(name, name, config.operation, ROLES) for name in names)]


def _cells(run: SavedRun) -> Cells:
    return {
        (place, share): {method: set_name(place, method, share) for method in methods_on(run, place)}
        for place in run.config.section(MethodComparisonSettings).modules
        for share in run.config.section(MethodComparisonSettings).budgets
    }


def _drops(run: SavedRun, cells: Cells, metric: str) -> Drops:
    """All drops with joint intervals; each cell's random draws are averaged into one."""

    def result(role: str, name: str) -> EvalResult:
        found = run.result(role, name)
        assert found is not None
        return found

    names = [name for members in cells.values() for name in members.values()]
    culture, ability = ({name: result(role, name) for name in names} for role in ROLES)
    untouched = result("culture", "none"), result("ability", "none")
    found = drops(culture, ability, untouched, metric, seed=run.config.seed, resamples=RESAMPLES)
    for (place, share), members in cells.items():
        if draws := [name for method, name in members.items() if is_random(method)]:
            found.average(_random_name(place, share), draws)
    return found


def _random_name(place: str, share: float) -> str:
    return f"{place}.random-mean.{share:g}"


def _contenders(members: dict[str, str]) -> dict[str, str]:
    return {method: name for method, name in members.items() if not is_random(method)}


def _curves(run: SavedRun, cells: Cells, found: dict[str, Drops]) -> pd.DataFrame:
    """A row a measure, modules, method and budget; the random draws' mean is one method."""
    guarded = run.text("none") is not None or run.config.test_of("surface") is not None
    rows = []
    for metric, label in METRICS.items():
        for (place, share), members in cells.items():
            shown = _contenders(members)
            if len(shown) < len(members):
                shown[RANDOM] = _random_name(place, share)
            for method, name in shown.items():
                row: dict[str, Any] = {"measure": label, "modules": place, "method": method, "share": share}
                size = len(run.neurons(members.get(method, next(iter(members.values())))))
                row |= {"neurons": size} | found[metric].row(name)
                if guarded and metric == "correct" and method != RANDOM:
                    row["model"] = verdict(measure(run, name))
                rows.append(row)
    return pd.DataFrame(rows)


def _plain_text(run: SavedRun, cells: Cells) -> pd.DataFrame:
    """The guard of plain text: a row for modules and method, random draws included, a column for a budget."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for (place, share), members in cells.items():
        for method, name in members.items():
            guard = next(each for each in measure(run, name) if each.name == "plain text")
            row = rows.setdefault((place, method), {"modules": place, "method": method})
            row[percent(share)] = f"{points(guard.change)} % {guard.state}"
    return pd.DataFrame(rows.values()).sort_values("modules", kind="stable", ignore_index=True)


def _winners(found: Drops, cells: Cells, metric: str) -> pd.DataFrame:
    table = winners(found, {f"{place}|{share!r}": _contenders(members) for (place, share), members in cells.items()})
    place = table["cell"].str.split("|", expand=True)
    table.insert(0, "measure", METRICS[metric])
    table.insert(1, "modules", place[0])
    table.insert(2, "share", place[1].astype(float))
    return table.drop(columns="cell")


def _span(row: pd.Series, name: str) -> str:
    return f"{points(row[name])} ({points(row[f'{name}_low'])} to {points(row[f'{name}_high'])})"


def _shown(won: pd.DataFrame, found: dict[str, Drops], cells: Cells) -> pd.DataFrame:
    """Which method wins where, ties said as ties."""
    rows = []
    metric_of = {label: metric for metric, label in METRICS.items()}
    for keys, part in won.groupby(["measure", "modules", "share"], sort=False):
        label, place, share = str(keys[0]), str(keys[1]), float(str(keys[2]))
        best = part[part["place"] == "best"].iloc[0]
        names = {kind: list(part.loc[part["place"] == kind, "method"]) for kind in ("level", "behind")}
        row = {
            "measure": label,
            "budget": f"{place} {percent(share)}",
            "most selective": best["method"] if not names["level"] else f"tie ({best['method']} first)",
            "selectivity, points": _span(best, "selectivity"),
            "not told apart from it": ", ".join(names["level"]) or "none",
            "behind it": ", ".join(names["behind"]) or "none",
        }
        random = _random_name(place, share)
        drawn = found[metric_of[label]]
        if random in drawn.conditions:
            gap = drawn.difference(cells[place, share][best["method"]], random)
            row["more than random, points"] = _span(
                pd.Series({"x": gap["difference"], "x_low": gap["low"], "x_high": gap["high"]}), "x"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def _setting(run: SavedRun, won: pd.DataFrame) -> str:
    """What is compared, and how, given the places by one measure."""
    config = run.config
    parts = [f"{part}: {run.scores(part).meta['num_prompts']}" for part in run.parts]
    rule = config.culture_general
    removed = f" and by ability items (top {percent(rule.r_ability)})" if config.identify.ability else ""
    tested, clamped = won["p"].notna(), [m for m in method_names(config) if m in run.scores("ctrl", m).clamped]
    text = (
        f"Every method scores the same prompts ({', '.join(parts)}), ranks neurons within each module as its own rule says,"
        f" without those removed by country reading (top {percent(rule.r)}){removed}, and gets the same number of neurons; all"
        " are evaluated on the same items. Selectivity is the drop on culture items minus the drop on ability items. The best"
        " of a cell is found on the same items, so its lead is flattered; the others are level with it unless they are behind"
        f" at level 0.05 by Holm's correction over all cells ({tested.sum()} comparisons in each measure)."
        f" Control scores are clamped at 0 for {_list(clamped, 'no method')}, and keep their sign for all others."
    )
    for place in config.section(MethodComparisonSettings).modules:
        if left := [name for name in method_names(config) if name not in methods_on(run, place)]:
            text += f" Not in '{place}', since they do not score all of its modules: {', '.join(left)}."
    return text


def _not_best(won: pd.DataFrame, reference: str) -> list[str]:
    """In so many words: where the reference method is not the best."""
    lines = []
    for label in METRICS.values():
        mine = won[(won["measure"] == label) & (won["method"] == reference)]
        if not len(mine):
            continue
        places = {
            kind: [f"{r['modules']} {percent(r['share'])}" for _, r in part.iterrows()]
            for kind, part in mine.groupby("place")
        }
        behind = []
        for _, row in mine[mine["place"] == "behind"].iterrows():
            cell = (won["measure"] == label) & (won["modules"] == row["modules"]) & (won["share"] == row["share"])
            best = won.loc[cell & (won["place"] == "best"), "method"].iloc[0]
            behind.append(
                f"{row['modules']} {percent(row['share'])} (behind {best} by {points(row['behind']).lstrip('+')} points)"
            )
        lines.append(
            f"{reference}'s score by {label}: the most selective in {_list(places.get('best'))}; not told apart from the best"
            f" in {_list(places.get('level'))}; worse than the best in {_list(behind)}."
        )
    return lines


def _list(names: list[str] | None, nothing: str = "no cell") -> str:
    return ", ".join(names) if names else nothing


def _claim(won: pd.DataFrame, reference: str) -> tuple[str, list[Finding]]:
    main = won[won["measure"] == "accuracy"]
    cells = main[["modules", "share"]].drop_duplicates()
    first = main[main["place"] == "best"]["method"].value_counts()
    mine = main[main["method"] == reference]["place"].value_counts()
    alone = sum(not (part["place"] == "level").any() for _, part in main.groupby(["modules", "share"]))
    counts = ", ".join(f"{method} {count}" for method, count in first.items())
    claim = (
        f"Scoring methods at {len(cells)} equal budgets: first in selectivity are {counts}; the first can be told from all others"
        f" in {alone or 'none'}."
    )
    if len(mine):
        best, equal, behind = (int(mine.get(kind, 0)) for kind in ("best", "level", "behind"))
        claim += f" {reference}'s score is first in {best}, not told apart from the first in {equal}, and behind it in {behind}."
    value = f"first in {int(mine.get('best', 0))} of {len(cells)}"
    return claim, [Finding(f"selectivity of {reference}", value, f"behind in {int(mine.get('behind', 0))}")]


PANELS = {
    "culture": "culture drop, points",
    "ability": "ability drop, points",
    "selectivity": "selectivity: culture − ability drop, points",
}


def budget_curves(table: pd.DataFrame) -> go.Figure:
    """Culture drop, ability drop and selectivity along the budget, a line a method with its interval at each point.

    Args:
        table: of one set of modules: columns method, share, and each quantity with `_low` and `_high` (shares).
    """
    methods = list(dict.fromkeys(table["method"]))
    colour = colours(methods)
    figure = make_subplots(3, 1, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=list(PANELS.values()))
    figure.update_layout(empty_figure(860).layout)
    spread = 0.012  # intervals side by side, so that they can be told apart on the logarithmic axis
    for m, method in enumerate(methods):
        part = table[table["method"] == method].sort_values("share")
        shift = 10 ** (spread * (m - (len(methods) - 1) / 2))
        for row, quantity in enumerate(PANELS, start=1):
            value = 100 * part[quantity]
            figure.add_scatter(
                x=list(100 * part["share"] * shift),
                y=list(value),
                error_y=error_bars(
                    part[quantity], part[f"{quantity}_low"], part[f"{quantity}_high"], unit=100, thickness=1
                ),
                mode="lines+markers",
                name=method,
                legendgroup=method,
                showlegend=row == 1,
                line={"color": colour[method], "width": 3 if method == "culnig" else 1.6},
                marker={"size": 6},
                customdata=list(100 * part["share"]),
                hovertemplate=f"{method}, %{{customdata:.3g}} %: %{{y:.1f}} points<extra></extra>",
                row=row,
                col=1,
            )
    figure.update_xaxes(type="log", gridcolor=GRID, fixedrange=True, tickvals=sorted(set(100 * table["share"])))
    figure.update_xaxes(ticktext=[f"{100 * share:g} %" for share in sorted(set(table["share"]))])
    figure.update_yaxes(gridcolor=GRID, fixedrange=True, zeroline=True, zerolinecolor=INK, zerolinewidth=1)
    figure.update_xaxes(title="neurons of each module", row=3, col=1)
    figure.update_annotations(font={"size": 12}, x=0, xanchor="left")
    figure.update_layout(margin={"t": 34})
    return legend_below(figure)
