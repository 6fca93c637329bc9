"""Thresholds: how large the sets get over t, r and z, and what a few settings of them cost; nothing is scored again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.figures import (
    QUIET,
    ROLE_COLOURS,
    ROLE_NAMES,
    empty_figure,
    error_bars,
    size_curves,
)
from culnig.neurons import NeuronSet
from culnig.selection import select_specific, size_general, size_specific, sweep_general
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._metric_table import ROLES, changes, metric_table
from culnig.studies.culture_specific import (
    PREFIX,
    CultureSpecificStudy,
    country_conditions,
    drop_matrix,
    own_and_others,
    own_country,
    set_names,
    sizes,
)

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


SWEPT = "sweep-country-"
OWN = "the run's own"


class ThresholdsSettings(Settings):
    """Study `thresholds`: sizes over a grid, and the drop at the settings in which one threshold moves alone.

    Each setting of `specific_t` and `specific_z` suppresses every country's set once more.
    """

    t: list[float] = Field([0.0025, 0.005, 0.01, 0.02], min_length=1, description="of the MLP; attention in proportion")
    r: list[float] = Field([0.0, 0.01, 0.05], min_length=1)
    z: list[float] = Field([0.0, 0.5, 1.0, 1.5], min_length=1, description="of culture-specific sets")
    specific_t: list[float] = Field([0.001], description="t of culture-specific sets that are suppressed")
    specific_z: list[float] = Field([1.0], description="z of culture-specific sets that are suppressed")


class ThresholdsStudy:
    """Sizes over the whole grid; the drop where one of t and r moves and the other is the run's own.

    The same for culture-specific sets, whose t and z move: what a country's set takes from its own items, and from others'.
    """

    settings = ThresholdsSettings
    section = "thresholds"
    order = 45
    title = "Thresholds"
    tab = "sure"
    titles: ClassVar = {
        "thresholds-changes": "Changes by setting",
        "thresholds-specific": "Culture-specific sets by setting: mean size, and mean drop in log-odds",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        rule = run.config.culture_general.model_dump()
        preset = rule.pop("preset")
        named = settings(run.config)
        plain = run.scores("ability") if run.config.identify.ability else None
        swept = sweep_general(
            run.scores("neur"),
            run.scores("ctrl"),
            run.scores("crc"),
            [rule | setting for setting in named.values()],
            preset=preset,
            ability=plain,
        )
        sets = {_set_of(name, run.config): chosen for name, (_, chosen) in zip(named, swept, strict=True)}
        sets |= {CULTURE_GENERAL: culture_general_set(run)} if CULTURE_GENERAL in sets else {}
        return sets | _specific_sets(run)

    def conditions(self, run: SavedRun) -> list[Condition]:
        general = [c for c in _general_conditions(run.config) if c.neurons is None or len(run.neurons(c.neurons))]
        return general + _specific_conditions(run)

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return _general_conditions(config) + _planned_specific(config, countries)

    def analyse(self, run: SavedRun) -> Section:
        general, specific = _sizes(run)
        rows = []
        for name in settings(run.config):
            if size := len(run.neurons(made := _set_of(name, run.config))):
                rows += metric_table(run, made, where={"setting": name, "size": size})
        section = Section(self.title, titles=self.titles)
        section.tables = {"thresholds-culture-general": general, "thresholds-culture-specific": specific}
        section.figures = [
            ("Size of the culture-general set over t, for each r.", size_curves(general, "t_mlp", "r")),
            (
                "Mean size of the culture-specific sets over z, for each t.",
                size_curves(specific, "z", "t"),
            ),
        ]
        section.text = [
            "t moves for the MLP pool, the attention pool's share in proportion; what is not named is the run's own rule."
        ]
        if rows:
            table = pd.DataFrame(rows)
            section.tables["thresholds-changes"] = table
            section.numbers = {"changes": changes(table, "setting")}
            section.figures.append(
                (
                    f"Change of accuracy under {run.config.done.noun}, by the size of the set, with 95 % intervals.",
                    size_and_drop(table),
                )
            )
        _add_specific(section, run)
        return section


STUDIES.register("thresholds")(ThresholdsStudy())


def _general_conditions(config: RunSettings) -> list[Condition]:
    names = [_set_of(name, config) for name in settings(config)]
    return [UNTOUCHED, *(Condition(n, n, config.operation, ROLES) for n in names)]


def settings(config: RunSettings) -> dict[str, dict[str, Any]]:
    """Name -> thresholds of the settings that are evaluated."""
    ratio = config.culture_general.t_attn / config.culture_general.t_mlp
    taken = {f"t={t:g}": {"t_mlp": t, "t_attn": min(1.0, ratio * t)} for t in config.section(ThresholdsSettings).t}
    return taken | {f"r={r:g}": {"r": r} for r in config.section(ThresholdsSettings).r if r != config.culture_general.r}


def _set_of(name: str, config: RunSettings) -> str:
    """Name of a setting's set, and of its condition: the run's own rule gives the culture-general set."""
    own = {
        "t_mlp": config.culture_general.t_mlp,
        "t_attn": config.culture_general.t_attn,
        "r": config.culture_general.r,
    }
    return CULTURE_GENERAL if own | settings(config)[name] == own else f"sweep-{name}"


def specific_settings(config: RunSettings) -> dict[str, dict[str, float]]:
    """Name -> the threshold that moves, of the settings of culture-specific sets that are suppressed."""
    grid, own = config.section(ThresholdsSettings), config.culture_specific
    moved = {f"t={t:g}": {"t": t} for t in grid.specific_t if t != own.t}
    return moved | {f"z={z:g}": {"z": z} for z in grid.specific_z if z != own.z}


def _prefix(name: str) -> str:
    """How the names of the countries' sets of a setting begin."""
    return f"{SWEPT}{name}-"


def _specific_sets(run: SavedRun) -> dict[str, NeuronSet]:
    """The countries' sets by the run's own rule, and by each setting."""
    moved, rule = specific_settings(run.config), run.config.culture_specific.model_dump()
    sets = CultureSpecificStudy().select(run) if moved else {}
    for name, setting in moved.items():
        found = select_specific(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), **rule | setting)
        sets |= {_prefix(name) + country: chosen for country, chosen in found.items()}
    return sets


def _specific_conditions(run: SavedRun) -> list[Condition]:
    """Each country's set of each setting, on the items of all countries that have a set by any of them."""
    names = {name: set_names(run, _prefix(name)) for name in specific_settings(run.config)}
    if not any(names.values()):
        return []
    found = [each.removeprefix(_prefix(name)) for name, sets in names.items() for each in sets]
    found += [each.removeprefix(PREFIX) for each in set_names(run)]
    targets = tuple(dict.fromkeys(sorted(found)))
    swept = [each for sets in names.values() for each in sets]
    return CultureSpecificStudy().conditions(run) + country_conditions(run.config, swept, targets)


def _planned_specific(config: RunSettings, countries: list[str]) -> list[Condition]:
    moved = specific_settings(config)
    own = CultureSpecificStudy().planned(config, countries) if moved else []
    targets = tuple(condition.name.removeprefix(PREFIX) for condition in own if condition.neurons)
    names = [_prefix(name) + country for name in moved for country in targets]
    return own + country_conditions(config, names, targets)


def _add_specific(section: Section, run: SavedRun) -> None:
    """Add what the countries' sets of each setting take from their own items and from others'."""
    moved, own = specific_settings(run.config), run.config.culture_specific
    rows, countries = [], []
    for name, prefix in {OWN: PREFIX, **{name: _prefix(name) for name in moved}}.items():
        names = set_names(run, prefix)
        if not names or not all(run.has_result("culture", each) for each in names):
            continue
        matrix, size = drop_matrix(run, "log_odds", prefix), sizes(run, prefix)
        drops = own_and_others(matrix)
        test = own_country(run, matrix, "log_odds")
        row = {"setting": name, "t": own.t, "z": own.z, **moved.get(name, {}), "sets": len(names)}
        row |= {"mean neurons": sum(size.values()) / len(size), "own drop": drops["own"].mean()}
        row |= {"others' drop": drops["others"].mean(), "own-country effect": test["effect"], "p": test["p"]}
        rows.append(row)
        countries.append(drops.rename_axis("country").reset_index().assign(setting=name))
    if not {row["setting"] for row in rows} & set(moved):
        return
    section.tables["thresholds-specific"] = pd.DataFrame(rows)
    section.tables["thresholds-specific-countries"] = pd.concat(countries, ignore_index=True)
    section.numbers["specific"] = rows
    others = "others' drop"
    said = "; ".join(f"{row['setting']}: {row['own drop']:+.3f} and {row[others]:+.3f}" for row in rows)
    section.text.append(
        "Culture-specific sets, mean drop in log-odds of the own country's items and of the others' when a set is under"
        f" {run.config.done.noun}: {said}. The own-country effect in the table takes out each set's strength and each"
        " country's fragility."
    )


def _sizes(run: SavedRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    rule, grid = run.config.culture_general, run.config.section(ThresholdsSettings)
    scores = run.scores("neur"), run.scores("ctrl"), run.scores("crc")
    plain = run.scores("ability") if run.config.identify.ability else None
    general = size_general(
        *scores,
        t_mlp=grid.t,
        r=grid.r,
        attention_ratio=rule.t_attn / rule.t_mlp,
        preset=rule.preset,
        ability=plain,
    )
    own = run.config.culture_specific
    specific = size_specific(
        *scores, t=sorted({own.t / 3, own.t, min(1.0, 3 * own.t)}), r=[own.r], z=grid.z, preset=own.preset
    )
    return general, specific


def size_and_drop(table: pd.DataFrame) -> go.Figure:
    """Size of the set (x) against the change of accuracy with its interval (y), each setting labelled.

    Args:
        table: columns setting, size, and those of `metric_table`; rows against the untouched model.
    """
    figure = empty_figure(380)
    for role, part in table[table["metric"] == "correct"].groupby("role"):
        part = part.sort_values("size")
        figure.add_scatter(
            x=list(part["size"]),
            y=list(100 * part["difference"]),
            error_y=error_bars(part["difference"], part["low"], part["high"], unit=100, thickness=1.4),
            mode="lines+markers+text",
            text=list(part["setting"]) if role == "culture" else None,
            textposition="top right",
            textfont={"size": 10},
            line={"color": ROLE_COLOURS[role]},
            name=ROLE_NAMES[role],
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.3})
    figure.update_xaxes(title="neurons in the set", type="log", dtick=math.log10(2), tick0=0)
    figure.update_yaxes(title="change of accuracy, points")
    return figure
