"""The guards block: for every suppression of a study, whether the model still works (rule: `evaluation.GUARD_RULE`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from culnig.evaluation import GUARD_RULE, EvalResult, Guard, guards, measured, restrict, verdict, verdict_on
from culnig.formatting import points
from culnig.studies._base import Finding, Section

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

ROLES = ("culture", "ability", "surface")


def add_guards(section: Section, run: SavedRun, conditions: Iterable[str], prefix: str = "") -> dict[str, list[Guard]]:
    """Add the guards of some conditions to a section: `<prefix>guards` (numbers), `<prefix>guard-verdicts` (shown), the rule.

    Returns:
        Condition -> its guards.
    """
    found = {name: measure(run, name) for name in conditions}
    rows = [{"condition": name} | guard.to_dict() for name, made in found.items() for guard in made]
    section.tables[f"{prefix}guards"] = pd.DataFrame(rows)
    shown = [{"condition": name, "model": verdict(made)} | _cells(made) for name, made in found.items()]
    section.tables[f"{prefix}guard-verdicts"] = pd.DataFrame(shown).fillna("")
    section.numbers["guards"] = {
        name: {"verdict": verdict(made), "guards": [guard.to_dict() for guard in made]} for name, made in found.items()
    }
    if found:
        section.text.append(f"{_count(found)} {GUARD_RULE}")
    return found


def measure(run: SavedRun, condition: str) -> list[Guard]:
    """The guards of one condition, from its saved results."""
    pairs = {role: _pair(run, role, condition) for role in ROLES if run.has_result(role, condition)}
    texts = run.text(condition), run.text("none")
    return guards(
        reading=pairs.get("surface"),
        text=(texts[0], texts[1]) if texts[0] and texts[1] else None,
        answers=pairs,
        seed=run.config.seed,
    )


def against_draws(run: SavedRun, condition: str, draws: Sequence[str]) -> list[Guard]:
    """The guards of a condition in which random draws stand in the untouched model's place: how much worse than these it is.

    A guard that a draw lacks is not measured.
    """
    found = {}
    for role in ROLES:
        if draws and all(run.has_result(role, name) for name in (condition, *draws)):
            (masked, _), *others = (_pair(run, role, name) for name in (condition, *draws))
            found[role] = masked, [restrict(other, masked) for other, _ in others]
    text, others_text = run.text(condition), [run.text(name) for name in draws]
    there = [other for other in others_text if other]
    return guards(
        reading=found.get("surface"),
        text=(text, there) if text and there and len(there) == len(draws) else None,
        answers=found,
        seed=run.config.seed,
    )


def against_random(
    section: Section,
    run: SavedRun,
    found: dict[str, list[Guard]],
    draws: dict[str, list[str]],
    prefix: str = "",
) -> list[str]:
    """Compare the guards of several sets with those of their random sets: the table `<prefix>guards-against-random`.

    Args:
        section: gets the table.
        run: the run.
        found: condition -> its guards; sets and random sets.
        draws: each set -> its random sets.
        prefix: of the table's name.

    Returns:
        A sentence that compares verdicts on the guards that all of them have; none without random sets.
    """
    if not draws:
        return []
    rows = [
        {"condition": name, "draws": len(controls)} | guard.to_dict()
        for name, controls in draws.items()
        for guard in against_draws(run, name, controls)
        if guard.state != "not measured"
    ]
    section.tables[f"{prefix}guards-against-random"] = pd.DataFrame(rows)
    random = [found[name] for controls in draws.values() for name in controls]
    if not (names := measured(*(found[name] for name in draws), *random)):
        return []

    def damaged(several: Iterable[list[Guard]]) -> int:
        return sum(verdict_on(names, made) == "damaged" for made in several)

    return [
        f"On what was measured of both ({', '.join(names)}), the model is damaged under"
        f" {damaged(found[name] for name in draws)} of {len(draws)} sets, and under {damaged(random)} of {len(random)} random"
        " sets of theirs."
    ]


def _count(found: dict[str, list[Guard]]) -> str:
    """How many suppressions got which verdict."""
    verdicts = Counter(verdict(made) for made in found.values())
    parts = [f"{name} under {verdicts[name]}" for name in ("damaged", "open", "intact") if verdicts[name]]
    return f"Guards: of {len(found)} suppressions, the model is {', '.join(parts)}."


def guard_sentence(found: list[Guard], controls: Sequence[list[Guard]] = (), versus: Iterable[Guard] = ()) -> str:
    """What the guards say of the model, for the claim.

    Args:
        found: the guards of the suppression.
        controls: those of each random set; verdicts are compared on the guards that all of them have.
        versus: the guards of the suppression against the random sets (`against_draws`).
    """
    says = {
        "intact": "The guards find the model intact",
        "damaged": "By the guards the model itself is damaged, so that a loss cannot be put down to culture alone",
        "open": "The guards leave open whether the model itself suffered",
    }
    parts = [f"{guard.name} {_change(guard)}" for guard in found if guard.state != "not measured"]
    parts += [f"{guard.name} was not measured" for guard in found if guard.state == "not measured"]
    text = f"{says[verdict(found)]}: {', '.join(parts)}."
    if controls and (names := measured(found, *controls)):
        own = verdict_on(names, found)
        same = sum(verdict_on(names, control) == own for control in controls)
        text += (
            f" On what was measured under the random sets too ({', '.join(names)}), the set's verdict is {own}, and {same} of"
            f" {len(controls)} random sets get the same."
        )
        changes = [f"{guard.name} {_change(guard)}" for guard in versus if guard.name in names]
        text += f" Set minus random sets ({len(controls)} draws): {', '.join(changes)}." if changes else ""
    return text


def guard_finding(found: list[Guard]) -> Finding:
    """The verdict as one figure of the summary."""
    detail = "; ".join(f"{guard.name} {guard.state}" for guard in found)
    return Finding("the model itself", verdict(found), detail)


def _pair(run: SavedRun, role: str, condition: str) -> tuple[EvalResult, EvalResult]:
    masked, untouched = run.result(role, condition), run.result(role, "none")
    assert masked is not None and untouched is not None
    return masked, restrict(untouched, masked)


def _cells(found: list[Guard]) -> dict[str, str]:
    return {f"{guard.name} (margin {_margin(guard)})": f"{_change(guard)} {guard.state}".strip() for guard in found}


def _margin(guard: Guard) -> str:
    if guard.name == "plain text":
        return f"+{100 * guard.margin:.0f} % perplexity"
    return f"{'−' if guard.name == 'country reading' else '+'}{100 * guard.margin:.0f} points"


def _change(guard: Guard) -> str:
    if guard.state == "not measured":
        return ""
    unit = " % perplexity" if guard.name == "plain text" else " points"
    change, low, high = map(points, (guard.change, guard.low, guard.high))
    return f"{change}{unit} ({low} to {high})"
