"""Restoring: can training only the culture-general neurons on cultural items improve culture, on topics not trained on?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from safetensors.numpy import load_file, save_file

from culnig import distributed
from culnig.data import DataConfig, Item, write_items
from culnig.errors import UsageError
from culnig.figures import loss_curves
from culnig.files import atomic_path
from culnig.finetune.gradients import row_gradients
from culnig.finetune.settings import FinetuneConfig, TrainingConfig, UpdateConfig
from culnig.formatting import interval, points
from culnig.neurons import NeuronSet
from culnig.selection import select_random
from culnig.settings import Settings
from culnig.studies import _tuned as a
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, MeasurementContext, Section, Tuning
from culnig.studies._culture_general_set import CULTURE_GENERAL as NAME
from culnig.studies._culture_general_set import culture_general_set
from culnig.studies._settings import RunSettings

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

ROLES = ("culture", "ability")
CULTURE, RANDOM, GRADIENT = "only-culture", "only-random", "only-gradient"
FILES = ("task.jsonl", "gradients.safetensors")
WORDS = {
    RANDOM: "as many random rows",
    GRADIENT: "as many random rows with gradients of the same size",
}


class RestoreSettings(Settings):
    """The restoring study: only culture-general neurons' rows are trained, on cultural items."""

    task: DataConfig = DataConfig(items="everyday:neur")
    train_on: Literal["all", "others"] = Field(
        "all", description="all items of task; others: those that are not in identify.neur, where the rows were chosen"
    )
    random_rows: list[Literal["sites", "gradient"]] = Field(
        ["sites"],
        min_length=1,
        description="random rows to compare with: sites (same modules and layers); gradient (also of the same gradient norm)",
    )
    gradient_bins: int = Field(
        10, ge=1, description="quantiles of the gradient norm that a random row shares with its own"
    )
    gradient_batches: int = Field(16, ge=1, description="batches of training that gradient norms are means over")
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3)

    @property
    def arms(self) -> list[str]:
        """The rows that are trained: the culture-general ones first."""
        return [CULTURE, *({"sites": RANDOM, "gradient": GRADIENT}[kind] for kind in self.random_rows)]


class RestoreStudy:
    """Train the rows of the culture-general set alone, and as many random rows of the same modules and layers.

    Rows may be trained on other items than they were chosen on, and beside random rows whose gradients are as large.
    """

    settings = RestoreSettings
    section = "restore"
    order = 40
    needs = ("culture",)
    trains_weights = True
    measures_first = True
    title = "Adding culture with few neurons"
    titles: ClassVar = {
        "restore-summary": "Rows trained: accuracy, and change with its interval",
        "restore-differences": "Rows trained: paired differences",
        "restore-gradients": "Rows trained: norm of their gradients before training",
    }

    def measured(self, run: SavedRun) -> bool:
        return all(path.is_file() for path in _files(run))

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Write the items to train on, if these are a part of the task, and the gradient norms, if rows are matched by them."""
        settings = run.config.section(RestoreSettings)
        items = context.items(settings.task)
        for path in _files(run):
            if path.name == FILES[0]:
                items = others(items, context.items(run.config.identify.neur))
                if distributed.is_main():
                    write_items(items, path)
                continue
            t = settings.training
            with context.reporter.step("measure gradients", settings.gradient_batches, "batches") as progress:
                norms = row_gradients(
                    context.lm,
                    items,
                    context.policy,
                    batch=t.batch * t.accumulation,
                    batches=settings.gradient_batches,
                    seed=run.config.seed,
                    progress=progress,
                )
            if distributed.is_main():
                with atomic_path(path) as temporary:
                    save_file(norms, temporary)

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        settings = run.config.section(RestoreSettings)
        chosen = culture_general_set(run)
        shapes = run.scores("neur").shapes()
        norms = load_file(run.measured_path("restore") / FILES[1]) if GRADIENT in settings.arms else None
        made = {NAME: chosen}
        for seed in range(run.config.seeds):
            for arm in settings.arms[1:]:
                how = "norm" if arm == GRADIENT else "matched"
                made[_rows(arm, seed)] = select_random(
                    chosen, shapes, how=how, seed=run.config.seed + seed, norms=norms, bins=settings.gradient_bins
                )
        return made

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [UNTOUCHED]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED]

    def tunings(self, run: SavedRun) -> list[Tuning]:
        settings = run.config.section(RestoreSettings)
        made = []
        for seed in range(run.config.seeds):
            for arm in settings.arms:
                rows = _rows(arm, seed)
                config = FinetuneConfig(
                    name=f"{arm}-{seed}",
                    seed=run.config.seed + seed,
                    data_seed=run.config.seed,
                    sources=run.config.sources,
                    model=run.config.model,
                    prompts=run.config.prompts,
                    task=_task(run),
                    update=UpdateConfig(only=str(run.neurons_path(rows))),
                    training=settings.training,
                )
                made.append(Tuning(config.name, config, ROLES, rows))
        return made

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        roles = a.roles_of(run, ROLES)
        arms = run.config.section(RestoreSettings).arms
        pairs = [*((arm, "none") for arm in arms), *((CULTURE, other) for other in arms[1:])]
        changes = a.change_table(run, pairs, roles)
        table = a.arm_table(run, arms, changes, roles)
        section.tables = {
            "restore-summary": a.shown(table, roles),
            "restore-arms": table,
            "restore-differences": changes,
            "restore-seeds": a.seed_table(run, arms, roles),
            "restore-moved": a.moved_table(run, arms),
        }
        section.figures = [("Loss of the answers in training, first seed.", loss_curves(a.loss_tables(run, arms)))]
        correct = changes[changes["metric"] == "correct"].set_index(["pair", "role"])
        section.claim = _claim(run, correct, arms, roles)
        section.findings = [_finding(correct, CULTURE, "culture")]
        section.findings += [_finding(correct, arm, "culture") for arm in arms[1:]]
        if "ability" in roles:
            section.findings.append(_finding(correct, CULTURE, "ability"))
        section.text = [_text(run)]
        section.numbers = {
            "seeds": run.config.seeds,
            "arms": table.to_dict("records"),
            "differences": changes.to_dict("records"),
        }
        if GRADIENT in arms:
            section.tables["restore-gradients"] = gradients = _gradients(run, arms)
            section.numbers["gradients"] = gradients.to_dict("records")
        return section


STUDIES.register("restore")(RestoreStudy())


def others(items: Iterable[Item], chosen_on: Iterable[Item]) -> list[Item]:
    """Return the items that are none of those that the rows were chosen on, in any draw of their options.

    Raises:
        UsageError: none is left.
    """
    known = {_question(item) for item in chosen_on}
    left = [item for item in items if _question(item) not in known]
    if not left:
        raise UsageError(
            "restore.train_on: others leaves no item to train on, because rows are chosen on all of restore.task;"
            " choose on fewer (identify.neur.limit_per_country), or train on another set"
        )
    return left


def _question(item: Item) -> tuple[str, str]:
    suffix = f"/{item.variant}"
    return item.benchmark, item.id.removesuffix(suffix) if item.variant else item.id


def _files(run: SavedRun) -> list[Path]:
    """What is measured before selection: the items to train on, and the gradient norms on them."""
    settings = run.config.section(RestoreSettings)
    wanted = (settings.train_on == "others", GRADIENT in settings.arms)
    folder = run.measured_path("restore")
    return [folder / name for name, is_wanted in zip(FILES, wanted, strict=True) if is_wanted]


def _task(run: SavedRun) -> DataConfig:
    settings = run.config.section(RestoreSettings)
    if settings.train_on == "all":
        return settings.task
    return DataConfig(items=str(run.measured_path("restore") / FILES[0]))


def _row(correct: pd.DataFrame, arm: str, other: str, role: str) -> dict[str, Any]:
    """Return the paired change of an arm against another."""
    found: pd.Series = correct.xs((f"{arm} - {other}", role))
    return {str(key): value for key, value in found.items()}


def _finding(correct: pd.DataFrame, arm: str, role: str) -> Finding:
    row = _row(correct, arm, "none", role)
    label = f"trained {arm.removeprefix('only-')} rows: {role}"
    return Finding(label, f"{points(row['difference'])} points", interval(row))


def _claim(run: SavedRun, correct: pd.DataFrame, arms: list[str], roles: list[str]) -> str:
    mine = _row(correct, CULTURE, "none", "culture")
    verb = "improves" if mine["low"] > 0 else "worsens" if mine["high"] < 0 else "does not measurably change"
    sentences = [
        f"Training only the rows of {len(run.neurons(NAME)):,} culture-general neurons {verb} culture on topics it was not"
        f" trained on: {points(mine['difference'])} points ({interval(mine)})."
    ]
    for arm in arms[1:]:
        other, versus = _row(correct, arm, "none", "culture"), _row(correct, CULTURE, arm, "culture")
        gives = "gives less" if versus["low"] > 0 else "gives more" if versus["high"] < 0 else "gives about as much"
        sentences.append(
            f"Training {WORDS[arm]} {gives}: {points(other['difference'])} ({interval(other)}; {run.config.seeds} draws),"
            f" a difference of {points(versus['difference'])} ({interval(versus)})."
        )
    sentences.append(f"All were trained on {_items(run)}.")
    if "ability" in roles:
        cost = _row(correct, CULTURE, "none", "ability")
        sentences.append(f"General ability: {points(cost['difference'])} points ({interval(cost)}).")
    return " ".join(sentences)


def _items(run: SavedRun) -> str:
    """What is trained on, in words."""
    settings = run.config.section(RestoreSettings)
    return (
        f"items of {settings.task.items} other than those the rows were chosen on"
        if settings.train_on == "others"
        else settings.task.items
    )


def _gradients(run: SavedRun, arms: list[str]) -> pd.DataFrame:
    """Return the norms of the trained rows' gradients before training: median, mean, and the mean over that of the set.

    Columns: arm, draw, rows, median, mean, ratio.
    """
    norms = load_file(run.measured_path("restore") / FILES[1])
    rows = []
    for arm in arms:
        for seed in range(1 if arm == CULTURE else run.config.seeds):
            own = np.array([norms[n.module][n.layer, n.index] for n in run.neurons(_rows(arm, seed))])
            rows.append(
                {"arm": arm, "draw": seed, "rows": len(own), "median": float(np.median(own)), "mean": float(own.mean())}
            )
    table = pd.DataFrame(rows)
    return table.assign(ratio=table["mean"] / table.loc[0, "mean"])


def _text(run: SavedRun) -> str:
    settings, seeds = run.config.section(RestoreSettings), run.config.seeds
    text = (
        "Each arm trains some rows of the weights, and all else keeps its value: the rows of the culture-general neurons, or"
        " as many random rows of the same modules and layers."
        f" The learning rate is {settings.training.learning_rate:g}, with {seeds} seed{'s' if seeds > 1 else ''} an arm."
        f" Changes are paired with the model before, and the arms seed by seed. {_rests_on(seeds)}"
    )
    if GRADIENT in settings.arms:
        text += (
            f" A row's gradient norm is its mean over {settings.gradient_batches} batches before training."
            f" Rows with gradients of the same size come from the same one of {settings.gradient_bins} quantiles within a layer."
            " The table says how well the norms agree."
        )
    return text


def _rests_on(seeds: int) -> str:
    """Say how many draws of random rows the comparison rests on."""
    if seeds == 1:
        return "The comparison with random rows rests on one draw: its interval is over questions alone."
    return f"The comparison with random rows rests on {seeds} draws; intervals are over questions and draws."


def _rows(arm: str, seed: int) -> str:
    """Name of the neuron set that an arm trains."""
    return {CULTURE: NAME, RANDOM: f"rows-{seed}", GRADIENT: f"gradient-rows-{seed}"}[arm]
