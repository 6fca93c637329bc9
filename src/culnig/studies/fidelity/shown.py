"""What a fidelity measurement says in words."""

from __future__ import annotations

from typing import Any

import pandas as pd

from culnig.figures import short_module
from culnig.statistics.agreement import statement
from culnig.studies._base import Finding
from culnig.studies.fidelity.rows import STRATIFIED, TOP, Fidelity


def sample_text(found: Fidelity) -> str:
    """What was suppressed, on what, and which methods are the same or restricted."""
    rows, meta = found.of(STRATIFIED), found.meta
    text = (
        f"{len(rows):,} neurons ({meta['sampling']['per_cell']} of every tenth of the scores in {rows['module'].nunique()}"
        f" modules of {rows['layer'].nunique()} layers) were set to 0 one at a time, exactly, on {meta['num_prompts']} prompts,"
        " and what that takes from P(gold), weighted by P(gold), is set beside each method's S on the same prompts. "
    )
    text += (
        "Intervals are a bootstrap over neurons; other prompts are not part of them."
        if found.prompts is None
        else "Intervals are a bootstrap over neurons and over questions."
    )
    for method in found.methods:
        have = rows.loc[rows[method].notna(), "module"].unique()
        if len(have) < rows["module"].nunique():
            text += f" {method} was scored on {', '.join(map(short_module, have))} only, for its cost."
    for i, method in enumerate(found.methods):
        for other in found.methods[:i]:
            if rows[method].equals(rows[other]):
                text += f" {method} is the same number as {other}."
    return text


def top_text(found: Fidelity) -> list[str]:
    """Which of the best neurons were suppressed, and what the figures on them mean."""
    rows, how = found.of(TOP), found.meta["sampling"]
    if not len(rows):
        return []
    sizes = [
        f"{pool}, {len(part):,} of {part['weight'].sum():,.0f} (k = {part['k'].iloc[0]:,})"
        for pool, part in rows.groupby("pool", sort=False)
    ]
    ranked = "D, the effect on the items minus that on their controls" if "D" in found.quantities else "S"
    return [
        f"The best are the union of all methods' top {how['top_share']:.0%} of each pool, as selection ranks them."
        f" Of them were suppressed: {'; '.join(sizes)}. k is the number that selection takes."
        " A random sample stands for a larger union, and each neuron counts by the inverse of its inclusion probability.",
        f"Precision at k is the share of a method's k best that are among the k with the largest exact {ranked}."
        " Regret is what its k best forgo of the exact sum that those k hold.",
    ]


def given_text(found: Fidelity) -> list[str]:
    """Which neurons were suppressed already, if any."""
    if not (given := found.meta.get("given")):
        return []
    return [
        f"While these effects were measured, {given['neurons']:,} neurons were suppressed already. Estimates are of the"
        " untouched model; those with @given were made anew under the suppression."
    ]


def agreement_text(tables: dict[str, pd.DataFrame], reference: str) -> list[str]:
    """Where the reference method is the best, level with the best, or behind."""
    lines = []
    for level in ("module", "layer"):
        table = tables[level]
        if not len(table) or reference not in set(table["method"]):
            continue
        best, equal, behind = statement(table, reference)
        names = short_module if level == "module" else str
        parts = [
            f"{says} in {len(group)} of {len(best + equal + behind)} {level}s ({', '.join(map(names, group))})"
            for says, group in (("the best", best), ("level with the best", equal), ("behind the best", behind))
            if group
        ]
        lines.append(f"In ranking single neurons, {reference} is {'; '.join(parts)}.")
    if lines:
        lines[-1] += (
            " Behind means that the 95 % interval of the difference in rank correlation lies above 0 (not corrected for"
            " their number)."
        )
    whole = tables["all"]
    signs = [f"{r['method']} {r['signs']:.0%} ({r['signs_large']:.0%})" for _, r in whole.iterrows()]
    if signs:
        lines.append(
            "Sign errors, of all neurons with an effect (and of the half with the largest effects): "
            + ", ".join(signs)
            + "."
        )
    return lines


def group_text(groups: pd.DataFrame) -> str:
    """How far the sums are from the exact drops, for one neuron and for the largest group."""
    parts = []
    for method, part in groups.groupby("method", sort=False):
        ends = [part.iloc[0], part.iloc[-1]]
        ratios = [f"{r['estimate'] / r['exact']:.1f} at k = {r['k']:,}" for r in ends if r["exact"] > 0]
        parts.append(f"{method} {' and '.join(ratios) or 'no drop to compare with'}")
    return (
        (
            "Suppressed together, neurons take less than the sum of what each is estimated to take. Estimate over exact drop: "
            + "; ".join(parts)
            + "."
        )
        if _sums_overshoot(groups)
        else "Groups, estimate over exact drop: " + "; ".join(parts) + "."
    )


def _sums_overshoot(groups: pd.DataFrame) -> bool:
    """Whether every method's largest group loses less than the sum of its estimates."""
    last = groups.groupby("method", sort=False).tail(1)
    return bool((last["estimate"] > last["exact"]).all())


def claim(table: pd.DataFrame, reference: str) -> tuple[str, list[Finding]]:
    """The sentences for the top of the report, on the stratified sample and on the best neurons.

    Args:
        table: what `tables.both_strata` gives.
        reference: the method that is named besides the best.
    """
    sentences, findings = [], []
    whole = _methods(table, STRATIFIED, "")
    if whole:
        best = max(whole, key=lambda method: whole[method]["rho"])
        top = whole[best]
        sentence = (
            f"Against exact suppression of single neurons, {best} ranks best (rank correlation {top['rho']:.2f}, 95 % interval"
            f" {top['low']:.2f} to {top['high']:.2f})"
        )
        findings.append(_finding(f"fidelity of {best}", top, ("rho", "low", "high"), "; the best"))
        if (own := whole.get(reference)) and reference != best:
            worse = "is behind it" if own["behind_low"] > 0 else "cannot be told from it"
            sentence += f"; {reference} {worse}, at {own['rho']:.2f} ({own['low']:.2f} to {own['high']:.2f})"
            findings.append(_finding(f"fidelity of {reference}", own, ("rho", "low", "high")))
        sentences.append(f"{sentence}.")
    for pool in dict.fromkeys(table.loc[table["stratum"] == TOP, "pool"]):
        members = _methods(table, TOP, pool)
        if not members:
            continue
        best = max(members, key=lambda method: members[method]["precision"])
        columns = ("precision", "precision_low", "precision_high")
        value, low, high = (members[best][column] for column in columns)
        sentence = (
            f"Of the {members[best]['k']:,.0f} best {pool} neurons by exact effect, {best} finds {value:.0%}"
            f" ({low:.0%} to {high:.0%})"
        )
        if (own := members.get(reference)) and reference != best:
            worse = "is behind it" if own["precision_behind_low"] > 0 else "cannot be told from it"
            sentence += f"; {reference} {worse}, with {own['precision']:.0%}"
        sentences.append(f"{sentence}.")
        findings.append(_finding(f"{pool} precision at k of {best}", members[best], columns, "; the best"))
    return " ".join(sentences), findings


def _methods(table: pd.DataFrame, stratum: str, pool: str) -> dict[str, dict[str, Any]]:
    """Method -> its row: S in the stratified sample, and what selection ranks among the best."""
    part = table[(table["stratum"] == stratum) & (table["pool"] == pool)]
    if stratum == STRATIFIED:
        part = part[part["quantity"] == "S"]
    else:
        part = part[part["precision"].notna()] if "precision" in part else part.iloc[:0]
    return {str(row["method"]): {str(key): value for key, value in row.items()} for row in part.to_dict("records")}


def _finding(label: str, row: dict[str, Any], columns: tuple[str, str, str], note: str = "") -> Finding:
    value, low, high = (row[column] for column in columns)
    return Finding(label, f"{value:.2f}", f"{low:.2f} to {high:.2f}{note}")
