"""How the cells are shown: tables of text, sentences and heat maps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from culnig.figures import signed_map
from culnig.formatting import points, signed
from culnig.studies._base import Finding
from culnig.studies.transfer.sets import TransferSettings, held, sets

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

LEVEL = 0.05


def matrix(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of one metric and comparison as text: a row for each set, part of the items and wording; a column a test set."""
    text = cells.assign(cell=[_text(row) for row in cells.to_dict("records")])
    index = ["found on", "items", "wording"]
    wide = text.set_index([*index, "test"])["cell"].unstack("test").reindex(columns=cells["test"].unique())
    return wide.reindex(pd.MultiIndex.from_frame(cells[index].drop_duplicates())).fillna("").reset_index()


def _text(row: dict[Any, Any], gap: str = " ") -> str:
    """A difference with its interval; a star where its adjusted p is small."""
    written = points if row["metric"] == "correct" else partial(signed, digits=2)
    star = "*" if row["p_adjusted"] < LEVEL else ""
    return f"{written(row['difference'])}{star}{gap}({written(row['low'])} to {written(row['high'])})"


def _main(cells: pd.DataFrame, *, items: str = "all", own: bool | None = None) -> pd.DataFrame:
    """Accuracy against random sets on culture test sets, all wordings together; on own test sets or on others alone."""
    chosen = (cells["metric"] == "correct") & (cells["against"] == "random") & (cells["role"] == "culture")
    chosen &= (cells["items"] == items) & (cells["wording"] == "all")
    return cells[chosen if own is None else chosen & (cells["own"] == own)]


def _lost(cells: pd.DataFrame) -> int:
    """Cells with a loss of small adjusted p."""
    return int((cells["p_adjusted"].lt(LEVEL) & cells["difference"].lt(0)).sum())


def _seen(cells: pd.DataFrame) -> str:
    """How many cells lose more than their random sets, and their mean."""
    return (
        f"in {_lost(cells)} of {len(cells)} cases the set costs more accuracy than its random sets do (adjusted p below"
        f" {LEVEL:g}), and the mean difference is {points(cells['difference'].mean())} points"
    )


def finding(cells: pd.DataFrame) -> list[Finding]:
    """How often a set costs another benchmark more than random sets do; nothing where there is no other benchmark."""
    others = _main(cells, own=False)
    return [Finding("transfer", f"{_lost(others)} of {len(others)}", _seen(others))] if len(others) else []


def paragraphs(run: SavedRun, cells: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[str]:
    """The study in words."""
    count = run.config.section(TransferSettings).random_controls
    random = f"{count} random {'set' if count == 1 else 'sets'}"
    yield (
        f"One rule found a set on each of {', '.join(held(run))}. The model answers every test set under each set"
        f" ({run.config.done.noun}), and under {random} of the same modules and layers. Intervals are 95 %"
        f" intervals over questions. A star marks an adjusted p below {LEVEL:g}; p-values are corrected over the cells of a"
        " matrix."
    )
    if empty := [label for label in sets(run.config) if label not in held(run)]:
        yield f"No neuron reached the thresholds on {', '.join(empty)}, so there is nothing to suppress."
    for items, what in (("all", "All items"), ("known", "Known items")):
        for own, where in ((True, "on a set's own benchmark"), (False, "on other benchmarks")):
            if len(part := _main(cells, items=items, own=own)):
                yield f"{what}, {where}: {_seen(part)}."
    crossed = bool((cells["wording"] != "all").any())
    yield "An item is known if the untouched model answers it correctly. " + (
        "A row is chosen by the answer in the other wording, and measured by its own. Items chosen by the measured answers"
        " themselves would lose accuracy by chance alone (regression to the mean). Luck that both wordings share is left. A set"
        " that changes more answers than its random sets loses more of that luck."
        if crossed
        else "The run has one wording, so known items are chosen by the answers that the change starts from. Their accuracy can"
        " only fall, by chance too (regression to the mean), and it falls more under a set that changes more answers. Read all"
        " items instead, or run with two wordings (prompts.wordings)."
    )
    if len(pairs):
        yield (
            f"The sets share {pairs['jaccard'].min():.2f} to {pairs['jaccard'].max():.2f} of their union (Jaccard); random"
            f" sets of the same sizes would share {pairs['jaccard by chance'].max():.3f} at most."
        )


def figures(run: SavedRun, cells: pd.DataFrame) -> Iterator[tuple[str, go.Figure]]:
    """The matrix of accuracy on all and on known items, and that of the contrast margin or log-odds."""
    margin = "contrast_margin" if (cells["metric"] == "contrast_margin").any() else "log_odds"
    chosen = (
        ("correct", "all", "accuracy"),
        ("correct", "known", "accuracy"),
        (margin, "all", margin.replace("_", " ")),
    )
    for metric, items, what in chosen:
        part = cells[(cells["metric"] == metric) & (cells["items"] == items) & (cells["wording"] == "all")]
        part = part[part["against"] == "random"]
        if len(part):
            unit = "points" if metric == "correct" else "nats"
            yield (
                f"Change of {what} on {items} items under a set (rows) minus that under its random sets, on each test set"
                f" (columns), in {unit} with 95 % intervals. Framed: the set's own benchmark. Red: a loss.",
                transfer_map(part, run.test_names, unit),
            )


def transfer_map(cells: pd.DataFrame, names: dict[str, str], unit: str) -> go.Figure:
    """Heat map of the cells of one matrix, what sets were found on in rows and test sets in columns."""
    shown = cells.assign(
        test=cells["test"].map(names),
        value=cells["difference"] * (100 if unit == "points" else 1),
        cell=[_text(row, gap="<br>") for row in cells.to_dict("records")],
    )
    order = {"index": list(dict.fromkeys(shown["found on"])), "columns": list(dict.fromkeys(shown["test"]))}
    grid, text = (shown.pivot(index="found on", columns="test", values=v).reindex(**order) for v in ("value", "cell"))
    own = shown.loc[shown["own"], ["found on", "test"]].itertuples(index=False, name=None)
    hover = "set found on %{y}, tested on %{x}: %{z:.2f}"
    return signed_map(grid, unit, hover=hover, outlined=list(own), cells=text.fillna(""), red="low")
