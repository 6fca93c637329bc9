"""The largest difference of two float32 computations of one number, from the number of their additions.

One float32 operation errs by at most u = 2**-24, relative to its result.  Over a chain of n additions the errors have
either sign and grow like sqrt(n): |error| <= SURE * sqrt(n) * u * (largest partial sum), except with a chance below
0.1 % (Higham and Mary 2019, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41).
Kernels of other CPUs, threads and batches add in other orders; a tolerance that knows n holds on all of them.
"""

from __future__ import annotations

import math

import numpy as np

UNIT = 2.0**-24
"""Largest relative error of one float32 operation."""
SURE = 4
"""Standard deviations of the accumulated error that a tolerance allows."""


def float32_tolerance(additions: float, largest: float = 1.0) -> float:
    """Return the largest difference of two float32 sums of the same terms.

    Args:
        additions: length of the longest chain of additions behind the number.
        largest: size of the largest partial sum; the largest compared number serves as its estimate.
    """
    return 2 * SURE * math.sqrt(additions) * UNIT * float(largest)  # both sums have errors


def additions_through(lm, tokens: int = 128, passes: int = 2) -> int:
    """Return the length of the longest chain of additions through a model.

    Each layer adds over the hidden size in two norms, the query, the output and the gate projection.  It also adds
    over a head, over the tokens, and over the width of the MLP.  The language-model head adds over the hidden size,
    and the softmax over the vocabulary.

    Args:
        lm: the model.
        tokens: largest number of tokens that attention sees.
        passes: 1 for outputs; 2 for scores, which also go backwards through the same sums.
    """
    text = lm.text_config
    width = max(count for _, count in lm.shapes.values())
    layer = 5 * text.hidden_size + text.hidden_size // text.num_attention_heads + tokens + width
    return passes * (lm.num_layers * layer + text.hidden_size + text.vocab_size)


def score_tolerance(lm, sums) -> float:
    """Return how far scores may differ from another computation of them, with a forward and a backward pass.

    Sums over items use float64 and add no error of their own.
    """
    return float32_tolerance(additions_through(lm), np.nanmax(np.abs(sums)))


def output_tolerance(lm, outputs) -> float:
    """Return how far logits or log-probabilities may differ from another computation of them."""
    return float32_tolerance(additions_through(lm, passes=1), np.nanmax(np.abs(np.asarray(outputs))))
