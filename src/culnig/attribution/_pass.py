"""One forward pass of a batch, with as many backward passes as its methods have objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from culnig.attribution._hooks import Sink, shape_of_inputs, sites_reporting_to, spread
from culnig.attribution._method import GradientMethod, Seen, ValueMethod
from culnig.attribution._positions import mean_of
from culnig.attribution._relevance import relevance_gradients
from culnig.attribution._work import Work, make_batch
from culnig.models import LanguageModel
from culnig.models._batch import Batch, Row, answer_logprobs
from culnig.models._experts import Tap, tapped
from culnig.models._readers import output_projection
from culnig.neurons import GATE, UP, VALUE, Site

Emit = Callable[[str, Site, int, torch.Tensor], None]
"""Takes (statistic, site, index of the first neuron, [B, N])."""


def run_pass(work: Work, gradients: Sequence[GradientMethod], values: Sequence[ValueMethod], emit: Emit) -> None:
    """Run the batch once and hand what the methods make of it to `emit`.

    Args:
        work: the batch.
        gradients: methods of one kind of rules.
        values: methods that need the forward pass alone.
        emit: takes the results.
    """
    reduce = _Reduction(work, gradients, emit)
    at_sites = [m for m in values if m.place == "site"]
    at_products = [m for m in values if m.place == "product"]
    with ExitStack() as stack:
        measure = _measuring(work, at_sites, emit) if at_sites else None
        sink = reduce if gradients else None
        stack.enter_context(sites_reporting_to(work.lm, sink, values_to=measure, only=work.sites))
        if at_products:
            stack.enter_context(products_reporting_to(work.lm, _measuring(work, at_products, emit)))
        if any(method.rules == "relevance" for method in gradients):
            stack.enter_context(relevance_gradients(work.lm))
        if gradients:
            _differentiate(work, reduce, list(dict.fromkeys(m.objective for m in gradients)))
        else:
            with torch.no_grad():
                work.logprobs()


def _differentiate(work: Work, reduce: _Reduction, objectives: list[str]) -> None:
    embedded = work.embedded()
    with torch.enable_grad():
        logprobs = work.logprobs(embedded)
        work.probability = work.objective("logp", logprobs).detach().exp()
        for objective in objectives:
            reduce.objective = objective
            more = objective != objectives[-1]
            work.objective(objective, logprobs).sum().backward(retain_graph=more)


class _Reduction:
    """The sink of a backward pass: value and gradient -> each method's weighted score per item."""

    def __init__(self, work: Work, methods: Sequence[GradientMethod], emit: Emit) -> None:
        self.work = work
        self.methods = methods
        self.emit = emit
        self.objective = ""

    def __call__(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        device = value.device
        real = self.work.batch.real.to(device) if self.work.batch.real is not None else None
        seen = Seen(self.work, site, first, value, gradient, real, self.work.probability.to(device))
        for method in self.methods:
            if method.objective == self.objective:
                self.emit(method.name, site, first, self.work.finish(method.score(seen), method.weight))


def _measuring(work: Work, methods: Sequence[ValueMethod], emit: Emit) -> Sink:
    def measure(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        real = work.batch.real.to(value.device) if work.batch.real is not None else None
        seen = Seen(work, site, first, value, None, real, None)
        for method in methods:
            if site.module in method.modules(work.lm):
                for part, measured in zip(method.parts, method.measure(seen), strict=True):
                    emit(method.name + part, site, first, measured)

    return measure


def run_twins(work: Work) -> None:
    """A forward pass over the control prompts of the batch's rows, which leaves each site's means in `work.twin_means`."""
    twins = work.prompts.twins
    assert twins is not None
    batch = make_batch(work.lm, [Row(key, twins[key].prompt_ids, twins[key].answer_ids) for key in work.keys])
    work.twin_means = {}
    with sites_reporting_to(work.lm, None, values_to=_averaging(work, batch)), torch.no_grad():
        answer_logprobs(work.lm, batch)


def _averaging(work: Work, batch: Batch) -> Sink:
    def average(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        assert work.twin_means is not None
        real = batch.real.to(value.device) if batch.real is not None else None
        if site not in work.twin_means:
            work.twin_means[site] = value.new_zeros(len(value), work.lm.sites[site].width, dtype=torch.float32)
        work.twin_means[site][:, first : first + value.shape[-1]] = mean_of(value, real)

    return average


@contextmanager
def products_reporting_to(lm: LanguageModel, sink: Sink) -> Iterator[None]:
    """Within the block every forward pass hands act(gate) * up to `sink`, for the gate and the up site alike, and v's values.

    In an MLP without a gate it is act of the one site.
    """
    mlp = [module for module in (GATE, UP) if module in lm.family.parts]
    with ExitStack() as stack:
        shape = stack.enter_context(shape_of_inputs(lm.layers[0]))
        for layer in range(lm.num_layers):
            sites = [Site(module, layer) for module in mlp]
            found = lm.sites[sites[0]]
            if found.stacked is not None:
                stack.enter_context(
                    tapped(found.module, _expert_products(found.module, sites, found.expert_width, shape, sink))
                )
            else:
                reader = output_projection(lm, sites[0])
                stack.callback(reader.register_forward_pre_hook(_products(sites, shape, sink)).remove)
        values = {site for site in lm.sites if site.module == VALUE}
        stack.enter_context(sites_reporting_to(lm, None, values_to=sink, only=values))
        yield


def _products(sites: list[Site], shape: Callable[[], torch.Size], sink: Sink) -> Callable[..., None]:
    def before(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        product = args[0].detach()
        for site in sites:
            sink(site, product.unflatten(0, shape()) if product.ndim == 2 else product, None)

    return before


def _expert_products(module: Any, sites: list[Site], width: int, shape: Callable[[], torch.Size], sink: Sink) -> Tap:
    def tap(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        product = spread(module._apply_gate(output.detach()), tokens, shape())
        for site in sites:
            sink(site, product, None, expert * width)
        return output

    return tap
