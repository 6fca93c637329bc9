"""Restoring: can training only the culture-general neurons on cultural items improve culture, on topics not trained on?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig import figures
from culnig.data import DataConfig
from culnig.finetune.settings import FinetuneConfig, TrainingConfig, UpdateConfig
from culnig.neurons import NeuronSet
from culnig.selection import select_random
from culnig.settings import Settings
from culnig.studies import _tuned as a
from culnig.studies._general_set import select_culture_general
from culnig.studies.base import STUDIES, UNTOUCHED, Condition, Finding, Section, Tuning
from culnig.studies.general import NAME
from culnig.studies.settings import RunSettings

if TYPE_CHECKING:
    from culnig.studies.saved import SavedRun

ROLES = ("culture", "general")
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
    title = "Adding culture with few neurons"

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        chosen = select_culture_general(run)
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
                    model=run.config.model,
                    prompts=run.config.prompts,
                    task=settings.task,
                    update=UpdateConfig(only=str(run.neurons_path(rows))),
                    training=settings.training,
                )
                made.append(Tuning(config.name, config, ROLES, rows))
        return made

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title)
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
        section.figures = [
            ("Loss of the answers in training, first seed.", figures.loss_curves(a.loss_tables(run, ARMS)))
        ]
        correct = changes[changes["metric"] == "correct"].set_index(["pair", "role"])
        mine, random = (correct.loc[(f"{arm} - none", "culture")] for arm in ARMS)
        versus = correct.loc[(f"{ARMS[0]} - {ARMS[1]}", "culture")]
        verb = "improves" if mine["low"] > 0 else "worsens" if mine["high"] < 0 else "does not measurably change"
        section.claim = (
            f"Training only the rows of {len(run.neurons(NAME)):,} culture-general neurons on {run.config.section(RestoreSettings).task.items}"
            f" {verb} culture on topics it was not trained on: {a.points(mine['difference'])} points ({a.interval(mine)});"
            f" as many random rows: {a.points(random['difference'])} ({a.interval(random)}); difference"
            f" {a.points(versus['difference'])} ({a.interval(versus)})."
        )
        section.findings = [
            Finding("trained culture rows: culture", f"{a.points(mine['difference'])} points", a.interval(mine)),
            Finding("trained random rows: culture", f"{a.points(random['difference'])} points", a.interval(random)),
        ]
        if "general" in roles:
            cost = correct.loc[(f"{ARMS[0]} - none", "general")]
            section.claim += f" General ability: {a.points(cost['difference'])} points ({a.interval(cost)})."
            section.findings.append(
                Finding("trained culture rows: general", f"{a.points(cost['difference'])} points", a.interval(cost))
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
        " paired with the model before; intervals are over questions, figures averaged over seeds."
    )


def _rows(arm: str, seed: int) -> str:
    """Name of the neuron set that an arm trains."""
    return NAME if arm == "only-culture" else f"rows-{seed}"
