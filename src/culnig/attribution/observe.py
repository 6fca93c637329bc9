"""Catching value and gradient at every site, and reducing them while the pass goes by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch

from culnig.attribution.batch import Placed, ScoringBatch
from culnig.attribution.method import GradientMethod, Seen, ValueMethod
from culnig.attribution.positions import mean_of, together
from culnig.attribution.relevance import relevance_gradients
from culnig.models import LanguageModel
from culnig.models.downstream import is_gated, output_projection
from culnig.models.sites import SiteModule
from culnig.neurons import UP_OF, VALUE, Site, mlp_of
from culnig.passes.experts import Tap, gated, tapped
from culnig.passes.forward import Batch, Row, answer_logprobs
from culnig.passes.trees import make_batch

Shape = Callable[[], torch.Size]
"""Gives [B, T] of the batch that is running."""


class Sink(Protocol):
    """Takes a site's value, and in a backward pass its gradient."""

    def __call__(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        """Called once a site, or once for each expert of it that the batch reached.

        Args:
            site: which site.
            value, gradient: [B, T, N]; of an expert's neurons 0 where the token went elsewhere.
            first: the index of the first of these N neurons in the site.
        """
        ...


@contextmanager
def sites_reporting_to(
    lm: LanguageModel,
    sink: Sink | None,
    *,
    values_to: Sink | None = None,
    only: Collection[Site] | None = None,
) -> Iterator[None]:
    """Within the block every backward pass hands each site's value and gradient to `sink`, every forward pass its value
    to `values_to`.

    The value lives in the graph until the site's turn and is dropped with it: nothing of size [B, T, N] is kept.

    Args:
        lm: the model.
        sink, values_to: what takes them; None for nothing.
        only: these sites; None is all.
    """
    by_module: dict[torch.nn.Module, list[SiteModule]] = {}
    for site, found in lm.sites.items():
        if only is None or site in only:
            by_module.setdefault(found.module, []).append(found)
    with ExitStack() as stack:
        shape = stack.enter_context(shape_of_inputs(lm.layers[0]))
        for module, parts in by_module.items():
            if parts[0].stacked is None:
                handle = module.register_forward_hook(_watch(parts, sink, values_to, shape))
                stack.callback(handle.remove)
            else:
                stack.enter_context(tapped(module, _watch_experts(parts, sink, values_to, shape)))
        yield


def _watch(parts: list[SiteModule], sink: Sink | None, values_to: Sink | None, shape: Shape) -> Callable[..., None]:
    def on_forward(module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        value = output.detach()
        if value.ndim != 3:  # a layer that flattens its input (OPT), or latents [B, 1, T, rank] (DeepSeek)
            value = value.reshape(*shape(), -1)
        if values_to is not None:
            for part in parts:
                values_to(part.site, part.take(value), None)
        if sink is None or not output.requires_grad:
            return

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                sink(part.site, part.take(value), part.take(gradient.reshape(value.shape)))

        output.register_hook(on_gradient)

    return on_forward


def _watch_experts(parts: list[SiteModule], sink: Sink | None, values_to: Sink | None, shape: Shape) -> Tap:
    """One expert at a time: [B, T, neurons of the expert], 0 where a token was not routed to it.

    A value that is not computed takes nothing from P when it is zeroed, so such a position scores 0.
    """

    def tap(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        value, size = output.detach(), shape()
        if values_to is not None:
            for part in parts:
                values_to(part.site, spread(part.take(value), tokens, size), None, expert * part.expert_width)
        if sink is None or not output.requires_grad:
            return output

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                v, g = (spread(part.take(whole), tokens, size) for whole in (value, gradient))
                sink(part.site, v, g, expert * part.expert_width)

        output.register_hook(on_gradient)
        return output

    return tap


def spread(values: torch.Tensor, tokens: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """An expert's [n, N] at the positions that were routed to it -> [B, T, N], 0 elsewhere."""
    everywhere = values.new_zeros(shape.numel(), values.shape[-1])
    return everywhere.index_copy_(0, tokens, values).view(*shape, -1)


@contextmanager
def shape_of_inputs(layer: torch.nn.Module) -> Iterator[Shape]:
    """A function that gives [B, T] of the layer's latest input; experts, and some MLPs, see it flattened."""
    latest: list[torch.Size] = []

    def note(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        latest[:] = [hidden.shape[:2]]

    handle = layer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield lambda: latest[0]
    finally:
        handle.remove()


Emit = Callable[[str, Site, int, torch.Tensor], None]
"""Takes (statistic, site, index of the first neuron, [B, N])."""
Watch = Callable[[Site, Seen, torch.Tensor], None]
"""Takes (site, what was seen, contributions at every position [B, T, N]), which are overwritten afterwards."""


def run_pass(
    work: ScoringBatch,
    gradients: Sequence[GradientMethod],
    values: Sequence[ValueMethod],
    emit: Emit,
    *,
    watch: Watch | None = None,
) -> None:
    """Run the batch once and hand what the methods make of it to `emit`.

    Args:
        work: the batch.
        gradients: methods of one kind of rules.
        values: methods that need the forward pass alone.
        emit: takes the results.
        watch: sees the contributions at every position before they are put together; again where a pass is repeated.
    """
    if work.loss_scale == 1.0:
        _run_once(work, gradients, values, emit, watch)
        return
    found: list[tuple[str, Site, int, torch.Tensor]] = []
    while not _run_once(work, gradients, values, lambda *entry: found.append(entry), watch):
        found.clear()
    for entry in found:
        emit(*entry)


def _run_once(
    work: ScoringBatch,
    gradients: Sequence[GradientMethod],
    values: Sequence[ValueMethod],
    emit: Emit,
    watch: Watch | None = None,
) -> bool:
    """Run the batch; False where a float16 gradient has overflowed, and a smaller loss scale is worth a try."""
    reduce = _Reduction(work, gradients, emit, watch)
    at_sites = [m for m in values if m.place == "site"]
    at_products = [m for m in values if m.place == "product"]
    with ExitStack() as stack:
        measure = _measuring(work, at_sites, emit) if at_sites else None
        sink = reduce if gradients else None
        observed = set(work.sites)
        if any(_at_product(method) for method in gradients):
            if is_gated(work.lm):
                observed |= {site for site in work.lm.sites if site.module in UP_OF.values()}
            else:
                stack.enter_context(ungated_products_reporting_to(work.lm, reduce.at_product))
        stack.enter_context(sites_reporting_to(work.lm, sink, values_to=measure, only=observed))
        if at_products:
            stack.enter_context(products_reporting_to(work.lm, _measuring(work, at_products, emit)))
        if any(method.rules == "relevance" for method in gradients):
            stack.enter_context(relevance_gradients(work.lm, work.prompts.cache.setdefault("norms", {})))
        if gradients:
            return _differentiate(work, reduce, list(dict.fromkeys(m.objective for m in gradients)))
        with torch.no_grad():
            work.logprobs()
        return True


def _differentiate(work: ScoringBatch, reduce: _Reduction, objectives: list[str]) -> bool:
    """Run backward from each objective; False where a gradient has overflowed."""
    embedded = work.embedded()
    with torch.enable_grad():
        logprobs = work.logprobs(embedded)
        work.probability = work.objective("logp", logprobs).detach().exp()
        for objective in objectives:
            reduce.objective = objective
            more = objective != objectives[-1]
            (work.objective(objective, logprobs).sum() * work.loss_scale).backward(retain_graph=more)
    assert embedded.grad is not None
    # Only float16 is scaled; looking at the gradient makes the host wait for a GPU.
    return work.loss_scale == 1.0 or bool(embedded.grad.isfinite().all()) or not work.reduce_loss_scale()


class _Reduction:
    """The sink of a backward pass: value and gradient -> each method's weighted score per item."""

    def __init__(
        self, work: ScoringBatch, methods: Sequence[GradientMethod], emit: Emit, watch: Watch | None = None
    ) -> None:
        self.work = work
        self.methods = methods
        self.emit = emit
        self.watch = watch
        self.objective = ""

    def __call__(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        at_site = [method for method in self.methods if not (_at_product(method) and mlp_of(site.module))]
        self._reduce(at_site, self._seen(site, value, gradient, first), [site])
        if site.module in UP_OF.values():
            # h = act(gate) * up, so h * dP/dh = up * dP/dup.
            self.at_product(site, value, gradient, first)

    def at_product(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        """Take what has the contributions of products: the up site, or the product itself where there is none."""
        methods = [method for method in self.methods if _at_product(method)]
        sites = [own for module in mlp_of(site.module) if (own := Site(module, site.layer)) in self.work.lm.sites]
        self._reduce(methods, self._seen(site, value, gradient, first), sites)

    def _seen(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int) -> Seen:
        work, device = self.work, value.device
        if gradient is not None and work.loss_scale != 1.0:
            gradient = gradient.float() / work.loss_scale
        return Seen(work, site, first, value, gradient, work.real_on(device), work.probability_on(device))

    def _reduce(self, methods: Sequence[GradientMethod], seen: Seen, sites: Sequence[Site]) -> None:
        """Give each site the scores of the methods that belong to the backward pass that is running."""
        for method in methods:
            if method.objective == self.objective:
                for site in sites if self.watch else ():
                    self.watch(site, seen, method.contribution(seen))  # type: ignore[misc]  # not None here
                scores = reduced(method, seen)
                if len(sites) > 1 and method.rules == "relevance":
                    scores *= 2  # the rules have given either factor half of the product's worth
                scores = method.finish(self.work, scores)
                for site in sites:
                    self.emit(method.name, site, seen.first, scores)


def _at_product(method: GradientMethod) -> bool:
    return getattr(method, "place", "site") == "product"


def _measuring(work: ScoringBatch, methods: Sequence[ValueMethod], emit: Emit) -> Sink:
    def measure(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        seen = Seen(work, site, first, value, None, work.real_on(value.device), None)
        for method in methods:
            if site.module in method.modules(work.lm):
                for part, measured in zip(method.statistics, method.measure(seen), strict=True):
                    emit(method.name + part, site, first, measured)

    return measure


def run_twins(work: ScoringBatch) -> None:
    """A forward pass over the control prompts of the batch's rows, which leaves each site's means in `work.twin_means`."""
    twins = work.prompts.twins
    assert twins is not None
    batch = make_batch(work.lm, [Row(key, twins[key].prompt_ids, twins[key].answer_ids) for key in work.keys])
    work.twin_means = {}
    with sites_reporting_to(work.lm, None, values_to=_averaging(work, batch)), torch.no_grad():
        answer_logprobs(work.lm, batch)


def _averaging(work: ScoringBatch, batch: Batch) -> Sink:
    padding = Placed(batch.real) if batch.real is not None else None

    def average(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        assert work.twin_means is not None
        real = padding.on(value.device) if padding is not None else None
        if site not in work.twin_means:
            work.twin_means[site] = value.new_zeros(len(value), work.lm.sites[site].width, dtype=torch.float32)
        work.twin_means[site][:, first : first + value.shape[-1]] = mean_of(value, real)

    return average


@contextmanager
def products_reporting_to(lm: LanguageModel, sink: Sink) -> Iterator[None]:
    """Within the block every forward pass hands act(gate) * up to `sink`, for the gate and the up site alike, and v's values.

    In an MLP without a gate it is act of the one site.
    """
    with ExitStack() as stack:
        shape = stack.enter_context(shape_of_inputs(lm.layers[0]))
        mlps = [(layer, pair) for layer in range(lm.num_layers) for pair in UP_OF.items()]
        for layer, pair in mlps:
            sites = [site for module in pair if (site := Site(module, layer)) in lm.sites]
            if not sites:
                continue
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


@contextmanager
def ungated_products_reporting_to(lm: LanguageModel, sink: Sink) -> Iterator[None]:
    """Within the block every backward pass hands act(x) of MLPs without a gate, and its gradient, to `sink`, as the gate site."""
    with ExitStack() as stack:
        shape = stack.enter_context(shape_of_inputs(lm.layers[0]))
        for site in [site for site in lm.sites if site.module in UP_OF]:
            reader = output_projection(lm, site)
            stack.callback(reader.register_forward_pre_hook(_ungated_products(site, shape, sink)).remove)
        yield


def _ungated_products(site: Site, shape: Shape, sink: Sink) -> Callable[..., None]:
    def before(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].requires_grad:
            value = args[0].detach()
            value = value.unflatten(0, shape()) if value.ndim == 2 else value
            args[0].register_hook(lambda gradient: sink(site, value, gradient.reshape(value.shape)))

    return before


def _products(sites: list[Site], shape: Callable[[], torch.Size], sink: Sink) -> Callable[..., None]:
    def before(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        product = args[0].detach()
        for site in sites:
            sink(site, product.unflatten(0, shape()) if product.ndim == 2 else product, None)

    return before


def _expert_products(module: Any, sites: list[Site], width: int, shape: Callable[[], torch.Size], sink: Sink) -> Tap:
    def tap(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        product = spread(gated(module, output.detach()), tokens, shape())
        for site in sites:
            sink(site, product, None, expert * width)
        return output

    return tap


def reduced(method: GradientMethod, seen: Seen) -> torch.Tensor:
    """Put a method's contributions together: float32 [B, N], before weighting by confidence and clamping of controls."""
    assert seen.probability is not None
    scores = together(method, method.contribution(seen), seen.real, seen.last)
    return scores * seen.probability[:, None] if method.target == "p" else scores
