"""What Jupyter shows of neurons, scores, results and runs: the report's figures and tables, from the same functions.

`thing.show()` displays a view.  The functions here return it, for those who want its figures or its tables.
"""

from __future__ import annotations

from collections.abc import Callable

from culnig.notebook._neurons import brief_neurons, view_neurons
from culnig.notebook._results import brief_result, view_result
from culnig.notebook._runs import brief_run, view_run
from culnig.notebook._scores import brief_scores, view_scores
from culnig.notebook._view import View, display

VIEWS: dict[str, Callable[..., View]] = {
    "neurons": view_neurons,
    "scores": view_scores,
    "result": view_result,
    "run": view_run,
}
"""Kind of thing -> the function that draws it."""
BRIEFS: dict[str, Callable[..., View]] = {
    "neurons": brief_neurons,
    "scores": brief_scores,
    "result": brief_result,
    "run": brief_run,
}
"""Kind of thing -> the function that makes its short table."""

__all__ = [
    "BRIEFS",
    "VIEWS",
    "View",
    "display",
    "view_neurons",
    "view_result",
    "view_run",
    "view_scores",
]
