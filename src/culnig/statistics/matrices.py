"""Country x country drop matrices: the own-country effect, and Mantel's test of distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from culnig.statistics.bootstrap import percentile_interval, rounding
from culnig.statistics.interaction import fit_interaction

PERMUTATIONS = 9999


FEWEST = 4
"""Countries below which strength, fragility and their product leave nothing to test with."""


@dataclass(frozen=True)
class OwnCountryEffect:
    """How much more a country's own set hurts it than the set's strength and the country's fragility let expect.

    Attributes:
        effect: mean over countries of the own drop minus the expected one, in the matrix's unit.
        p: one-sided p-value of a t-test of these differences, countries as units; NaN below `FEWEST` countries.
        mean_rank: mean rank of the own country among all by drop minus expected drop (1 = hurt most).
        own: [C], each country's own drop minus the expected one.
        low, high: 95 % interval over questions, if resampled matrices were given; else NaN.
        slope: factor of the product of strength and fragility; 0 is an additive matrix.
        centred: effect, p and mean rank by double-centring alone, as version 0.1 reported them.  Its p-value is not valid
            where strong sets belong to fragile countries.
    """

    effect: float
    p: float
    mean_rank: float
    own: np.ndarray
    low: float
    high: float
    slope: float
    centred: tuple[float, float, float]


def double_centre(matrix: np.ndarray) -> np.ndarray:
    """Remove row and column means: each set's general strength and each country's general fragility.

    What the product of strength and fragility adds stays; `beyond_expected` removes that too.

    Args:
        matrix: [sets, countries].
    """
    return matrix - matrix.mean(axis=1, keepdims=True) - matrix.mean(axis=0, keepdims=True) + matrix.mean()


def beyond_expected(matrix: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return drops minus what strength, fragility and their product give, fitted to the cells outside `own`.

    With fewer than `FEWEST` rows or columns the matrix is double-centred instead.

    Args:
        matrix: [..., sets, countries].
        own: [sets, countries] of bool, the cells of a set and its own country.
    """
    if min(own.shape) < FEWEST:
        return double_centre(np.asarray(matrix, dtype=float))
    return matrix - fit_interaction(matrix, own).expected


def own_country_effect(matrix: np.ndarray, *, resampled: np.ndarray | None = None, seed: int = 0) -> OwnCountryEffect:
    """Test the diagonal of a square drop matrix, where set i was made for country i.

    A set that hurts everybody, suppressed for a country that anything hurts, makes a large diagonal cell without any
    effect of its own.  The expected drop is therefore m + r_i + c_j + slope r_i c_j, fitted to the cells off the diagonal
    alone (`fit_interaction`).  The effect is the mean of the diagonal minus its expected values.

    p is that of a one-sided t-test of the C differences.  In simulated nulls with products, noise equal in all cells or
    proportional to the drop, and correlations of 0, 0.6 and 1 between strength and fragility, it rejects in 1 to 5 % at
    level 0.05.  Permuted pairings with a refit each reject in 5 to 9 %, and a t-test with the pooled residuals of the fit
    in 5 to 14 %: cells do not vary alike, and the cells of strong sets and fragile countries have the most leverage.

    Args:
        matrix: [C, C], drop of each country (column) under each set (row).
        resampled: [resamples, C, C], the same matrix of resampled questions, for the interval.
        seed: seed of the permutations of the old test, if there are too many to enumerate.
    """
    matrix = np.asarray(matrix, dtype=float)
    size = len(matrix)
    centred = _centred_test(matrix, seed)
    nan = float("nan")
    if size < FEWEST:
        return OwnCountryEffect(nan, nan, nan, np.full(size, nan), nan, nan, nan, centred)
    diagonal = np.eye(size, dtype=bool)
    fitted = fit_interaction(matrix, diagonal)
    beyond = matrix - fitted.expected
    own = np.diag(beyond)
    low = high = nan
    if resampled is not None:
        drawn = beyond_expected(resampled, diagonal)[:, diagonal].mean(axis=1)
        low, high = percentile_interval(drawn)
    p = one_sided_p(np.where(np.abs(own) <= rounding(matrix), 0.0, own))
    return OwnCountryEffect(float(own.mean()), p, _own_rank(beyond), own, low, high, float(fitted.slope), centred)


def one_sided_p(values: np.ndarray) -> float:
    """Return the p-value of a t-test that the mean is above 0; 1 if all are 0, 0 if all are the same positive number."""
    from scipy.stats import t

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    if spread <= rounding(values):
        return 0.0 if mean > 0 else 1.0
    return float(t.sf(mean / (spread / np.sqrt(len(values))), len(values) - 1))


def _own_rank(values: np.ndarray) -> float:
    ranks = (-values).argsort(axis=1).argsort(axis=1) + 1
    return float(np.diag(ranks).mean())


def _centred_test(matrix: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean of the double-centred diagonal, its permutation p-value over all pairings, and the own country's mean rank."""
    from scipy.stats import permutation_test

    centred = double_centre(matrix)
    size = len(centred)

    def diagonal(countries: np.ndarray, axis: int = -1) -> np.ndarray:
        return centred[np.arange(size), countries.astype(int)].mean(axis=-1)

    # All 8! = 40,320 pairings are enumerated; of more, scipy draws a random sample.
    test = permutation_test(
        (np.arange(size),),
        diagonal,
        permutation_type="pairings",
        vectorized=True,
        alternative="greater",
        n_resamples=40_320,
        rng=np.random.default_rng(seed),
    )
    return float(np.diag(centred).mean()), float(test.pvalue), _own_rank(centred)


def mantel(drops: np.ndarray, distances: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Return Spearman's correlation of drops and distances over all ordered pairs i != j, and its p-value.

    The countries of the distance matrix are permuted, rows and columns together (Mantel 1967).  The test is one-sided:
    near countries suffer more, a correlation below 0.

    Args:
        drops, distances: [C, C], without missing values.
        seed: seed of the permutations.
    """
    from scipy.stats import rankdata

    size = len(drops)
    off = ~np.eye(size, dtype=bool)
    ranked = rankdata(drops[off])

    def correlation(order: np.ndarray) -> float:
        return float(np.corrcoef(ranked, rankdata(distances[np.ix_(order, order)][off]))[0, 1])

    rng = np.random.default_rng(seed)
    own = correlation(np.arange(size))
    below = sum(correlation(rng.permutation(size)) <= own + 1e-12 for _ in range(PERMUTATIONS))
    return own, (below + 1) / (PERMUTATIONS + 1)
