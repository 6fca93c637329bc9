"""Exact checks of a state of the model on development data: what culture lost, and what each guard lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from culnig.evaluation import EvalResult, TextResult, compare, compare_text, evaluate, perplexity
from culnig.guarded.data import GuardedData
from culnig.guarded.settings import PERPLEXITY
from culnig.models import LanguageModel
from culnig.prompts import PromptPolicy


@dataclass(frozen=True)
class Change:
    """A change against the untouched model.

    Attributes:
        name: culture, a protected set, or perplexity.
        change: of accuracy (negative is worse); for perplexity the ratio minus 1 (positive is worse).
        low, high: ends of the 95 % interval.
        log_odds: change of the mean log-odds, nats; for perplexity the change of the loss of a token, nats.
        p_gold: change of the mean P(gold), calibrated; 0 for perplexity.
    """

    name: str
    change: float
    low: float
    high: float
    log_odds: float
    p_gold: float = 0.0

    @property
    def harm(self) -> float:
        """How much worse it is, as a share: the rise of perplexity, or the fall of P(gold).

        On a hundred items accuracy moves by whole points when single answers flip; P(gold) moves with every item.
        """
        return self.change if self.name == PERPLEXITY else -self.p_gold

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Checks:
    """The untouched model's results on the data to check by, to compare later states with."""

    def __init__(self, lm: LanguageModel, data: GuardedData, policy: PromptPolicy) -> None:
        self._lm = lm
        self._data = data
        self._policy = policy
        self.items = {"culture": data.culture.check} | {name: part.check for name, part in data.protect.items()}
        self._untouched = self._measure()

    @property
    def number(self) -> int:
        """The number of items and texts of a check."""
        return sum(map(len, self.items.values())) + len(self._data.texts[1])

    def _measure(self, progress: Callable[[int], None] | None = None) -> tuple[dict[str, EvalResult], TextResult]:
        results = {
            name: evaluate(self._lm, items, policy=self._policy, progress=progress)
            for name, items in self.items.items()
        }
        return results, perplexity(self._lm, self._data.texts[1], bos=self._policy.bos, progress=progress)

    def now(self, progress: Callable[[int], None] | None = None) -> dict[str, Change]:
        """Compare the model's present state with the untouched one: culture, each protected set, perplexity."""
        results, text = self._measure(progress)
        found = {}
        for name, result in results.items():
            c = compare(result, self._untouched[0][name])
            odds, p_gold = (
                compare(result, self._untouched[0][name], metric).difference for metric in ("log_odds", "p_gold")
            )
            found[name] = Change(name, c.difference, c.low, c.high, odds, p_gold)
        t = compare_text(text, self._untouched[1])
        loss = float(
            -(text.rows["logprob"].sum() - self._untouched[1].rows["logprob"].sum()) / text.rows["tokens"].sum()
        )
        found[PERPLEXITY] = Change(PERPLEXITY, t.ratio - 1, t.low - 1, t.high - 1, loss)
        return found


def crossed(changes: dict[str, Change], harm: dict[str, float]) -> list[str]:
    """Return the guards that are worse than their budgets allow, by point estimates; a budget names what is checked."""
    return [name for name, most in harm.items() if changes[name].harm > most + 1e-12]
