"""Format numbers as text in one way everywhere: points with their sign, intervals, percentages."""

from __future__ import annotations

import math
from typing import Any


def format_number(value: float, spec: str) -> str:
    """Format a number by a format specification; return "infinite", "−infinite" or "unknown" for other values."""
    if math.isfinite(value):
        return format(value, spec)
    return "unknown" if math.isnan(value) else "infinite" if value > 0 else "−infinite"


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, and a true minus: "+3.9", "−11.1"."""
    return format_number(value, f"+.{digits}f").replace("-", "−")


def points(share: float) -> str:
    """Return a share as points with their sign: -0.111 gives "−11.1"."""
    return signed(100 * share)


def interval(row: Any, name: str = "") -> str:
    """Return the ends of an interval in points: "−14.2 to −8.1".

    Args:
        row: a mapping or an object with `low` and `high`.
        name: if given, the ends are `<name>_low` and `<name>_high` of a mapping.
    """
    if not hasattr(row, "__getitem__"):
        return f"{points(row.low)} to {points(row.high)}"
    low, high = (f"{name}_low", f"{name}_high") if name else ("low", "high")
    return f"{points(row[low])} to {points(row[high])}"


def percent(share: float) -> str:
    """Return a share as a percentage: 0.0005 gives "0.05 %"."""
    return f"{100 * share:g} %"


def format_p(p: float, *, at_most: bool = False) -> str:
    """Return a p-value with two digits: "0.013"; "≤ 0.0004" where it is the least that resampling can give.

    A p-value that is not a number says that there is no test.
    """
    if math.isnan(p):
        return "no test"
    return f"{'≤ ' if at_most else ''}{p:.2g}"


def at_floor(row: Any, suffix: str = "") -> bool:
    """Return whether a row's p-value (`p` plus a suffix) is the least that its test can give (`p_floor` plus the suffix)."""
    floor = row.get(f"p_floor{suffix}", 0.0)
    return bool(row.get(f"p{suffix}", math.nan) <= floor)


def p_equals(row: Any) -> str:
    """Return "p = 0.013", or "p ≤ 0.0004" where the p-value is the least that resampling can give, or "no test"."""
    shown = format_p(row["p"], at_most=at_floor(row))
    return shown if math.isnan(row["p"]) else f"p {shown}" if at_floor(row) else f"p = {shown}"
