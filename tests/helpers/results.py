"""Made-up evaluation results."""

from __future__ import annotations

import numpy as np
import pandas as pd

from culnig.evaluation import EvalResult


def made(correct, ids=None, variant=""):
    """Make a result whose rows are right or wrong as `correct` says."""
    n = len(correct)
    return EvalResult(
        pd.DataFrame(
            {
                "id": ids or [f"i{k}" for k in range(n)],
                "benchmark": "b",
                "country": ["China", "Iran"] * (n // 2),
                "topic": "t",
                "variant": variant,
                "wording": "w",
                "correct": np.array(correct, dtype=bool),
                "p_gold": np.linspace(0, 1, n),
                "log_odds": np.linspace(-1, 1, n),
            }
        )
    )
