"""Fine-tuning on a task that is not about culture: what does it cost culture, by what is updated?  (METHOD section 8)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from pydantic import Field, field_validator

from culnig.data import DataConfig, parse_name
from culnig.errors import UsageError
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
from culnig.prompts import PromptConfig
from culnig.settings import Settings
from culnig.studies import _tuned as a
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section, Tuning
from culnig.studies._culture_general_set import CULTURE_GENERAL as NAME
from culnig.studies._culture_general_set import culture_general_set
from culnig.studies._equal_task import add_equal_task
from culnig.studies._protocol_tasks import same_task
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
    "dense-gates": "the gates with most culture-general neurons",
    "sparse-gates": "the gates with fewest culture-general neurons",
    "dense-mlp": "the MLP blocks with most culture-general neurons",
    "sparse-mlp": "the MLP blocks with fewest culture-general neurons",
}
WITHIN = {
    "dense-gates": ("top", "module", "gates"),
    "sparse-gates": ("bottom", "module", "gates"),
    "dense-mlp": ("top", "block", "mlp"),
    "sparse-mlp": ("bottom", "block", "mlp"),
}
"""Arms of one kind of module -> pick, ranking, kind: two of a kind differ in culture and not in what they update."""
PAIRS = [
    ("top", "bottom"),
    ("top", "random"),
    ("protect", "all"),
    ("bottom", "all"),
    ("dense-gates", "sparse-gates"),
    ("dense-mlp", "sparse-mlp"),
]
"""Arms that are compared with each other."""
AS_GOOD = 0.02
"""An arm has learnt the task as well as the best one where it is at most this much below it."""


Arm = Literal["all", "top", "bottom", "random", "protect", "dense-gates", "sparse-gates", "dense-mlp", "sparse-mlp"]


class Variant(NamedTuple):
    """An arm at a learning rate.

    Attributes:
        label: names its results: the arm, and the learning rate where there are several.
        arm: what is updated.
        rate: the learning rate.
    """

    label: str
    arm: str
    rate: float


class FinetuneSettings(Settings):
    """The fine-tuning study: one task, several ways to update the model."""

    task: DataConfig = DataConfig(items="entail:train")
    arms: list[Arm] = Field(
        ["all", "top", "bottom", "random", "protect"],
        min_length=1,
        description="all: everything; top, bottom, random: modules by their culture-general neurons; protect: everything"
        " but these neurons' rows; dense-gates, sparse-gates, dense-mlp, sparse-mlp: gates alone, or MLP blocks alone",
    )
    share: float = Field(0.1, gt=0, le=1, description="of the decoder's parameters, for arms that choose modules")
    rank_by: Literal["module", "block"] = Field(
        "module",
        description="top and bottom rank modules by their own neurons, or by those of their block, as published",
    )
    learning_rates: list[float] = Field(
        [], description="tune every arm at each of these, instead of at training.learning_rate alone"
    )
    along: list[float] = Field(
        [],
        description="also evaluate at these shares of the training (0.25, 0.5), to compare arms at equal task accuracy",
    )
    wordings: int | Literal["all"] | None = Field(
        None, description="wordings of each item to train on; null trains on those of prompts.wordings"
    )
    training: TrainingConfig = TrainingConfig()

    @field_validator("along")
    @classmethod
    def _shares(cls, shares: list[float]) -> list[float]:
        if any(not 0 < share < 1 for share in shares) or sorted(set(shares)) != shares:
            raise ValueError("shares of the training lie between 0 and 1, and rise; say [0.25, 0.5, 0.75]")
        return shares

    @field_validator("learning_rates")
    @classmethod
    def _rates(cls, rates: list[float]) -> list[float]:
        if any(rate <= 0 for rate in rates) or len(set(rates)) < len(rates):
            raise ValueError("learning rates are above 0, and each is named once")
        return rates

    @property
    def variants(self) -> list[Variant]:
        """Every arm at every learning rate."""
        rates = self.learning_rates or [self.training.learning_rate]
        several = len(rates) > 1
        return [Variant(f"{arm}-lr{rate:g}" if several else arm, arm, rate) for rate in rates for arm in self.arms]

    def part(self, share: float) -> TrainingConfig:
        """The training cut to its first share: the same updates in the same order."""
        if share == 1:
            return self.training
        if self.training.max_steps:
            return self.training.model_copy(update={"max_steps": max(1, round(share * self.training.max_steps))})
        return self.training.model_copy(update={"epochs": share * self.training.epochs})


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
        "finetune-equal-task": "Arms at equal task accuracy, interpolated along training",
        "finetune-equal-task-differences": "Differences of arms at equal task accuracy",
    }

    def check(self, config: RunSettings) -> None:
        """Check that the task is tested where it is taught, and that a part of the training is the beginning of the whole.

        Raises:
            UsageError: the task's test set is of another benchmark, or the learning rate changes with the length of the
                training.
        """
        settings = config.section(FinetuneSettings)
        test = config.test_of("task")
        if test and not same_task(settings.task.items, test.items):
            number, own = config.test.index(test), parse_name(settings.task.items).name.removesuffix("_train")
            raise UsageError(
                f"finetune.task trains on {settings.task.items}, but the test set with role task is {test.items};"
                f" set test.{number}.items to a test set of {own}"
            )
        if settings.along and not settings.training.schedule.startswith("constant"):
            raise UsageError(
                f"finetune.along compares beginnings of one training; with training.schedule: {settings.training.schedule}"
                " these differ from its own; use constant"
            )

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {NAME: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [UNTOUCHED]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED]

    def tunings(self, run: SavedRun) -> list[Tuning]:
        settings = run.config.section(FinetuneSettings)
        prompts = run.config.prompts
        if settings.wordings is not None:
            prompts = PromptConfig.model_validate(prompts.model_dump() | {"wordings": settings.wordings})
        made = []
        for seed in range(run.config.seeds):
            for variant in settings.variants:
                shorter: str | None = None
                for share in (*settings.along, 1):
                    training = settings.part(share).model_copy(update={"learning_rate": variant.rate})
                    config = FinetuneConfig(
                        name=f"{a.at(variant.label, share)}-{seed}",
                        seed=run.config.seed + seed,
                        data_seed=run.config.seed,
                        sources=run.config.sources,
                        model=run.config.model,
                        prompts=prompts,
                        task=settings.task,
                        update=_update(run, variant.arm, run.config.seed + seed),
                        training=training,
                    )
                    made.append(Tuning(config.name, config, ROLES, NAME, after=shorter, to_go_on=share < 1))
                    shorter = config.name
        return made

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        settings = run.config.section(FinetuneSettings)
        arms = [variant.label for variant in settings.variants]
        pairs = _pairs(settings.variants)
        roles = a.roles_of(run, ROLES)
        changes = a.change_table(run, [(arm, "none") for arm in arms], roles)
        table = a.arm_table(run, arms, changes, roles)
        between = a.change_table(run, pairs, roles) if pairs else changes.iloc[:0]
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
        if settings.along:
            add_equal_task(section, run, arms, pairs, settings.along)
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
    settings = run.config.section(FinetuneSettings)
    pick, by, among = WITHIN.get(arm, (arm, settings.rank_by, "all"))
    values = {"pick": pick, "by": by, "among": among, "share": settings.share, "neurons": neurons, "seed": seed}
    return UpdateConfig(what="modules", modules=PickConfig.model_validate(values))


def _pairs(variants: list[Variant]) -> list[tuple[str, str]]:
    """Labels of the arms that are compared with each other, at the same learning rate."""
    labels = {(variant.arm, variant.rate): variant.label for variant in variants}
    rates = dict.fromkeys(variant.rate for variant in variants)
    return [
        (labels[one, rate], labels[other, rate])
        for rate in rates
        for one, other in PAIRS
        if (one, rate) in labels and (other, rate) in labels
    ]


def _words(run: SavedRun, label: str) -> str:
    """An arm in words, with its learning rate where there are several."""
    settings = run.config.section(FinetuneSettings)
    variant = next(each for each in settings.variants if each.label == label)
    said = WORDS[variant.arm]
    return f"{said} at learning rate {variant.rate:g}" if variant.label != variant.arm else said


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
        return f"Tune {_words(run, arm)}: no other arm learnt the task as well ({said}).", arm
    everything = [other for other in others if other.partition("-lr")[0] == "all"]
    rival = everything[0] if everything else str(learnt.loc[others, "culture change"].idxmin())
    versus = a.change_table(run, [(arm, rival)], ["culture"]).iloc[0]
    kept = f"against tuning {_words(run, rival)}, {points(versus['difference'])} points, {interval(versus)}"
    if versus["low"] > 0:
        return f"Tune {_words(run, arm)}: it learns the task as well and keeps more culture ({said}; {kept}).", arm
    return f"Tuning {_words(run, arm)} lost least culture ({said}), but not measurably less ({kept}).", arm


def _text(run: SavedRun, between: pd.DataFrame) -> list[str]:
    s = run.config.section(FinetuneSettings)
    seeds = run.config.seeds
    text = [
        f"The model is tuned on {s.task.items} with learning rate"
        f" {' and '.join(f'{rate:g}' for rate in s.learning_rates or [s.training.learning_rate])}, {seeds}"
        f" seed{'s' if seeds > 1 else ''} an arm; arms that choose modules update {s.share:.0%} of the decoder's parameters."
        f" Top and bottom rank {'projections by their own neurons' if s.rank_by == 'module' else 'blocks, as published'}."
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
