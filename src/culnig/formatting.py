"""Numbers as text, the same everywhere: points with their sign, intervals, percentages."""

from __future__ import annotations

from typing import Any


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, and a true minus: "+3.9", "−11.1"."""
    return f"{value:+.{digits}f}".replace("-", "−")


def points(share: float) -> str:
    """Return a share as points with their sign: -0.111 gives "−11.1"."""
    return signed(100 * share)


def interval(row: Any, name: str = "") -> str:
    """Return the ends of an interval in points: "−14.2 to −8.1".

    Args:
        row: a mapping or an object with `low` and `high`.
        name: with a name, `<name>_low` and `<name>_high` of a mapping.
    """
    if not hasattr(row, "__getitem__"):
        return f"{points(row.low)} to {points(row.high)}"
    low, high = (f"{name}_low", f"{name}_high") if name else ("low", "high")
    return f"{points(row[low])} to {points(row[high])}"


def percent(share: float) -> str:
    """Return a share as a percentage: 0.0005 gives "0.05 %"."""
    return f"{100 * share:g} %"
