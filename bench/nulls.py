"""`python -m bench.nulls`: how often the tests reject in simulated worlds without an effect, and find one that is planted.

It prints the two tables of docs/method.md.  Half a minute on one core; no model.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, t

from culnig.statistics.matrices import beyond_expected, double_centre, one_sided_p

LEVEL = 0.05
OWN = np.eye(8, dtype=bool)
EFFECT = 1.6
"""Own-country effect of the quickstart in nats; its drops average 2.8, and the model's residuals vary by 0.8."""


def worlds(count: int, correlation: float, seed: int, *, proportional: bool = False) -> np.ndarray:
    """Drops of 8 sets in 8 countries: strength x fragility and noise, [count, 8, 8]; no set has an effect of its own."""
    rng = np.random.default_rng(seed)
    first, other = rng.normal(size=(2, count, 8))
    strength, fragility = np.exp(0.6 * first), np.exp(0.6 * (correlation * first + np.sqrt(1 - correlation**2) * other))
    products = strength[:, :, None] * fragility[:, None, :]
    products *= 2.8 / products.mean(axis=(1, 2), keepdims=True)
    spread = products if proportional else np.ones_like(products)
    spread = 0.8 * spread / np.sqrt((spread**2).mean(axis=(1, 2), keepdims=True))
    return products + spread * rng.normal(size=products.shape)


def own_p(matrices: np.ndarray) -> np.ndarray:
    """The p-values of `own_country_effect`, all matrices at once."""
    beyond = beyond_expected(matrices, OWN)[:, OWN]
    return np.array([one_sided_p(own) for own in beyond])


def double_centred_p(matrices: np.ndarray, pairings: int = 200) -> np.ndarray:
    """The p-values of version 0.1: the double-centred diagonal against random pairings of sets and countries."""
    rng = np.random.default_rng(0)
    orders = np.array([np.arange(8), *(rng.permutation(8) for _ in range(pairings - 1))])
    means = [double_centre(matrix)[np.arange(8), orders].mean(axis=1) for matrix in matrices]
    return np.array([(mean >= mean[0] - 1e-12).mean() for mean in means])


def draws_p(data: np.ndarray) -> dict[str, np.ndarray]:
    """p-values of a mean over questions and draws being 0, [worlds]; data is [worlds, questions, draws]."""
    questions, draws = data.shape[1:]
    mean = data.mean(axis=(1, 2))
    by_question, by_draw = data.mean(axis=2), data.mean(axis=1)
    first, second = by_question.var(axis=1, ddof=1) / questions, by_draw.var(axis=1, ddof=1) / draws
    rest = data - by_question[:, :, None] - by_draw[:, None, :] + mean[:, None, None]
    third = (rest**2).sum(axis=(1, 2)) / ((questions - 1) * (draws - 1) * questions * draws)
    both = first + second
    df = both**2 / (first**2 / (questions - 1) + second**2 / (draws - 1))
    return {
        "questions alone": 2 * t.sf(np.abs(mean) / np.sqrt(first), questions - 1),
        "two-way bootstrap's variance": 2
        * norm.sf(np.abs(mean) / np.sqrt(first + second * (draws - 1) / draws + third)),
        "this test": 2 * t.sf(np.abs(mean) / np.sqrt(both), df),
    }


def _rate(p: np.ndarray) -> str:
    return f"{np.mean(p <= LEVEL):6.1%}"


def main() -> None:
    """Print both tables."""
    print("own-country effect: correlation, noise; without an effect; effect found; double-centring without an effect")
    for proportional in (False, True):
        for correlation in (0.0, 0.6, 1.0):
            null = worlds(2000, correlation, 1, proportional=proportional)
            noise = "proportional" if proportional else "the same"
            rates = [_rate(own_p(null)), _rate(own_p(null[:1000] + EFFECT * OWN)), _rate(double_centred_p(null[:400]))]
            print(f"{correlation:4.1f} {noise:13}", *rates)
    print("\ndraws, how much they differ: " + "; ".join(draws_p(np.random.default_rng(0).normal(size=(2, 3, 3)))))
    rng = np.random.default_rng(0)
    for draws, spread in ((5, 0), (5, 1), (5, 3), (3, 3), (2, 3)):
        shape = (1500, 600, draws)
        differ = spread / np.sqrt(600) * rng.normal(size=(1500, 1, draws))
        data = rng.normal(size=(1500, 600, 1)) + differ + rng.normal(size=shape)
        print(f"{draws} {spread}", *(_rate(p) for p in draws_p(data).values()))


if __name__ == "__main__":
    main()
