"""One architecture, the whole way: a tiny random model is scored, suppressed, evaluated, and exported, and each step checked.

What is checked does not use the map of sites that it checks:

- scores: the derivative of P by a factor on a neuron, from two evaluations with its weights scaled.
- answers packed behind one prompt (cf): each option as a sequence of its own.
- suppression: edited weights against hooks, and the model afterwards against the model before.
- sites: attention without values depends on no query and key, without queries on no key, and an MLP without its gate on
  no up neuron; the MLP's output is affine in the up neurons, and not in the gate.
- export: the folder, read by transformers alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import culnig
from bench import tiny
from culnig import Neuron, NeuronSet
from culnig.errors import ModelError
from culnig.intervention import Operation
from culnig.intervention.export import export
from culnig.models import LanguageModel
from culnig.models.downstream import holder
from culnig.models.quiet import quiet
from culnig.neurons import GATE, KEY, QUERY, SHARED_GATE, SHARED_UP, UP, VALUE, Site, widths_of
from culnig.passes.answers import answers_of
from culnig.passes.forward import no_branches
from culnig.prompts import PromptPolicy, encode, render

IDS = torch.arange(7, 45).reshape(2, 19)
CLOSE = 1e-4
"""Largest difference of logits, as a share of the largest: float32, in other orders."""
STEPS = (0.005, 0.001, 0.02)
"""Changes of a neuron's factor; a router may jump within one of them, and then another is tried."""
ENOUGH, MOST = 2, 5
"""Of so many neurons of each module, so many must agree: there may be tokens that a router has all but put elsewhere."""
DERIVATIVE = 2e-2
"""Largest difference of a score and the derivative, as a share of the module's largest score."""


ADDS_TO_UP = ("gpt_oss", "minimax_m3_vl_text")
"""Families whose MLP is act(gate) * (up + 1)."""
NORMED = ("bitnet",)
"""Families with a norm behind act(gate) * up, which is affine in neither."""


class Wrong(Exception):
    """A step gave something else than its definition."""


@dataclass(frozen=True)
class Journey:
    """What came of one family.

    Attributes:
        family: the `model_type`.
        architecture: transformers' class.
        mlp, attention: what the neurons are outputs of, in words.
        no_cf: why cf is not possible; "" if it is.
    """

    family: str
    architecture: str
    mlp: str
    attention: str
    no_cf: str


def travel(family: str, **more: Any) -> Journey:
    """Run a family's tiny model the whole way.

    Raises:
        Wrong: a step is not right.
    """
    with quiet():
        model = tiny.build(family, **more)
        lm = LanguageModel(model, tiny.tokenizer(), name=family)
        reason = no_branches(lm)
        for formulation in ("mcf", "cf"):
            policy = PromptPolicy(formulation=formulation)
            if formulation == "cf" and reason:
                _check_refusal(lm, policy)
                continue
            _check_answers(lm, policy)
            _check_scores(lm, policy)
        _check_sites(lm)
        _check_suppression(lm)
        _check_export(lm)
    return Journey(family, type(lm.model).__name__, _mlp(lm), _attention(lm), reason)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= CLOSE * max(a.abs().max(), b.abs().max()))


def _expect(true: bool, what: str) -> None:
    if not true:
        raise Wrong(what)


def _check_refusal(lm: LanguageModel, policy: PromptPolicy) -> None:
    for work in (culnig.score, culnig.evaluate):
        try:
            work(lm, tiny.items(), policy=policy)
        except ModelError as error:
            _expect("score with mcf" in str(error), f"an error that does not help: {error}")
        else:
            raise Wrong("cf gives numbers although answers see each other")


def _check_answers(lm: LanguageModel, policy: PromptPolicy) -> None:
    """Log-probabilities of answers are those of one sequence an option; scores see the same ones as evaluation."""
    for e, (found, _) in zip(*_evaluated(lm, policy), strict=True):
        for answer, logprob in zip(e.answer_ids, found, strict=True):
            with torch.no_grad():
                alone = lm.model(input_ids=torch.tensor([e.prompt_ids + answer]), use_cache=False).logits[0]
            start = len(e.prompt_ids) - 1
            rows = alone[start : start + len(answer)].float().log_softmax(-1)
            expected = sum(rows[i, token].item() for i, token in enumerate(answer))
            _expect(
                abs(expected - logprob) <= CLOSE * max(1.0, abs(expected)), "answers behind one prompt see each other"
            )
    result = culnig.evaluate(lm, tiny.items(), policy=policy)
    _expect(len(result.rows) == len(tiny.items()), "evaluation leaves items out")


def _evaluated(lm: LanguageModel, policy: PromptPolicy) -> tuple[list[Any], list[Any]]:
    encoded = encode(render(tiny.items(), policy), lm.tokenizer, policy)
    return encoded, answers_of(lm, encoded)


def _check_scores(lm: LanguageModel, policy: PromptPolicy) -> None:
    """P * sum of n dP/dn is P * dP/da, where a multiplies the neuron's values at all positions."""
    items = tiny.items()[:1]
    scores = culnig.score(lm, items, policy=policy, method="culnig:sum")
    plain = culnig.score(lm, items, policy=policy)

    def probability() -> float:
        [encoded] = encode(render(items, policy), lm.tokenizer, policy)
        [(found, _)] = answers_of(lm, [encoded])
        p = np.exp(found - (np.logaddexp.reduce(found) if policy.formulation == "cf" else 0.0))
        return float(p[encoded.gold])

    p = probability()
    for module, shape in lm.shapes.items():
        sums = scores.sums[scores.method, module][0]
        own = np.arange(shape[1]) < np.array(widths_of(shape))[:, None]
        _expect(bool(np.isfinite(sums).all()) and np.abs(sums).max() > 0, f"{module} has no scores")
        _expect(
            not sums[~own].any() and not plain.sums["culnig", module][0][~own].any(), f"{module}: scores of no neuron"
        )
        right = 0
        for flat in np.argsort(-np.abs(sums), axis=None)[:MOST]:
            layer, index = divmod(int(flat), shape[1])
            neuron = NeuronSet([Neuron(module, layer, index)])
            wanted, close = float(sums[layer, index]), DERIVATIVE * np.abs(sums).max()
            right += any(abs(p * _derivative(lm, neuron, probability, step) - wanted) <= close for step in STEPS)
            if right == ENOUGH:
                break
        _expect(right >= ENOUGH, f"{policy.formulation}: {module} scores differ from the derivative")


def _derivative(lm: LanguageModel, neuron: NeuronSet, probability: Callable[[], float], step: float) -> float:
    found = []
    for factor in (1 + step, 1 - step):
        with culnig.scale(lm, neuron, factor, how="weights"):
            found.append(probability())
    return (found[0] - found[1]) / (2 * step)


def _all(lm: LanguageModel, module: str, layers: Sequence[int] | None = None) -> NeuronSet:
    widths = widths_of(lm.shapes[module])
    return NeuronSet(
        [Neuron(module, i, k) for i, width in enumerate(widths) if layers is None or i in layers for k in range(width)]
    )


def _check_sites(lm: LanguageModel) -> None:
    """Zeroing one module of every layer takes away what another can do."""
    latent = hasattr(lm.text_config, "qk_rope_head_dim") and hasattr(lm.text_config, "kv_lora_rank")
    # The key of latent attention has a part with positions, which is no neuron; gpt-oss adds 1 to the up neurons.
    pairs = [(VALUE, QUERY), (VALUE, KEY), (QUERY, KEY), *([] if latent else [(KEY, QUERY)])]
    if UP in lm.shapes:
        pairs += [(GATE, UP), *([] if lm.name in ADDS_TO_UP else [(UP, GATE)])]
    if SHARED_UP in lm.shapes:
        pairs += [(SHARED_GATE, SHARED_UP), *([] if lm.name in ADDS_TO_UP else [(SHARED_UP, SHARED_GATE)])]
    untouched = logits(lm.model)
    for gone, idle in pairs:
        with culnig.suppress(lm, _all(lm, gone), how="hooks"):
            without = logits(lm.model)
            _expect(not _same(without, untouched), f"{gone} does nothing")
            with culnig.scale(lm, _all(lm, idle), 3.0, how="hooks"):
                _expect(_same(logits(lm.model), without), f"{idle} acts where {gone} is zero")
    for gate, up in ((GATE, UP), (SHARED_GATE, SHARED_UP)):
        if up in lm.shapes and lm.name not in NORMED:
            for layer in sorted({site.layer for site in lm.sites if site.module == up}):
                _check_gate_and_up(lm, layer, gate, up)


def _check_gate_and_up(lm: LanguageModel, layer: int, gate: str, up: str) -> None:
    """The output of an MLP is affine in its up neurons and not in its gate: they are not taken for each other."""
    for module in (up, gate):
        outputs = []
        for factor in (1.0, 1.5, 2.0):
            with (
                culnig.scale(lm, _all(lm, module, [layer]), factor, how="hooks"),
                _output(lm, Site(module, layer)) as seen,
            ):
                logits(lm.model)
            outputs.append(seen[-1])
        affine = _same(outputs[2] - outputs[1] + outputs[0], outputs[1])
        _expect(affine == (module == up), f"{gate} and {up} of layer {layer} are taken for each other")


@contextmanager
def _output(lm: LanguageModel, site: Site) -> Iterator[list[torch.Tensor]]:
    seen: list[torch.Tensor] = []
    handle = holder(lm, site).register_forward_hook(
        lambda module, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        yield seen
    finally:
        handle.remove()


def _some(lm: LanguageModel) -> NeuronSet:
    """A third of the neurons of every site: some of every expert."""
    return NeuronSet([Neuron(*site, i) for site, found in lm.sites.items() for i in range(1, found.width, 3)])


def _check_suppression(lm: LanguageModel) -> None:
    before = logits(lm.model)
    found = []
    for how in ("weights", "hooks"):
        with culnig.suppress(lm, _some(lm), how=how):
            found.append(logits(lm.model))
            culnig.evaluate(lm, tiny.items(), formulation="mcf")
    _expect(_same(*found), "edited weights and hooks differ")
    _expect(not _same(found[0], before), "suppression does nothing")
    _expect(torch.equal(logits(lm.model), before), "the model is another one afterwards")


def _check_export(lm: LanguageModel) -> None:
    from transformers import AutoModelForCausalLM

    with culnig.suppress(lm, _some(lm)):
        expected = logits(lm.model)
    with tempfile.TemporaryDirectory() as folder:
        export(lm, _some(lm), Operation.parse("suppress"), Path(folder) / "out")
        loaded = AutoModelForCausalLM.from_pretrained(Path(folder) / "out", dtype=lm.dtype).eval()
        _expect(_same(logits(loaded), expected), "the exported model gives other logits")


def _mlp(lm: LanguageModel) -> str:
    kinds = {found.experts > 1 for site, found in lm.sites.items() if site.module == GATE}
    gate = "gate and up" if UP in lm.shapes else "no gate"
    text = gate if kinds == {False} else f"experts, {gate}"
    text += "; a plain MLP in some layers" if kinds == {True, False} else ""
    if SHARED_GATE in lm.shapes:
        return f"{text}; the shared expert beside them"
    own = {id(found.module) for found in lm.sites.values()}
    shared = [
        name
        for layer in lm.layers
        for name, module in layer.named_modules()
        if "shared" in name and id(module) not in own
    ]
    return text + ("; the shared expert is left out" if shared and True in kinds else "")


def _attention(lm: LanguageModel) -> str:
    having = sum(width > 0 for width in widths_of(lm.shapes[QUERY]))
    keys = sum(width > 0 for width in widths_of(lm.shapes[KEY]))
    if having < lm.num_layers:
        return "q, k, v in the layers with attention"
    return "q, k, v" if keys == having else "q; k and v in the layers that have their own"
