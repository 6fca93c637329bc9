"""Guards: is the model still a working model under a suppression, so that "culture fell" cannot mean "the model broke"?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from culnig.evaluation.comparing import compare
from culnig.evaluation.plain_text import TextResult, compare_text
from culnig.evaluation.results import EvalResult

READING_MARGIN = 0.05
PERPLEXITY_MARGIN = 0.10
FORMAT_MARGIN = 0.02

GUARD_RULE = (
    f"A suppression leaves the model intact if the whole 95 % interval of every guard lies within its margin (country"
    f" reading at most {100 * READING_MARGIN:.0f} points lower, perplexity on plain text at most"
    f" {100 * PERPLEXITY_MARGIN:.0f} % higher, answers outside the options at most {100 * FORMAT_MARGIN:.0f} points more"
    " frequent; the last in mcf only), has damaged it if the whole interval of any guard lies beyond its margin, and is"
    " open otherwise, or where a guard was not measured."
)
"""The rule of `verdict`, in one sentence."""

Against = EvalResult | Sequence[EvalResult]
"""The untouched model's result, or those of several random draws."""
State = Literal["within", "beyond", "open", "not measured"]
Verdict = Literal["intact", "damaged", "open"]


@dataclass(frozen=True)
class Guard:
    """One guard under one suppression.

    Attributes:
        name: "country reading" (accuracy), "plain text" (perplexity), "format: <test set>" (share outside the options).
        untouched, suppressed: its value without and with the suppression.
        change: suppressed - untouched; for perplexity suppressed / untouched - 1.
        low, high: ends of the 95 % interval of the change.
        margin: how much worse it may get, as a positive number.
        state: where the interval lies: within the margin, beyond it, or neither.
        units: questions or paragraphs that were resampled.
    """

    name: str
    untouched: float
    suppressed: float
    change: float
    low: float
    high: float
    margin: float
    state: State
    units: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def guards(
    *,
    reading: tuple[EvalResult, Against] | None = None,
    text: tuple[TextResult, TextResult | Sequence[TextResult]] | None = None,
    answers: Mapping[str, tuple[EvalResult, Against]] | None = None,
    seed: int = 0,
) -> list[Guard]:
    """The guards of one suppression, each from a pair (suppressed, untouched) of saved results.

    With several random draws in the place of the untouched model, a guard says how much worse than these the suppression
    is; its interval is over questions (paragraphs) and draws.

    Args:
        reading: results on country reading comprehension (`country_rc:test`).
        text: perplexity results.
        answers: test set -> results in which to look for answers outside the options.  A cf result has none, since there
            an option is always chosen; it gets no guard of format.
        seed: seed of the bootstrap.

    Returns:
        Country reading and plain text (not measured where the pair is None), then format by test set.
    """
    made = [
        _accuracy("country reading", reading, seed) if reading else _unmeasured("country reading", READING_MARGIN),
        _text(text, seed) if text else _unmeasured("plain text", PERPLEXITY_MARGIN),
    ]
    for name, (suppressed, untouched) in (answers or {}).items():
        if suppressed.meta.get("formulation") == "mcf":
            c = compare(suppressed, untouched, "outside_options", seed=seed)
            made.append(_guard(f"format: {name}", c.b, c.a, c.difference, (c.low, c.high), FORMAT_MARGIN, c.questions))
    return made


def verdict(found: Iterable[Guard]) -> Verdict:
    """Intact, damaged or open, by `GUARD_RULE`."""
    states = {guard.state for guard in found}
    if "beyond" in states:
        return "damaged"
    return "intact" if states == {"within"} else "open"


def measured(*several: Iterable[Guard]) -> list[str]:
    """Return the names of the guards that were measured in all of several suppressions, in the order of the first."""
    names = [[guard.name for guard in found if guard.state != "not measured"] for found in several]
    return [name for name in names[0] if all(name in others for others in names[1:])] if names else []


def verdict_on(names: Iterable[str], found: Iterable[Guard]) -> Verdict:
    """Return the verdict of some guards alone, so that suppressions with other guards can be compared."""
    wanted = set(names)
    return verdict(guard for guard in found if guard.name in wanted)


def _accuracy(name: str, pair: tuple[EvalResult, Against], seed: int) -> Guard:
    c = compare(*pair, seed=seed)
    return _guard(name, c.b, c.a, c.difference, (c.low, c.high), READING_MARGIN, c.questions, worse=-1)


def _text(pair: tuple[TextResult, TextResult | Sequence[TextResult]], seed: int) -> Guard:
    c = compare_text(*pair, seed=seed)
    interval = (c.low - 1, c.high - 1)
    return _guard("plain text", c.b, c.a, c.ratio - 1, interval, PERPLEXITY_MARGIN, c.paragraphs)


def _guard(
    name: str,
    untouched: float,
    suppressed: float,
    change: float,
    interval: tuple[float, float],
    margin: float,
    units: int,
    worse: int = 1,
) -> Guard:
    """`worse`: the sign of a change for the worse."""
    least, most = sorted(worse * end for end in interval)
    state: State = "within" if most <= margin else "beyond" if least > margin else "open"
    return Guard(name, untouched, suppressed, change, *interval, margin, state, units)


def _unmeasured(name: str, margin: float) -> Guard:
    nan = float("nan")
    return Guard(name, nan, nan, nan, nan, nan, margin, "not measured", 0)
