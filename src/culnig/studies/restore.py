"""Restoring: can training only the culture-general neurons on cultural items improve culture, on topics not trained on?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from culnig.data import DataConfig
from culnig.figures import loss_curves
from culnig.finetune.settings import FinetuneConfig, TrainingConfig, UpdateConfig
from culnig.formatting import interval, points
from culnig.neurons import NeuronSet
from culnig.selection import select_random
from culnig.settings import Settings
from culnig.studies import _tuned as a
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section, Tuning
from culnig.studies._culture_general_set import CULTURE_GENERAL as NAME
from culnig.studies._culture_general_set import culture_general_set
from culnig.studies._settings import RunSettings

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

ROLES = ("culture", "ability")
ARMS = ["only-culture", "only-random"]


class RestoreSettings(Settings):
    """The restoring study: only culture-general neurons' rows are trained, on cultural items."""

    task: DataConfig = DataConfig(items="everyday:neur")
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3)


class RestoreStudy:
    """Train the rows of the culture-general set alone, and as many random rows of the same modules and layers."""

    settings = RestoreSettings
    section = "restore"
    order = 40
    needs = ("culture",)
    trains_weights = True
    title = "Adding culture with few neurons"
    titles: ClassVar = {
        "restore-summary": "Rows trained: accuracy, and change with its interval",
        "restore-differences": "Rows trained: paired differences",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        chosen = culture_general_set(run)
        shapes = run.scores("neur").shapes()
        seeds = range(run.config.seeds)
        random = {
            _rows("only-random", seed): select_random(chosen, shapes, seed=run.config.seed + seed) for seed in seeds
        }
        return {NAME: chosen, **random}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [UNTOUCHED]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED]

    def tunings(self, run: SavedRun) -> list[Tuning]:
        settings = run.config.section(RestoreSettings)
        made = []
        for seed in range(run.config.seeds):
            for arm in ARMS:
                rows = _rows(arm, seed)
                config = FinetuneConfig(
                    name=f"{arm}-{seed}",
                    seed=run.config.seed + seed,
                    data_seed=run.config.seed,
                    sources=run.config.sources,
                    model=run.config.model,
                    prompts=run.config.prompts,
                    task=settings.task,
                    update=UpdateConfig(only=str(run.neurons_path(rows))),
                    training=settings.training,
                )
                made.append(Tuning(config.name, config, ROLES, rows))
        return made

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        roles = a.roles_of(run, ROLES)
        pairs = [*((arm, "none") for arm in ARMS), (ARMS[0], ARMS[1])]
        changes = a.change_table(run, pairs, roles)
        table = a.arm_table(run, ARMS, changes, roles)
        section.tables = {
            "restore-summary": a.shown(table, roles),
            "restore-arms": table,
            "restore-differences": changes,
            "restore-seeds": a.seed_table(run, ARMS, roles),
            "restore-moved": a.moved_table(run, ARMS),
        }
        section.figures = [("Loss of the answers in training, first seed.", loss_curves(a.loss_tables(run, ARMS)))]
        correct = changes[changes["metric"] == "correct"].set_index(["pair", "role"])
        mine, random = (correct.loc[(f"{arm} - none", "culture")] for arm in ARMS)
        versus = correct.loc[(f"{ARMS[0]} - {ARMS[1]}", "culture")]
        verb = "improves" if mine["low"] > 0 else "worsens" if mine["high"] < 0 else "does not measurably change"
        section.claim = (
            f"Training only the rows of {len(run.neurons(NAME)):,} culture-general neurons on {run.config.section(RestoreSettings).task.items}"
            f" {verb} culture on topics it was not trained on: {points(mine['difference'])} points ({interval(mine)});"
            f" as many random rows: {points(random['difference'])} ({interval(random)}; {run.config.seeds} draws); difference"
            f" {points(versus['difference'])} ({interval(versus)})."
        )
        section.findings = [
            Finding("trained culture rows: culture", f"{points(mine['difference'])} points", interval(mine)),
            Finding("trained random rows: culture", f"{points(random['difference'])} points", interval(random)),
        ]
        if "ability" in roles:
            cost = correct.loc[(f"{ARMS[0]} - none", "ability")]
            section.claim += f" General ability: {points(cost['difference'])} points ({interval(cost)})."
            section.findings.append(
                Finding("trained culture rows: ability", f"{points(cost['difference'])} points", interval(cost))
            )
        section.text = [_text(run)]
        section.numbers = {
            "seeds": run.config.seeds,
            "arms": table.to_dict("records"),
            "differences": changes.to_dict("records"),
        }
        return section


STUDIES.register("restore")(RestoreStudy())


def _text(run: SavedRun) -> str:
    task, rate, seeds = (
        run.config.section(RestoreSettings).task.items,
        run.config.section(RestoreSettings).training.learning_rate,
        run.config.seeds,
    )
    return (
        f"Only the rows of the culture-general neurons, or as many random rows of the same modules and layers, are trained on {task}"
        f" with learning rate {rate:g}, {seeds} seed{'s' if seeds > 1 else ''} an arm; everything else keeps its value. Changes are"
        f" paired with the model before, and the two arms seed by seed. {_rests_on(seeds)}"
    )


def _rests_on(seeds: int) -> str:
    """Say how many draws of random rows the comparison rests on."""
    if seeds == 1:
        return "The comparison with random rows rests on one draw: its interval is over questions alone."
    return f"The comparison with random rows rests on {seeds} draws; intervals are over questions and draws."


def _rows(arm: str, seed: int) -> str:
    """Name of the neuron set that an arm trains."""
    return NAME if arm == "only-culture" else f"rows-{seed}"
