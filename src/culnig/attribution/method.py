"""What a scoring method is, and the registry of methods.

`culnig.attribution.names` says how a method's name carries its options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import torch

from culnig.attribution.names import NAMED, Named, parse_name
from culnig.errors import UsageError
from culnig.neurons import Site
from culnig.registry import Registry

if TYPE_CHECKING:
    from culnig.attribution.batch import ScoringBatch
    from culnig.attribution.store import Scores
    from culnig.models import LanguageModel

PerModule = Callable[[str], np.ndarray]
"""Module -> an array [.., L, N]."""
Divisor = Callable[["Scores"], Any]
"""What a score file's sums are divided by: an int for totals, [G, 1, 1] for groups."""
Target = Literal["p", "logp", "diff", "odds"]
Positions = Literal["max", "sum", "mean", "last", "absmax"]
"""How the contributions at a prompt's positions become one number."""
MAXIMA = ("max", "absmax")
"""The positions that take a maximum, of which the published rule clamps the controls at 0."""


@dataclass(slots=True)
class Seen:
    """What a method is shown of one site, or of one expert of it, in one batch.

    Attributes:
        work: the batch.
        site: which site.
        first: index of the first of these neurons in the site.
        value: [B, T, N].
        gradient: [B, T, N], d log P / d value, or that of the logit difference; None in a forward pass.
        real: [B, T], True at tokens, False at padding; None where there is no padding.
        probability: [B], P(gold answer); None in a forward pass.
    """

    work: ScoringBatch
    site: Site
    first: int
    value: torch.Tensor
    gradient: torch.Tensor | None
    real: torch.Tensor | None
    probability: torch.Tensor | None

    @property
    def last(self) -> torch.Tensor:
        """[B], index of each prompt's last position, where its answer is predicted."""
        return self.work.last_on(self.value.device)


class Method(Named):
    """A way to score neurons.

    Derive from `GradientMethod`, `ValueMethod` or `SweepMethod`; fields are options.  Larger must mean "more important".

    Attributes:
        statistics: suffixes of the statistics that are summed, "" first; `name + suffix` names the tensor.
        pooled: the sums still mean something when groups are pooled; per-block sums are kept of such methods.
        uses_control, uses_surface: whether selection looks at the scores of controls, and of country reading.
        compares_groups: `specific` compares groups itself: selection asks for no z-score besides.
        share: the share of a pool that selection takes unless told; None leaves it to the selection's rule.
        version: version of the formula; raise it where the same name, items and model give other scores.
    """

    statistics: ClassVar[tuple[str, ...]] = ("",)
    pooled: ClassVar[bool] = True
    uses_control: ClassVar[bool] = True
    uses_surface: ClassVar[bool] = True
    compares_groups: ClassVar[bool] = False
    share: ClassVar[float | None] = None

    @property
    def version(self) -> int:
        return 1

    def modules(self, lm: LanguageModel) -> list[str]:
        """The modules whose neurons it scores."""
        return list(lm.shapes)

    def check(self, lm: LanguageModel) -> None:
        """Raise a ModelError if the model lacks what the method needs."""

    def culture_general_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        """What culture-general neurons are ranked by, [L, N]: S(neur) - S(ctrl)."""

        def rank(module: str) -> np.ndarray:
            own = neur.total(module, self.name) / divisor(neur)
            return own if ctrl is None else own - ctrl.total(module, self.name) / divisor(ctrl)

        return rank

    def culture_specific_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        """What a group's neurons are ranked by, [G, L, N]: S_c(neur) - S_c(ctrl)."""

        def mean(scores: Scores, module: str) -> np.ndarray:
            return scores.sums[self.name, module].astype(np.float64) / divisor(scores)

        return lambda module: mean(neur, module) if ctrl is None else mean(neur, module) - mean(ctrl, module)

    def surface_rank(self, crc: Scores, ctrl: Scores | None, group: str | None = None) -> PerModule:
        """What neurons are removed by, [L, N]: S(crc), of one group or of all."""
        return crc.of_group(group) if group is not None else crc.total


class Weighted(Method):
    """The options of methods that estimate what a neuron gives to the right answer.

    Attributes:
        target: what is measured: P(gold), log P(gold), the logit difference gold - best wrong option (`diff`), or the
            log-odds of the gold option against all others together (`odds`).
        weight: an item's score is multiplied by P(gold), its confidence, or not.
        controls: the scores of control items are clamped at 0 from below, or keep their sign.  `auto` clamps maxima over
            positions, as published, and leaves signed sums alone: a clamped sum is the estimate of nothing.
    """

    target: Target = "p"
    weight: Literal["weighted", "unweighted"] = "weighted"
    controls: Literal["auto", "clamped", "signed"] = "auto"

    @property
    def clamps(self) -> bool:
        """Whether scores of control items are clamped at 0 from below."""
        return self._takes_maximum if self.controls == "auto" else self.controls == "clamped"

    @property
    def enters_padding(self) -> bool:
        """Whether a padded position's 0 would change the score: in a maximum."""
        return getattr(self, "positions", None) == "max"

    @property
    def _takes_maximum(self) -> bool:
        return getattr(self, "positions", None) in MAXIMA

    @property
    def version(self) -> int:
        """2 for methods whose controls were clamped in version 1."""
        return 1 if self.clamps else 2

    def finish(self, work: ScoringBatch, scores: torch.Tensor) -> torch.Tensor:
        """Clamp and weight the scores [B, N] of a batch's prompts, as the options say."""
        return work.finish(scores, self.weight, controls=self.clamps, padded=self.enters_padding)

    def implied(self, field: str) -> bool:
        """Return whether the option says what `auto` means here."""
        return field == "controls" and (self.controls == "clamped") == self._takes_maximum

    @property
    def objective(self) -> str:
        """The scalar that a backward pass starts from: log P serves P as well, d P = P * d log P."""
        return self.target if self.target in ("diff", "odds") else "logp"


class Positional(Weighted):
    """The options of methods that put the contributions at a prompt's positions together.

    Attributes:
        positions: how, as `positions.together` does it.
        first: the prompt's first token, BOS where there is one, counts or is left out: attention rests on it
            whatever is asked (an attention sink).
    """

    positions: Positions = "max"
    first: Literal["keep_first", "skip_first"] = "keep_first"


class GradientMethod(Positional):
    """Makes a contribution at every position of value and gradient, and puts the positions together.

    Attributes:
        rules: gradients of the model as it is, or relevance-propagating ones.
    """

    rules: ClassVar[Literal["plain", "relevance"]] = "plain"

    def contribution(self, seen: Seen) -> torch.Tensor:
        """The estimate at every position, [B, T, N], in a tensor of its own (it is overwritten)."""
        raise NotImplementedError


class ValueTimesGradient(GradientMethod):
    """The contribution n * d target / dn: what zeroing n takes from the target, to first order.

    Attributes:
        place: where an MLP neuron is looked at: at its site, or at the input of the output projection,
            h = act(gate) * up (act of the one site without a gate; `hook_post` in TransformerLens).  Zeroing gate
            neuron k zeroes h_k, so h_k * dP/dh_k is its exact first-order term; gate_k * dP/dgate_k is not.
    """

    place: Literal["site", "product"] = "site"

    def contribution(self, seen: Seen) -> torch.Tensor:
        assert seen.gradient is not None
        return seen.value * seen.gradient


class ValueMethod(Method):
    """Measures values in a forward pass; nothing is weighted by confidence or clamped.

    Attributes:
        place: the values it is shown: those of the sites, or the products act(gate) * up that the MLP's output
            projection reads (shown for the gate and the up site) with the values of v.
    """

    place: ClassVar[Literal["site", "product"]] = "site"

    def measure(self, seen: Seen) -> Sequence[torch.Tensor]:
        """A [B, N] tensor for each of `statistics`."""
        raise NotImplementedError


class SweepMethod(Method):
    """Runs passes of its own.

    Attributes:
        runs_passes: whether the model runs at all.
    """

    runs_passes: ClassVar[bool] = True

    def sweep(self, work: ScoringBatch) -> Iterator[tuple[Site, int, torch.Tensor]]:
        """(site, index of the first neuron, what the sums get, [B, N]) for all neurons of `work.sites`."""
        raise NotImplementedError


METHODS = cast("Registry[type[Method]]", NAMED)


def parse_method(text: str) -> Method:
    """ "culnig:sum" -> the method with its options.

    Raises:
        UsageError: no such method or option, or a value out of range.
    """
    return cast(Method, parse_name(text))


def scoring_version(methods: Sequence[Method]) -> int:
    """Version of the formulas of a job's methods, for its score file."""
    return max(method.version for method in methods)


def parse_methods(text: str | Sequence[str]) -> list[Method]:
    """ "culnig,culnig:sum" or a list of names -> methods, in order.

    Raises:
        UsageError: none, one twice, or one that is unknown.
    """
    names = text.split(",") if isinstance(text, str) else list(text)
    methods = [parse_method(name) for name in names if name.strip()]
    if not methods:
        raise UsageError(f"no method named; there are: {', '.join(METHODS.names())}")
    seen: set[str] = set()
    for method in methods:
        if method.name in seen:
            raise UsageError(f"method '{method.name}' is named twice")
        seen.add(method.name)
    return methods
