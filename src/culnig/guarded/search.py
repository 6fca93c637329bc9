"""The search: rank, add, check exactly, and step back where a guard is crossed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from culnig import distributed
from culnig.data import items_hash
from culnig.errors import UsageError
from culnig.files import read_json, sha256_json, write_json
from culnig.guarded.checks import Change, Checks, crossed
from culnig.guarded.data import GuardedData
from culnig.guarded.path import GuardedPath, Round
from culnig.guarded.ranking import METHOD, best, gains
from culnig.guarded.settings import PERPLEXITY, GuardedSettings
from culnig.intervention import suppress
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet
from culnig.progress import Reporter, Silent
from culnig.prompts import PromptPolicy
from culnig.versions import versions

GUARDED_VERSION = 1
"""Version of the search; raise it where the same data and settings would give another set."""
GROWTH = 2.0
"""What the weight of a crossed guard is multiplied by."""


def select_guarded(
    lm: LanguageModel,
    data: GuardedData,
    settings: GuardedSettings | None = None,
    *,
    policy: PromptPolicy | None = None,
    checkpoint: Path | str | None = None,
    reporter: Reporter | None = None,
) -> GuardedPath:
    """Choose neurons step by step whose suppression costs culture, within a budget of harm.

    Each round ranks all neurons with those chosen so far suppressed (`ranking`), adds the best `step`, and checks the new
    state exactly on items and texts that no round ranks by.  If a guard is beyond its budget, the round is taken back,
    the weight of that guard is doubled and the step is halved.  The search stops at `max_neurons`, at the target, when no
    neuron gains anything, or when `patience` rounds in a row were taken back.

    Args:
        lm: the model; it is the same afterwards.
        data: development data (`guarded_data`).
        settings: budgets and sizes; None is the default.
        policy: how items are put and judged; None is the one recommended for the model.
        checkpoint: file that keeps the rounds; taken up again if it belongs to this very search.  The caller removes it.
        reporter: shows progress; None is silent.

    Returns:
        The path: its rounds, why it stopped, and the set in the order of choice.

    Raises:
        UsageError: a budget for something that is not protected, or a module that the model does not have.
    """
    settings = settings or GuardedSettings()
    policy = policy or lm.policy()
    reporter = reporter or Silent()
    _check(lm, data, settings)
    search = _Search(lm, data, settings, policy, reporter)
    search.restore(checkpoint)
    while not search.path.stopped:
        search.round()
        search.keep(checkpoint)
    return search.finish()


def _check(lm: LanguageModel, data: GuardedData, settings: GuardedSettings) -> None:
    known = {PERPLEXITY, *data.protect}
    for name in settings.harm:
        if name not in known:
            raise UsageError(f"harm: nothing called {name} is protected; there are {', '.join(sorted(known))}")
    for module in settings.modules:
        if module not in lm.shapes:
            raise UsageError(f"{lm.name} has no module '{module}'; it has {', '.join(lm.shapes)}")


class _Search:
    """The state of a search: the path so far, the weights of the guards, and the present step."""

    def __init__(
        self, lm: LanguageModel, data: GuardedData, settings: GuardedSettings, policy: PromptPolicy, reporter: Reporter
    ) -> None:
        self.lm = lm
        self.data = data
        self.settings = settings
        self.policy = policy
        self.reporter = reporter
        self.path = GuardedPath()
        with reporter.step("check the untouched model"):
            self.checks = Checks(lm, data, policy)
        self.job = sha256_json(_job(lm, data, settings, policy))

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each guard: its setting, doubled for every round in which it was crossed."""
        weights = dict.fromkeys(self.data.protect, self.settings.protect_weight) | {
            PERPLEXITY: self.settings.text_weight
        }
        for each in self.path.rounds:
            for name in each.crossed:
                weights[name] *= GROWTH
        return weights

    @property
    def step(self) -> int:
        """The number of neurons to add next: half of the last step after a round that was taken back."""
        taken_back = 0
        for each in reversed(self.path.rounds):
            if each.kept:
                break
            taken_back += 1
        room = self.settings.max_neurons - len(self.path.chosen)
        return min(room, max(1, self.settings.step >> taken_back))

    @property
    def least(self) -> float:
        """The least gain of a neuron."""
        first = self.path.rounds[0].gains if self.path.rounds else []
        return self.settings.least_gain * max(first, default=0.0)

    def round(self) -> None:
        """Rank, add, check; the round is recorded whether it is kept or not."""
        begun = time.monotonic()
        number = len(self.path.rounds) + 1
        chosen = self.path.chosen
        with ExitStack() as stack:
            stack.enter_context(self._suppressed(list(chosen)))
            with self.reporter.step(f"round {number}: rank"):
                gain = gains(self.lm, self.data, self.settings, self.weights, number, policy=self.policy)
                found = best(gain, chosen, self.step, self.least)
            if not found:
                self.path.stopped = "no neuron is worth its cost"
                return
            stack.enter_context(self._suppressed(list(found)))
            with self.reporter.step(f"round {number}: check", self.checks.number, "prompts") as progress:
                changes = self.checks.now(progress)
        beyond = crossed(changes, self.settings.harm)
        size = len(chosen) + len(found)
        seconds = time.monotonic() - begun
        self.path.rounds.append(Round(number, list(found), list(found.values()), size, changes, beyond, seconds))
        self.reporter.say(_told(self.path.rounds[-1]))
        self.path.stopped = self._stop(changes)

    @contextmanager
    def _suppressed(self, neurons: list[Any]) -> Iterator[None]:
        if not neurons:
            yield
            return
        with suppress(self.lm, NeuronSet(neurons)):
            yield

    def _stop(self, changes: dict[str, Change]) -> str:
        """Return why the search is over; "" if it goes on."""
        settings = self.settings
        last = self.path.rounds[-settings.patience :]
        if len(last) == settings.patience and not any(each.kept for each in last):
            return f"the budget of {' and '.join(dict.fromkeys(n for each in last for n in each.crossed))} is used up"
        if not self.path.rounds[-1].kept:
            return ""
        if settings.target is not None and changes["culture"].harm >= settings.target:
            return f"the target of {100 * settings.target:g} points is reached"
        return "the set is full" if len(self.path.chosen) >= settings.max_neurons else ""

    def keep(self, checkpoint: Path | str | None) -> None:
        """Write the rounds so far."""
        if checkpoint is not None and distributed.is_main():
            rounds = [each.to_json() for each in self.path.rounds]
            write_json(Path(checkpoint), {"job": self.job, "rounds": rounds, "stopped": self.path.stopped})

    def restore(self, checkpoint: Path | str | None) -> None:
        """Take up the rounds of an earlier search, if they belong to this one."""
        if checkpoint is None or not Path(checkpoint).is_file():
            return
        saved = read_json(Path(checkpoint), "the progress of a guarded selection")
        if saved.get("job") == self.job:
            self.path = GuardedPath([Round.from_json(each) for each in saved["rounds"]], saved["stopped"])
            self.reporter.say(f"{len(self.path.rounds)} rounds are taken up again")

    def finish(self) -> GuardedPath:
        """The path with its set."""
        kept = [each for each in self.path.rounds if each.kept]
        self.path.neurons = NeuronSet(
            self.path.chosen,
            model_name=self.lm.name,
            provenance=_job(self.lm, self.data, self.settings, self.policy)
            | {"stopped": self.path.stopped, "versions": versions(), "path": [each.row() for each in self.path.rounds]}
            | {"changes": [change.to_dict() for change in kept[-1].changes.values()] if kept else []},
            expert_widths=self.lm.expert_widths or None,
        )
        return self.path


def _job(lm: LanguageModel, data: GuardedData, settings: GuardedSettings, policy: PromptPolicy) -> dict[str, Any]:
    """All that decides the result."""
    parts = {"culture": data.culture, **data.protect}
    return {
        "kind": "guarded",
        "rule": settings.model_dump(),
        "rule_version": GUARDED_VERSION,
        "method": METHOD,
        **lm.description,
        "prompts": policy.resolved(lm.tokenizer),
        "data": {name: [items_hash(part.search), items_hash(part.check)] for name, part in parts.items()},
        "controls": items_hash(data.controls) if data.controls else None,
        "texts": sha256_json(list(data.texts)),
    }


def _told(done: Round) -> str:
    """Say a round in one line."""
    changes = [
        f"{name} {100 * change.change:+.1f} {'%' if name == PERPLEXITY else 'points'}"
        for name, change in done.changes.items()
    ]
    verdict = "kept" if done.kept else f"taken back: {', '.join(done.crossed)}"
    return f"round {done.number}: {done.neurons} neurons, {', '.join(changes)}; {verdict}"
