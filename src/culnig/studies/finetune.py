"""Fine-tuning on a task that is not about culture: what does it cost culture, by what is updated?  (METHOD section 8)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from pydantic import Field

from culnig.data import DataConfig
from culnig.figures import (
    GRID,
    INK,
    SERIES,
    empty_figure,
    error_bars,
    loss_curves,
)
from culnig.finetune.settings import FinetuneConfig, PickConfig, TrainingConfig, UpdateConfig
from culnig.formatting import interval, p_equals, points
from culnig.neurons import NeuronSet
from culnig.settings import Settings
from culnig.studies import _tuned as a
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section, Tuning
from culnig.studies._culture_general_set import CULTURE_GENERAL as NAME
from culnig.studies._culture_general_set import culture_general_set
from culnig.studies._settings import RunSettings

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

ROLES = ("task", "culture", "ability")
WORDS = {
    "all": "everything",
    "top": "the modules with most culture-general neurons",
    "bottom": "the modules with fewest culture-general neurons",
    "random": "random modules",
    "protect": "everything but the culture-general neurons",
}
AS_GOOD = 0.02
"""An arm has learnt the task as well as the best one where it is at most this much below it."""


Arm = Literal["all", "top", "bottom", "random", "protect"]


class FinetuneSettings(Settings):
    """The fine-tuning study: one task, several ways to update the model."""

    task: DataConfig = DataConfig(items="entail:train")
    arms: list[Arm] = Field(
        ["all", "top", "bottom", "random", "protect"],
        min_length=1,
        description="all: everything; top, bottom, random: modules by their culture-general neurons; protect: everything"
        " but these neurons' rows",
    )
    share: float = Field(0.1, gt=0, le=1, description="of the decoder's parameters, for top, bottom and random")
    training: TrainingConfig = TrainingConfig()


class FinetuneStudy:
    """Tune the model in several ways on one task; weigh what it gains there against what it loses on culture."""

    settings = FinetuneSettings
    section = "finetune"
    order = 30
    needs = ("task", "culture")
    trains_weights = True
    title = "Fine-tuning without losing culture"
    titles: ClassVar = {
        "finetune-summary": "Arms: accuracy, and change with its interval",
        "finetune-differences": "Fine-tuning: paired differences",
        "finetune-seeds": "Fine-tuning: every seed",
        "finetune-moved": "Fine-tuning: how far culture-general rows moved",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {NAME: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [UNTOUCHED]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED]

    def tunings(self, run: SavedRun) -> list[Tuning]:
        settings = run.config.section(FinetuneSettings)
        seeds = range(run.config.seeds)
        made = []
        for seed in seeds:
            for arm in settings.arms:
                config = FinetuneConfig(
                    name=f"{arm}-{seed}",
                    seed=run.config.seed + seed,
                    data_seed=run.config.seed,
                    sources=run.config.sources,
                    model=run.config.model,
                    prompts=run.config.prompts,
                    task=settings.task,
                    update=_update(run, arm, run.config.seed + seed),
                    training=settings.training,
                )
                made.append(Tuning(config.name, config, ROLES, NAME))
        return made

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        arms: list[str] = list(run.config.section(FinetuneSettings).arms)
        roles = a.roles_of(run, ROLES)
        changes = a.change_table(run, [(arm, "none") for arm in arms], roles)
        table = a.arm_table(run, arms, changes, roles)
        between = a.change_table(run, _pairs(arms), roles) if _pairs(arms) else changes.iloc[:0]
        section.tables = {
            "finetune-summary": a.shown(table, roles),
            "finetune-arms": table,
            "finetune-differences": pd.concat([changes, between], ignore_index=True),
            "finetune-seeds": a.seed_table(run, arms, roles),
            "finetune-moved": a.moved_table(run, arms),
        }
        section.figures = [
            (
                "Change on culture and on general ability against gain on the task, one point an arm, with 95 % intervals: up is"
                " kept, right is learnt.",
                gain_against_loss(table[table["arm"] != "none"]),
            ),
            ("Loss of the answers in training, first seed.", loss_curves(a.loss_tables(run, arms))),
        ]
        section.claim, recommended = _recommendation(run, table, arms)
        section.numbers = {
            "recommended": recommended,
            "seeds": run.config.seeds,
            "arms": table.to_dict("records"),
            "differences": section.tables["finetune-differences"].to_dict("records"),
            "moved": section.tables["finetune-moved"].to_dict("records"),
        }
        section.text = _text(run, between)
        section.findings = _findings(table)
        return section


STUDIES.register("finetune")(FinetuneStudy())


def _update(run: SavedRun, arm: str, seed: int) -> UpdateConfig:
    """What an arm may change."""
    neurons = str(run.neurons_path(NAME))
    if arm == "all":
        return UpdateConfig()
    if arm == "protect":
        return UpdateConfig(protect=neurons)
    pick: Any = arm
    modules = PickConfig(pick=pick, share=run.config.section(FinetuneSettings).share, neurons=neurons, seed=seed)
    return UpdateConfig(what="modules", modules=modules)


def _pairs(arms: list[str]) -> list[tuple[str, str]]:
    """Arms that are compared with each other."""
    wanted = [("top", "bottom"), ("top", "random"), ("protect", "all"), ("bottom", "all")]
    return [pair for pair in wanted if set(pair) <= set(arms)]


def _recommendation(run: SavedRun, table: pd.DataFrame, arms: list[str]) -> tuple[str, str | None]:
    """One sentence, and the arm it names: least culture lost among those that learnt the task as well as any."""
    rows = table.set_index("arm").loc[arms]
    learnt = rows[(rows["task low"] > 0) & (rows["task"] >= rows["task"].max() - AS_GOOD)]
    if not len(learnt):
        return (
            "No arm learnt the task; more updates or a higher learning rate are needed before culture can be weighed.",
            None,
        )
    arm = str(learnt["culture change"].idxmax())
    row = rows.loc[arm]
    said = (
        f"task {row['task']:.1%}, culture {points(row['culture change'])} points,"
        f" 95 % interval {points(row['culture low'])} to {points(row['culture high'])}"
    )
    others = [other for other in learnt.index if other != arm]
    if not others:
        return f"Tune {WORDS[arm]}: no other arm learnt the task as well ({said}).", arm
    rival = "all" if "all" in others else str(learnt.loc[others, "culture change"].idxmin())
    versus = a.change_table(run, [(arm, rival)], ["culture"]).iloc[0]
    kept = f"against tuning {WORDS[rival]}, {points(versus['difference'])} points, {interval(versus)}"
    if versus["low"] > 0:
        return f"Tune {WORDS[arm]}: it learns the task as well and keeps more culture ({said}; {kept}).", arm
    return f"Tuning {WORDS[arm]} lost least culture ({said}), but not measurably less ({kept}).", arm


def _text(run: SavedRun, between: pd.DataFrame) -> list[str]:
    s = run.config.section(FinetuneSettings)
    seeds = run.config.seeds
    text = [
        f"The model is tuned on {s.task.items} with learning rate {s.training.learning_rate:g}, {seeds}"
        f" seed{'s' if seeds > 1 else ''} an arm; top, bottom and random update {s.share:.0%} of the decoder's parameters."
        " Changes are paired with the model before, and arms with each other seed by seed;"
        f" {'one seed is no sample, so intervals are over questions alone' if seeds == 1 else 'intervals are over questions and seeds'}."
    ]
    for pair, rows in between[between["role"] == "culture"].groupby("pair", sort=False):
        by = rows.set_index("metric")
        share, nats = by.loc["correct"], by.loc["log_odds"]
        text.append(
            f"Culture, {str(pair).replace(' - ', ' against ')}: {points(share['difference'])} points ({interval(share)}; {p_equals(share)}); log-odds of"
            f" the right answer {nats['difference']:+.2f} ({nats['low']:+.2f} to {nats['high']:+.2f}; {p_equals(nats)})."
        )
    return text


def _findings(table: pd.DataFrame) -> list[Finding]:
    return [
        Finding(
            f"tuned {row['arm']}: culture",
            f"{points(row['culture change'])} points",
            f"{points(row['culture low'])} to {points(row['culture high'])}; task {points(row['task change'])}",
        )
        for _, row in table[table["arm"] != "none"].iterrows()
    ]


def gain_against_loss(table: pd.DataFrame) -> go.Figure:
    """Change on culture, and on general ability, against gain on the task; a point an arm with intervals both ways.

    Args:
        table: columns arm, and change, low and high of task, culture and, if measured, ability ("task change",
            "culture low", ...), as shares.
    """
    titles = {"culture": "change on culture, points", "ability": "change on general ability, points"}
    roles = [role for role in titles if f"{role} change" in table]
    figure = make_subplots(cols=len(roles), subplot_titles=[titles[role] for role in roles], horizontal_spacing=0.09)
    figure.update_layout(empty_figure(380).layout, margin_t=36)
    for column, role in enumerate(roles, start=1):
        for number, (_, row) in enumerate(table.iterrows()):
            figure.add_scatter(**_arm(row, role, number), row=1, col=column)
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="gain on the task, points", gridcolor=GRID, zeroline=False, fixedrange=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, fixedrange=True, automargin=True)
    figure.update_annotations(font_size=13)
    return figure


def _arm(row: pd.Series, role: str, number: int) -> dict[str, Any]:
    """A point with two intervals."""
    colour = SERIES[number % len(SERIES)]
    bars = {
        axis: error_bars(
            row[f"{of} change"], row[f"{of} low"], row[f"{of} high"], unit=100, color=colour, thickness=1.4
        )
        for axis, of in (("error_x", "task"), ("error_y", role))
    }
    return bars | {
        "x": [100 * row["task change"]],
        "y": [100 * row[f"{role} change"]],
        "mode": "markers+text",
        "text": [row["arm"]],
        # Arms that learn alike lie close together.
        "textposition": ("top right", "bottom left", "bottom right", "top left", "bottom center")[number % 5],
        "textfont": {"color": colour},
        "marker": {"size": 10, "color": colour},
        "hovertemplate": f"{row['arm']}: task %{{x:+.1f}}, {role} %{{y:+.1f}} points<extra></extra>",
    }
