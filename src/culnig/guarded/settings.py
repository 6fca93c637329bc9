"""The settings of a guarded selection, and how a budget of harm is written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from culnig.errors import UsageError
from culnig.settings import Settings

PERPLEXITY = "perplexity"
Choice = Literal["greedy", "mask", "ratio", "difference", "veto"]
Replacement = Literal["suppress", "mean", "control"]


class GuardedSettings(Settings):
    """How a set is searched for; margins hold on development data.

    `harm` maps what is protected to the most it may lose: `perplexity` to a rise as a share (0.05 is 5 %), and a protected
    data set to a fall of P(gold), the probability of the right answer among the options, as a share (0.01 is one point).
    """

    method: Choice = Field(
        "greedy",
        description="greedy ranks again in every round; mask learns which neurons to silence together; ratio, difference and"
        " veto rank once",
    )
    harm: dict[str, float] = Field(
        {PERPLEXITY: 0.05}, description="guard -> the most that it may get worse, as a share"
    )
    max_neurons: int = Field(150, ge=1, description="neurons in the set at most")
    target: float | None = Field(
        None, gt=0.0, le=1.0, description="stop at this drop of culture accuracy (0.2: 20 points)"
    )
    modules: list[str] = Field(["mlp.gate_proj"], description="modules to take neurons of; [] is all")
    operation: Replacement = Field(
        "suppress",
        description="what is done to the neurons: zero, their mean over the culture items, or over the controls",
    )
    score: str | None = Field(
        None,
        description="signed scoring method of items; without `unweighted` an item counts by P(gold), so less once it is lost;"
        " null: culnig:sum:odds:unweighted:product, and atp:dataset:odds:unweighted where values are replaced",
    )
    step: int = Field(20, ge=1, description="neurons that a round adds")
    items: int = Field(
        480, ge=4, description="culture items, controls and items of each protected set that a round ranks by, at most"
    )
    control_weight: float = Field(0.5, ge=0.0, description="weight of the controls' log-odds beside culture's")
    texts: int = Field(48, ge=2, description="texts sampled from the model that a round's text cost is taken on")
    checked: int = Field(240, ge=8, description="items of each data set that a round is checked on")
    text_weight: float = Field(
        40.0, ge=0.0, description="log-odds of culture (nats) that a nat a token of text is worth"
    )
    protect_weight: float = Field(1.0, ge=0.0, description="weight of a protected set's log-odds beside culture's")
    least_gain: float = Field(
        0.02, ge=0.0, lt=1.0, description="a neuron must gain this share of the best gain of the first round"
    )
    patience: int = Field(3, ge=1, description="rounds in a row that may be taken back before the search stops")
    backward: bool = Field(True, description="at the end, drop the neurons that are not needed")
    steps: int = Field(40, ge=2, description="mask: steps of learning")
    once: int = Field(4, ge=1, description="methods that rank once take so many times the items and texts of a round")
    vetoed: float = Field(
        0.01, gt=0.0, lt=1.0, description="difference and veto: share of neurons that are left out by their cost"
    )
    seed: int = Field(0, ge=0, description="seed of samples and of the model's own texts")

    @property
    def scored_by(self) -> str:
        """The scoring method, with its default."""
        replaced = self.operation != "suppress"
        default = "atp:dataset:odds:unweighted" if replaced else "culnig:sum:odds:unweighted:product"
        return self.score or default


def parse_harm(text: str) -> dict[str, float]:
    """Read "perplexity=5%,ability=1": percent for perplexity, points of P(gold) for data sets; returns shares.

    Raises:
        UsageError: a part is not NAME=NUMBER, a name stands twice, or a number is negative.
    """
    harm: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, number = part.partition("=")
        try:
            value = float(number.strip().removesuffix("%"))
        except ValueError:
            value = -1.0
        if not name or value < 0:
            raise UsageError(f"--harm {part}: write NAME=NUMBER, such as perplexity=5% or ability=1 (points)")
        if name in harm:
            raise UsageError(f"--harm names {name} twice")
        harm[name] = value / 100
    return harm
