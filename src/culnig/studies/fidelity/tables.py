"""Tables of a fidelity measurement: agreement in both strata, and what the best neurons hold."""

from __future__ import annotations

import pandas as pd

from culnig.statistics.agreement import RESAMPLES, agreement, levels
from culnig.studies.fidelity.rows import STRATIFIED, TOP, Fidelity


def by_level(found: Fidelity, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, pd.DataFrame]:
    """Return the agreement of S in the stratified sample: over all neurons, by module, by layer, by both."""
    rows = found.of(STRATIFIED)
    prompts = found.left_out(rows)
    return levels(rows, found.methods, seed=seed, resamples=resamples, prompts=prompts)


def both_strata(found: Fidelity, *, seed: int = 0, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Return the agreement of S and of D, in the stratified sample and in each pool's best neurons.

    Precision and regret are those of D in the best neurons, since selection ranks D.

    Returns:
        Columns stratum, pool (empty for the stratified sample), quantity, and those of `agreement`.
    """
    tables = []
    for stratum in (STRATIFIED, TOP):
        for quantity in found.quantities:
            rows = found.of(stratum, quantity)
            if not len(rows):
                continue
            prompts = found.left_out(rows, quantity)
            by = ["pool"] if stratum == TOP else []
            part = rows if quantity == found.quantities[-1] else rows.assign(k=0)  # selection ranks D, not S
            table = agreement(part, found.methods, by, seed=seed, resamples=resamples, prompts=prompts)
            if len(table):
                tables.append(pd.DataFrame({"pool": "", "quantity": quantity} | dict(table)).assign(stratum=stratum))
    if not tables:
        return pd.DataFrame(columns=["stratum", "pool", "quantity", "method", "neurons", "rho"])
    whole = pd.concat(tables, ignore_index=True)
    return whole[["stratum", *(name for name in whole if name != "stratum")]]


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table for readers: each figure with its interval in one cell."""
    columns = {
        "rho": "rank correlation",
        "behind": "behind the best",
        "signs": "sign errors",
        "signs_large": "of large effects",
        "precision": "precision at k",
        "regret": "regret",
    }
    names = ("view", "stratum", "pool", "quantity", "module", "method", "neurons", "stand_for", "k")
    shown = table[[name for name in names if name in table]].copy()
    for name in ("k", "stand_for"):
        if name in shown:
            shown[name] = [f"{value:,.0f}" if value == value else "" for value in shown[name]]
    for column, heading in columns.items():
        low, high = ("low", "high") if column == "rho" else (f"{column}_low", f"{column}_high")
        if column in table:
            shown[heading] = [_span(row[column], row[low], row[high]) for _, row in table.iterrows()]
    return shown.rename(columns={"stand_for": "stand for"})


def _span(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if value == value else ""
