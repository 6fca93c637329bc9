"""The CULNIG score: gradient times activation, maximum over positions (arXiv 2510.08284; METHOD section 3).

    s_i(x, y) = n_i * dP(y|x)/dn_i          first-order estimate of what zeroing n_i takes from P(y|x)
    s(x, y)   = max over positions i

Its switches: `sum`, `mean`, `last` (the prompt's last position) and `absmax` (max of |s_i|) for `max`; `logp` (log P) and
`diff` (logit of the gold answer minus that of the best wrong one) and `odds` (log-odds against all wrong ones) for `p`; `unweighted` leaves out the factor P by which
an item's score enters the mean.  `skip_first` leaves out the prompt's first position, `product` looks at MLP neurons behind
their activation function, and `signed` does not clamp the controls' maxima at 0, as `clamped` does sums.  Without control and without country reading is a matter of selection.
"""

from __future__ import annotations

from culnig.attribution.method import METHODS, ValueTimesGradient


@METHODS.register("culnig")
class Culnig(ValueTimesGradient):
    """n * dP/dn."""
