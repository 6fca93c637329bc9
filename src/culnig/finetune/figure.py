"""Write the loss curve as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from culnig.files import write_text
from culnig.sealed import load_table


def write_figure(folder: Path) -> dict[str, Any]:
    """Write `loss.html` from `loss.parquet`; return the mean loss over the first and the last tenth of the updates."""
    from culnig.figures import loss_curves

    table = load_table(folder / "loss.parquet", "the losses of a fine-tuning")
    figure = loss_curves({folder.name: table})
    write_text(folder / "loss.html", figure.to_html(include_plotlyjs=True, full_html=True, div_id="loss"))
    losses = table["loss"].dropna()
    tenth = max(1, len(losses) // 10)
    return {"first_loss": float(losses.head(tenth).mean()), "last_loss": float(losses.tail(tenth).mean())}
