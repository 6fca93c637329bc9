"""The search: rank, add, check exactly, step back where a guard is crossed, and drop what is not needed at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from culnig import distributed
from culnig.attribution import Means, mean_values
from culnig.attribution.method import ValueTimesGradient, parse_method
from culnig.attribution.pooled import ByModule
from culnig.data import items_hash
from culnig.errors import DataError, ModelError, UsageError
from culnig.files import read_json, sha256_json, write_json
from culnig.guarded.checks import Change, Checks, crossed
from culnig.guarded.damping import FACTOR, damped
from culnig.guarded.data import GuardedData
from culnig.guarded.mask import learn_mask
from culnig.guarded.path import GuardedPath, Round
from culnig.guarded.ranking import Terms, best, measure_terms
from culnig.guarded.settings import PERPLEXITY, GuardedSettings
from culnig.intervention import Operation
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet
from culnig.progress import Reporter, Silent
from culnig.prompts import PromptPolicy
from culnig.versions import versions

GUARDED_VERSION = 5
"""Version of the search; raise it where the same data and settings would give another set."""
GROWTH = 2.0
"""What the weight of a crossed guard is multiplied by."""


def select_guarded(
    lm: LanguageModel,
    data: GuardedData,
    settings: GuardedSettings | None = None,
    *,
    policy: PromptPolicy | None = None,
    among: NeuronSet | None = None,
    means: Means | None = None,
    checkpoint: Path | str | None = None,
    reporter: Reporter | None = None,
) -> GuardedPath:
    """Choose neurons step by step whose suppression costs culture, within a budget of harm.

    Each round adds the best `step` neurons, and checks the new state exactly on items and texts that no round ranks by.
    `greedy` ranks all neurons in each round, with those chosen so far suppressed (`ranking`); the other methods rank once,
    `mask` by learning (`mask`).  If a guard is beyond its budget, the round is taken back, the weight of that guard is
    doubled and the step is halved.  The search stops at `max_neurons`, at the target, when no neuron gains anything, or
    when `patience` rounds in a row were taken back.  At the end, neurons that are not needed are dropped, and the rest is
    checked again.

    Args:
        lm: the model; it is the same afterwards.
        data: development data (`guarded_data`).
        settings: budgets and sizes; None is the default.
        policy: how items are put and judged; None is the one recommended for the model.
        among: choose of these neurons only, such as the best of a scoring method; None is all.
        means: what neurons are replaced by; None measures what the setting `operation` names on the data to search by.
        checkpoint: file that keeps the rounds; taken up again if it belongs to this very search.  The caller removes it.
        reporter: shows progress; None is silent.

    Returns:
        The path: its rounds, why it stopped, and the set in the order of choice.

    Raises:
        UsageError: a budget for something that is not protected, a module that the model does not have, or a scoring
            method that cannot rank.
        ModelError: the method `mask` cannot edit what reads the model's MLP neurons.
    """
    settings = settings or GuardedSettings()
    policy = policy or lm.policy()
    reporter = reporter or Silent()
    _check(lm, data, settings)
    search = _Search(lm, data, settings, policy, reporter, among, means)
    search.restore(checkpoint)
    while not search.path.stopped:
        search.round()
        search.keep(checkpoint)
    if settings.backward and not search.path.done:
        search.drop()
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
    if settings.operation != "suppress" and settings.method == "mask":
        raise UsageError("method mask learns what to zero; with operation mean or control choose greedy")
    if settings.operation == "control" and not data.controls:
        raise UsageError("operation control needs controls, whose means take the place of values")
    method = parse_method(settings.scored_by)
    reference = getattr(method, "reference", "zero")
    if settings.operation != "suppress" and reference != "dataset":
        raise UsageError(
            f"score {settings.score}: it is of zeroing; with operation {settings.operation} take atp:dataset"
        )
    if not isinstance(method, ValueTimesGradient) or method.positions != "sum":
        raise UsageError(
            f"score {settings.scored_by}: a search adds signed sums up; take one such as culnig:sum:odds:product"
        )


def _means(lm: LanguageModel, data: GuardedData, settings: GuardedSettings, policy: PromptPolicy) -> Means | None:
    """Measure what the operation replaces values by; None if it scales them."""
    reference = Operation.parse(settings.operation).reference
    if reference is None:
        return None
    return mean_values(lm, data.culture.search if reference == "neur" else data.controls, policy=policy)


class _Search:
    """The state of a search: the path so far, the weights of the guards, and the present step."""

    def __init__(
        self,
        lm: LanguageModel,
        data: GuardedData,
        settings: GuardedSettings,
        policy: PromptPolicy,
        reporter: Reporter,
        among: NeuronSet | None = None,
        means: Means | None = None,
    ) -> None:
        self.lm = lm
        self.data = data
        self.settings = settings
        self.policy = policy
        self.reporter = reporter
        self.path = GuardedPath()
        self.among = among
        self.order: dict[Neuron, float] = {}
        self.forwards = 0
        self.means = _means(lm, data, settings, policy) if means is None else means
        with reporter.step("check the untouched model"):
            self.checks = Checks(lm, data, policy)
        self.record = _job(lm, data, settings, policy, among, self.means)
        self.job = sha256_json(self.record)

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
        self.forwards = 0
        with ExitStack() as stack:
            stack.enter_context(self._suppressed(list(chosen)))
            found = self._proposed(number, chosen)
            if not found:
                self.path.stopped = "no neuron is worth its cost"
                return
            stack.enter_context(self._suppressed(list(found)))
            changes = self._checked(f"round {number}")
        beyond = crossed(changes, self.settings.harm)
        size = len(chosen) + len(found)
        seconds = time.monotonic() - begun
        self.path.rounds.append(
            Round(number, list(found), list(found.values()), size, changes, beyond, seconds, [], self.forwards)
        )
        self.reporter.say(_told(self.path.rounds[-1]))
        self.path.stopped = self._stop(changes)

    def _proposed(self, number: int, chosen: dict[Neuron, float]) -> dict[Neuron, float]:
        """Return the neurons that a round adds, with their gains; the chosen ones are suppressed."""
        if self.settings.method == "greedy":
            with self.reporter.step(f"round {number}: rank"):
                terms = self._terms(number)
                return best(self._allowed(terms.gain(self.weights)), chosen, self.step, self.least)
        if not self.order:
            most = 2 * self.settings.max_neurons
            self.order = best(self._allowed(self._ranked_once()), (), most, 0.0)
        rest = [neuron for neuron in self.order if neuron not in chosen]
        return {neuron: self.order[neuron] for neuron in rest[: self.step]}

    def _ranked_once(self) -> ByModule:
        """Return what the neurons of the untouched model are ranked by."""
        settings = self.settings
        if settings.method == "mask":
            average, forwards = learn_mask(self.lm, self.data, settings, self.weights, self.policy, self.reporter)
            self.forwards += forwards
            return average
        with self.reporter.step("rank"):
            terms = self._terms(1, settings.once)
        if settings.method == "ratio":
            return terms.ratio(self.weights)
        return terms.without_costly(settings.vetoed, only_fisher=settings.method == "veto")

    def _terms(self, number: int, size: float = 1.0) -> Terms:
        """Measure the terms of the present state, and count what that costs."""
        terms = measure_terms(
            self.lm, self.data, self.settings, number, policy=self.policy, size=size, means=self.means
        )
        self.forwards += terms.forwards
        return terms

    def _allowed(self, gain: ByModule) -> ByModule:
        """Return the gains, -inf for neurons that may not be chosen."""
        if self.among is None:
            return gain
        found = {module: np.full_like(values, -np.inf) for module, values in gain.items()}
        for neuron in self.among:
            if neuron.module in found:
                found[neuron.module][neuron.layer, neuron.index] = gain[neuron.module][neuron.layer, neuron.index]
        return found

    def _checked(self, name: str) -> dict[str, Change]:
        with self.reporter.step(f"{name}: check", self.checks.number, "prompts") as progress:
            self.forwards += self.checks.number
            return self.checks.now(progress)

    def drop(self) -> None:
        """Drop the chosen neurons whose silence gains nothing beside the others', if culture stays as low without them."""
        self.path.done = True
        chosen = self.path.chosen
        if len(chosen) < 2 or self.means is not None:  # a replaced value has no gradient to bring it back by
            return
        begun, number = time.monotonic(), len(self.path.rounds) + 1
        self.forwards = 0
        try:
            with damped(self.lm, list(chosen)), self.reporter.step("drop what is not needed: rank"):
                terms = self._terms(number, 2)
        except ModelError as error:
            self.reporter.say(f"no neuron is dropped at the end: {error}")
            return
        gain = terms.undamped(chosen, FACTOR).gain(self.weights)
        idle = [each for each in chosen if gain[each.module][each.layer, each.index] <= 0]
        if not idle or len(idle) == len(chosen):
            return
        with self._suppressed([neuron for neuron in chosen if neuron not in idle]):
            changes = self._checked("drop what is not needed")
        before = next(each for each in reversed(self.path.rounds) if each.kept).changes["culture"].log_odds
        beyond = crossed(changes, self.settings.harm)
        if changes["culture"].log_odds > before * (1 - len(idle) / len(chosen)):
            beyond.append("culture")  # they did more than their share
        seconds, size = time.monotonic() - begun, len(chosen) - len(idle)
        self.path.rounds.append(Round(number, [], [], size, changes, beyond, seconds, idle, self.forwards))
        self.reporter.say(_told(self.path.rounds[-1]))

    @contextmanager
    def _suppressed(self, neurons: list[Any]) -> Iterator[None]:
        if not neurons:
            yield
            return
        with Operation.parse(self.settings.operation).on(self.lm, NeuronSet(neurons), self.means):
            yield

    def _stop(self, changes: dict[str, Change]) -> str:
        """Return why the search is over; "" if it goes on."""
        settings = self.settings
        last = self.path.rounds[-settings.patience :]
        if len(last) == settings.patience and not any(each.kept for each in last):
            return f"the budget of {' and '.join(dict.fromkeys(n for each in last for n in each.crossed))} is used up"
        if not self.path.rounds[-1].kept:
            return ""
        if settings.target is not None and -changes["culture"].change >= settings.target:
            return f"the target of {100 * settings.target:g} points is reached"
        return "the set is full" if len(self.path.chosen) >= settings.max_neurons else ""

    def keep(self, checkpoint: Path | str | None) -> None:
        """Write the rounds so far."""
        if checkpoint is not None and distributed.is_main():
            rounds = [each.to_json() for each in self.path.rounds]
            order = [[*neuron, gain] for neuron, gain in self.order.items()]
            state = {"job": self.job, "rounds": rounds, "stopped": self.path.stopped, "done": self.path.done}
            write_json(Path(checkpoint), state | {"order": order})

    def restore(self, checkpoint: Path | str | None) -> None:
        """Take up the rounds of an earlier search, if they belong to this one."""
        if checkpoint is None or not Path(checkpoint).is_file():
            return
        try:
            saved = read_json(Path(checkpoint), "the progress of a guarded selection")
        except DataError:
            return  # damaged: the search begins again, which costs time and no result
        if isinstance(saved, dict) and saved.get("job") == self.job:
            rounds = [Round.from_json(each) for each in saved["rounds"]]
            self.path = GuardedPath(rounds, saved["stopped"], done=saved["done"])
            self.order = {Neuron(*neuron): gain for *neuron, gain in saved["order"]}
            self.reporter.say(f"{len(self.path.rounds)} rounds are taken up again")

    def finish(self) -> GuardedPath:
        """The path with its set."""
        kept = [each for each in self.path.rounds if each.kept]
        self.path.neurons = NeuronSet(
            self.path.chosen,
            model_name=self.lm.name,
            provenance=self.record
            | {
                "stopped": self.path.stopped,
                "versions": versions(),
                "forwards": sum(each.forwards for each in self.path.rounds),
                "path": [each.row() for each in self.path.rounds],
            }
            | {"changes": [change.to_dict() for change in kept[-1].changes.values()] if kept else []},
            expert_widths=self.lm.expert_widths or None,
        )
        return self.path


def _job(
    lm: LanguageModel,
    data: GuardedData,
    settings: GuardedSettings,
    policy: PromptPolicy,
    among: NeuronSet | None,
    means: Means | None,
) -> dict[str, Any]:
    """All that decides the result."""
    parts = {"culture": data.culture, **data.protect}
    return {
        "kind": "guarded",
        "rule": settings.model_dump(),
        "rule_version": GUARDED_VERSION,
        "method": settings.scored_by,
        **lm.description,
        "prompts": policy.resolved(lm.tokenizer),
        "data": {name: [items_hash(part.search), items_hash(part.check)] for name, part in parts.items()},
        "controls": items_hash(data.controls) if data.controls else None,
        "texts": sha256_json(list(data.texts)),
        "means": means.record if means is not None else None,
        "among": sha256_json([list(neuron) for neuron in among]) if among is not None else None,
    }


def _told(done: Round) -> str:
    """Say a round in one line."""
    changes = [
        f"{name} {100 * change.change:+.1f} {'%' if name == PERPLEXITY else 'points'}"
        for name, change in done.changes.items()
    ]
    verdict = "kept" if done.kept else f"taken back: {', '.join(done.crossed)}"
    dropped = f" without {len(done.dropped)} that are not needed" if done.dropped else ""
    return f"round {done.number}: {done.neurons} neurons{dropped}, {', '.join(changes)}; {verdict}"
