"""`python -m bench.floor`: where the time of a quickstart goes, by stage, against the floor.

The floor of scoring is two plain forward passes over its tokens, that of an evaluation is one, both without padding.
The conditions are those of a finished run (`make run`): untouched, its sets, and its random sets, 15 in a quickstart.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import culnig
from bench.measure import best_of
from culnig.attribution.accumulator import Accumulator
from culnig.attribution.batch import prepare
from culnig.attribution.method import parse_methods
from culnig.data import DataConfig, Item
from culnig.intervention import suppress
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet
from culnig.passes.answers import answer_batches, answers_of
from culnig.passes.calibration import offsets_of
from culnig.passes.forward import Packed, Row, answer_logprobs, batches, collate
from culnig.passes.memory import padded_tokens
from culnig.prompts import Encoded, encode, render
from culnig.prompts.calibration import measured_for

NEUR = DataConfig(items="everyday:neur", countries="blend", limit_per_country=30, draws=1)
TEST = DataConfig(items="everyday:test", countries="blend", limit_per_country=40, draws=1)
LEFT_OUT = "own-random"
"""Sets of a quickstart that its first 15 conditions do not have."""


class Evaluating:
    """The culture test set of the quickstart under some conditions, in several ways."""

    def __init__(self, lm: LanguageModel, items: Sequence[Item], sets: Sequence[NeuronSet | None]) -> None:
        self.lm, self.items, self.sets = lm, list(items), list(sets)
        self.policy = lm.policy()
        self.kinds = measured_for("culture", self.policy.calibration)

    def encoded(self) -> list[Encoded]:
        return encode(render(self.items, self.policy), self.lm.tokenizer, self.policy, self.lm.max_length)

    def one(self, neurons: NeuronSet | None = None) -> None:
        """One evaluation, of what it takes with offsets that are unknown still."""
        if neurons is None:
            culnig.evaluate(self.lm, self.items, policy=self.policy, kinds=self.kinds)
            return
        with suppress(self.lm, neurons):
            culnig.evaluate(self.lm, self.items, policy=self.policy, kinds=self.kinds)

    def together(self) -> None:
        """All conditions as in a run: what belongs to the untouched model is measured once."""
        self.lm.offsets.clear()
        for neurons in self.sets:
            self.one(neurons)

    def apart(self) -> None:
        """All conditions, each as `culnig eval` does it in a process of its own, without start and loading."""
        for neurons in self.sets:
            self.lm.offsets.clear()
            self.one(neurons)

    def known(self) -> None:
        """One evaluation of the untouched model whose offsets are known."""
        self.one()

    def rows(self) -> list[Row]:
        """A row an item, its options as branches: without sharing between items."""
        return [Row(i, e.prompt_ids, e.answer_ids) for i, e in enumerate(self.encoded())]

    def one_sequence_an_option(self) -> list[Row]:
        """A row an option, as harnesses of evaluation do it."""
        pairs = [(e.prompt_ids, answer) for e in self.encoded() for answer in e.answer_ids]
        return [Row(i, prompt, (answer,)) for i, (prompt, answer) in enumerate(pairs)]


def run_rows(lm: LanguageModel, rows: Sequence[Row]) -> Callable[[], None]:
    """Return a plain forward pass over rows."""
    collated = [collate(part, lm.device) for part in batches(rows, lm.token_budget)]

    @torch.no_grad()
    def run() -> None:
        for batch in collated:
            answer_logprobs(lm, batch)

    return run


def padding(made: Sequence[Sequence[Packed]]) -> float:
    """Return the share of the computed tokens that is padding."""
    return 1 - sum(row.length for part in made for row in part) / sum(map(padded_tokens, made))


def show(title: str, floor: float, stages: Sequence[tuple[str, float]]) -> None:
    print(f"\n{title:<66}{'s':>9}{'x floor':>9}")
    for name, seconds in stages:
        print(f"{name:<66}{seconds:9.2f}{seconds / floor:9.3f}")


def scoring(lm: LanguageModel, items: Sequence[Item], repeats: int) -> float:
    """Print the stages of scoring; return scoring / plain forward."""
    policy = lm.scoring_policy()
    prompts = prepare(lm, items, policy)
    rows = [prompts.row(key) for key in range(len(prompts.encoded))]
    made = batches(rows, lm.token_budget)
    accumulator = Accumulator(lm, prompts, parse_methods("culnig"))
    forward = run_rows(lm, rows)

    def gradients() -> None:
        for part in made:
            batch = collate(part, lm.device)
            embedded = lm.model.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
            answer_logprobs(lm, batch, embedded).answer_logprobs.sum().backward()

    def passes() -> None:
        for part in made:
            accumulator.run(part)

    forward()  # weights are read at first use
    passes()
    plain, both, reduced, whole, prepared = best_of(
        repeats,
        forward,
        gradients,
        passes,
        lambda: culnig.score(lm, items, policy=policy),
        lambda: prepare(lm, items, policy),
    )
    tokens = sum(row.length for row in rows)
    title = f"scoring: {len(items)} items, {tokens:,} tokens, padding {padding(made):.1%}, floor = 2 x forward"
    show(title, 2 * plain, [
        ("plain forward", plain),
        ("render and encode", prepared),
        ("forward + backward, frozen weights", both),
        ("the passes of scoring: + reduction and sums", reduced),
        ("culnig.score, the whole", whole),
    ])  # fmt: skip
    return whole / plain


def evaluating(work: Evaluating, repeats: int) -> None:
    """Print the stages of one evaluation, and what it shares."""
    lm, encoded, budget = work.lm, work.encoded(), work.lm.token_budget
    made, rows = answer_batches(encoded, budget), work.rows()
    work.known()  # measures the offsets once, so that `known` knows them
    alone, passes, trees, prepared, whole = best_of(
        repeats,
        run_rows(lm, rows),
        lambda: answers_of(lm, encoded),
        lambda: answer_batches(encoded, budget),
        work.encoded,
        work.known,
    )
    began = time.perf_counter()
    lm.offsets.clear()
    offsets_of(lm, encoded, work.policy, kinds=work.kinds)
    offsets = time.perf_counter() - began
    distinct, single = sum(row.length for part in made for row in part), work.one_sequence_an_option()
    title = f"evaluation: {len(work.items)} items, {distinct:,} tokens, padding {padding(made):.1%}, floor = forward"
    show(title, passes, [
        ("forward, common beginnings once", passes),
        ("render and encode", prepared),
        ("trees and batches", trees),
        ("culnig.evaluate, the whole, offsets known", whole),
        ("offsets of pmi and contrast, once a set", offsets),
        (f"for comparison: a row an item, {sum(row.length for row in rows):,} tokens", alone),
    ])  # fmt: skip
    print(f"one sequence an option: {sum(row.length for row in single):,} tokens")


def conditions(work: Evaluating) -> float:
    """Print and return the time of all conditions as in a run, over as many evaluations apart."""
    single = run_rows(work.lm, work.one_sequence_an_option())
    together, apart, plain = best_of(1, work.together, work.apart, single)
    number = len(work.sets)
    first = sorted({min(n.layer for n in s) for s in work.sets if s is not None})
    print(
        f"\n{number} conditions, {len(work.items)} items; the lowest layers that sets change: {', '.join(map(str, first))}"
    )
    print(f"{'as in a run: offsets once':<66}{together:9.2f}")
    print(f"{'separate evaluations, without start and loading':<66}{apart:9.2f}")
    print(f"{f'{number} x one sequence an option, without offsets':<66}{number * plain:9.2f}")
    print(f"{'as in a run / separate evaluations':<66}{together / apart:9.3f}   <= 0.6")
    print(f"{'as in a run / one sequence an option':<66}{together / number / plain:9.3f}")
    return together / apart


def whole_padding(lm: LanguageModel) -> None:
    """Print the share of padding of the quickstart's whole sets; a part of them fills its batches less well."""
    policy = lm.policy()
    neur, test = (encode(render(d.load(0), policy), lm.tokenizer, policy, lm.max_length) for d in (NEUR, TEST))
    scored = batches([Row(i, e.prompt_ids, e.answer_ids) for i, e in enumerate(neur)], lm.token_budget)
    print(
        f"padding of the whole sets: scoring {padding(scored):.2%}, evaluation {padding(answer_batches(test, lm.token_budget)):.2%}"
    )


def sets_of(run: Path) -> list[NeuronSet | None]:
    """Return the conditions of a run: None for the untouched model, then its sets."""
    files = [file for file in sorted((run / "neurons").glob("*.json")) if not file.name.startswith(LEFT_OUT)]
    return [None, *(NeuronSet.load(file) for file in files)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.floor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="a finished run, for its sets")
    parser.add_argument("--part", type=int, default=8, help="take every n-th item; 1 is all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=["scoring", "evaluation", "conditions"])
    given = parser.parse_args(arguments)
    wanted = given.only or ["scoring", "evaluation", "conditions"]
    if "conditions" in wanted and not (given.run / "neurons").is_dir():
        print(
            f"python -m bench.floor: {given.run} is no finished run; say `make run`, or --only scoring evaluation",
            file=sys.stderr,
        )
        return 2
    lm = culnig.load_model(given.model)
    print(
        f"{lm.name}, {torch.get_num_threads()} threads, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    )
    whole_padding(lm)
    if "scoring" in wanted:
        ratio = scoring(lm, NEUR.load(0)[:: given.part], given.repeats)
        print(f"{'scoring / plain forward, the same kernels':<66}{ratio:9.3f}   <= 2.2")
    work = Evaluating(lm, TEST.load(0)[:: given.part], sets_of(given.run) if "conditions" in wanted else [None])
    if "evaluation" in wanted:
        evaluating(work, given.repeats)
    if "conditions" in wanted:
        conditions(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
