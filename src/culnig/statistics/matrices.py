"""Country x country drop matrices: double-centring and permutation tests (own-country effect, Mantel)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 9999


@dataclass(frozen=True)
class OwnCountryEffect:
    """How much more a country's own set hurts it than a random pairing would.

    Attributes:
        effect: mean of the diagonal of the double-centred drop matrix, in the matrix's unit.
        p: one-sided permutation p-value over all pairings of sets and countries.
        mean_rank: mean rank of the own country among all countries by centred drop (1 = hurt most).
    """

    effect: float
    p: float
    mean_rank: float


def double_centre(matrix: np.ndarray) -> np.ndarray:
    """Remove row and column means: each set's general strength and each country's general fragility.

    Args:
        matrix: [sets, countries].
    """
    return matrix - matrix.mean(axis=1, keepdims=True) - matrix.mean(axis=0, keepdims=True) + matrix.mean()


def own_country_effect(matrix: np.ndarray, *, seed: int = 0) -> OwnCountryEffect:
    """Test the diagonal of a square drop matrix, where set i was made for country i.

    Args:
        matrix: [C, C], drop of each country (column) under each set (row).
        seed: seed of the permutations, if there are too many to enumerate.
    """
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
    ranks = (-centred).argsort(axis=1).argsort(axis=1) + 1
    return OwnCountryEffect(float(np.diag(centred).mean()), float(test.pvalue), float(np.diag(ranks).mean()))


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
