"""Which neurons are suppressed: a stratified sample by module, layer and score decile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from culnig.attribution import Scores
from culnig.errors import UsageError

BINS = 10


def stratified(
    scores: Scores, modules: Sequence[str], *, layers: int | None = None, per_cell: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Draw neurons from every module, layer and tenth of the scores within it.

    Args:
        scores: scores of one method; a neuron's decile is that of its S among the neurons of its module and layer.
        modules: which modules.
        layers: so many layers, evenly spread from the first to the last; None is all.
        per_cell: neurons of each decile of each module of each layer.
        seed: seed of the draw.

    Returns:
        Columns module, layer, neuron, decile (1 the lowest, 10 the highest).

    Raises:
        UsageError: numbers that make no sense, or more neurons asked for than a cell holds.
    """
    if per_cell < 1 or (layers is not None and layers < 1):
        raise UsageError("at least one layer and one neuron a cell are needed")
    rng = np.random.default_rng(seed)
    rows = []
    for module in modules:
        depth, width = scores.shapes()[module]
        if width < BINS * per_cell:
            raise UsageError(
                f"{module} has {width} neurons a layer; {per_cell} from each tenth of them cannot be drawn"
            )
        for layer in _spread(depth, layers):
            order = np.argsort(scores.total(module)[layer], kind="stable")
            for decile, members in enumerate(np.array_split(order, BINS), start=1):
                drawn = rng.choice(members, size=per_cell, replace=False)
                rows += [(module, layer, int(i), decile) for i in sorted(drawn)]
    return pd.DataFrame(rows, columns=["module", "layer", "neuron", "decile"])


def _spread(depth: int, layers: int | None) -> list[int]:
    """Numbers of evenly spread layers, the first and the last among them."""
    count = depth if layers is None else min(layers, depth)
    return [int(i) for i in np.unique(np.round(np.linspace(0, depth - 1, count)).astype(int))]


def geometric(size: int, largest: float, points: int) -> list[int]:
    """Group sizes 1 ... largest * size (rounded down, 1 at least), evenly spread on a logarithmic scale."""
    top = max(1, int(np.floor(largest * size + 1e-9)))
    return [int(k) for k in np.unique(np.round(np.geomspace(1, top, max(1, points))).astype(int))]
