"""The first sentence of the page, and a verdict with its reasons; every number comes from the saved results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from culnig.formatting import interval, p_equals, points
from culnig.intervention import Operation

FEW_RANDOM = 20
"""Below so many random sets, their spread is known roughly."""
NAMES = {"culture": "Culture", "ability": "Ability", "facts": "Facts", "surface": "Country reading", "task": "Task"}
Numbers = Mapping[str, Any]


@dataclass
class Verdict:
    """What the top of the page says.

    Attributes:
        sentence: the finding for anyone.
        verdict: one sentence on what may be concluded.
        reasons: heading -> sentences.
    """

    sentence: str
    verdict: str
    reasons: dict[str, list[str]] = field(default_factory=dict)


def verdict_of(numbers: Numbers, model: str, operation: str, power: Mapping[str, float]) -> Verdict:
    """Say what the culture-general study found.

    Args:
        numbers: its numbers, as `results.json` holds them.
        model: name of the model.
        operation: what was done to the neurons.
        power: label of a test set -> the smallest drop that it can show, as a share.
    """
    fell, stayed = _by_outcome(numbers, power)
    alone = all(test["role"] == "culture" for test in numbers["tests"].values())
    nothing = "Only culture was asked." if alone else "Nothing that was measured stayed as it was."
    return Verdict(
        _sentence(numbers, model, operation),
        _conclusion(numbers),
        {
            "What fell": fell or ["Nothing fell by more than chance explains."],
            "What stayed": stayed or [nothing],
            "How sure": _how_sure(numbers),
            "What it does not show": _limits(numbers, operation),
        },
    )


def _sentence(numbers: Numbers, model: str, operation: str) -> str:
    drop, versus = numbers["drop"]["culture"], numbers["against_random"].get("culture")
    done = Operation.parse(operation)
    neurons = f"{numbers['neurons']:,} of its {numbers['neurons_in_model']:,} neurons"
    begin = f"Without {neurons}," if done.name == "suppress" else f"{done.doing(neurons)}:"
    text = f"{begin} {model} gets {_of_100(drop['a'])} of 100 questions about culture right, instead of {_of_100(drop['b'])}."
    if versus:
        how = "Without as many random neurons" if done.name == "suppress" else "With as many random neurons instead"
        text += f" {how}, it gets {_of_100(versus['b'])} right."
    return text


def _of_100(share: float) -> str:
    return f"{100 * share:.0f}"


def _conclusion(numbers: Numbers) -> str:
    drop, versus = numbers["drop"]["culture"], numbers["against_random"].get("culture")
    if drop["high"] >= 0:
        return "This run shows no loss of culture."
    if versus and versus["high"] >= 0:
        return "Culture fell, but this run does not show that it fell by more than under random neurons."
    text = "Culture fell, and by more than under random neurons" if versus else "Culture fell"
    others = [NAMES[role].lower() for role in ("facts", "ability") if _falls_beyond(numbers, role)]
    beyond = (_matched(numbers) or {}).get("low", -1) > 0
    if others:
        text += f", but {' and '.join(others)} fell too" + (", though by less than culture" if beyond else "")
    state = _guard(numbers).get("verdict")
    if state == "damaged":
        return f"{text}. The guards say that the model itself is damaged, so the loss is not of culture alone."
    if (guards := _guard(numbers).get("guards")) and all(guard["state"] == "not measured" for guard in guards):
        return f"{text}. Whether the model itself suffered was not measured."
    if state == "open":
        return f"{text}. The guards leave open whether the model itself suffered."
    return f"{text}. The guards find the model itself intact." if state else f"{text}."


def _falls_beyond(numbers: Numbers, role: str) -> bool:
    """Whether a role fell, and by more than under random sets where these were measured."""
    drop, versus = numbers["drop"].get(role), numbers["against_random"].get(role)
    return bool(drop and drop["high"] < 0 and (not versus or versus["high"] < 0))


def _by_outcome(numbers: Numbers, power: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """A sentence for each test set: those that fell, and the others."""
    fell, stayed = [], []
    for label, test in numbers["tests"].items():
        drop = test["drop"]
        if drop is None:
            continue
        change = (
            f"{drop['b']:.1%} to {drop['a']:.1%} ({points(drop['difference'])} points; 95 % interval {interval(drop)})"
        )
        text = f"{NAMES.get(test['role'], test['role'])} ({label}): {change}."
        if random := test["random_drops"]:
            text += f" Random sets: {points(min(random))} to {points(max(random))}."
        if drop["high"] < 0:
            fell.append(text)
            continue
        if drop["low"] > 0:
            text += " It rose."
        elif (least := power.get(label)) is not None and least == least:
            text += f" A drop of {100 * least:.1f} points or more would most likely have been seen."
        stayed.append(text)
    return fell, stayed


def _how_sure(numbers: Numbers) -> list[str]:
    drop, versus = numbers["drop"]["culture"], numbers["against_random"].get("culture")
    said = [f"The loss of culture against the untouched model: {p_equals(drop)}, from resampling the questions."]
    if versus:
        said.append(
            f"Against {int(versus['draws'])} random sets: {points(versus['difference'])} points ({interval(versus)};"
            f" {p_equals(versus)})."
        )
    if matched := _matched(numbers):
        low, high = points(-matched["high"]), points(-matched["low"])
        said.append(
            f"Of questions that were equally easy before, culture changed by {points(-matched['difference'])} points more than"
            f" facts ({low} to {high})."
        )
    return [*said, *_guards_said(numbers)]


def _guards_said(numbers: Numbers) -> list[str]:
    said = []
    for guard in _guard(numbers).get("guards", []):
        if guard["state"] == "not measured":
            said.append(f"Guard {guard['name']}: not measured.")
            continue
        unit = "% perplexity" if guard["name"] == "plain text" else "points"
        change, low, high = (points(guard[key]) for key in ("change", "low", "high"))
        state = {"within": "within its margin", "beyond": "beyond its margin", "open": "undecided"}[guard["state"]]
        said.append(f"Guard {guard['name']}: {change} {unit} ({low} to {high}), {state}.")
    return said


def _limits(numbers: Numbers, operation: str) -> list[str]:
    said = [
        "It shows that these answers depend on these neurons. It does not show that the knowledge is stored in them.",
        "It holds for this model, these questions and this way of asking.",
    ]
    if _guard(numbers).get("verdict") == "damaged":
        said.append("The model predicts other text worse too. Some of the loss may be general damage.")
    if _falls_beyond(numbers, "facts"):
        said.append("Facts fell too. Some of the loss may be of recall, not of culture.")
    if "facts" not in numbers["drop"]:
        said.append("No facts were asked. Culture and recall cannot be told apart.")
    draws = len(numbers["random_drops"].get("culture", []))
    if draws < FEW_RANDOM:
        said.append(f"There were {draws} random sets, so how much such sets differ is known only roughly.")
    if Operation.parse(operation).name == "suppress":
        said.append(
            "Neurons were set to 0, which the model never saw in training. Other operations may give other losses."
        )
    return said


def _guard(numbers: Numbers) -> Numbers:
    return (numbers.get("guards") or {}).get("culture-general") or {}


def _matched(numbers: Numbers) -> Numbers | None:
    """The comparison with facts that began alike: all kinds of facts, in accuracy."""
    for row in numbers.get("facts") or []:
        if row["condition"] == "culture-general" and row["kind"] == "all" and row["metric"] == "correct":
            return row
    return None
