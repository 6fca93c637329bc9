"""Strength times fragility: Tukey's model of a drop matrix, fitted without the cells of interest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ITERATIONS = 40
RIDGE = 1e-9
"""Added to the normal equations, as a share of their diagonal: a matrix without any spread has no slope to find."""


@dataclass(frozen=True)
class Interaction:
    """The fit of `fit_interaction`.

    Attributes:
        expected: [..., R, C], what strength, fragility and their product give in every cell, those left out included.
        slope: [...], the factor of the product; 0 is an additive matrix, 1 / mean a matrix of pure products.
    """

    expected: np.ndarray
    slope: np.ndarray


def fit_interaction(matrix: np.ndarray, without: np.ndarray) -> Interaction:
    """Fit y_ij = m + r_i + c_j + slope * r_i * c_j by least squares to some cells (Tukey 1949, one degree of freedom).

    The model holds the additive matrix (slope 0) and the products a_i * b_j (slope 1 / m).  The general rank-one term of
    AMMI needs 2 C - 3 parameters where this needs one; of 56 cells, that leaves too few to predict the others.
    Gauss-Newton steps with Marquardt's damping; many matrices are fitted at once.

    Args:
        matrix: [..., R, C].
        without: [R, C] of bool, the cells that take no part.
    """
    whole = np.asarray(matrix, dtype=float)
    rows, columns = whole.shape[-2:]
    model = _Model(rows, columns, (~without).astype(float).ravel())
    values = whole.reshape(-1, rows * columns)
    scale = np.abs(values - values.mean(axis=1, keepdims=True)).max(axis=1, keepdims=True)
    scale[scale == 0] = 1.0
    theta = model.fit(values / scale)
    expected = (model.predict(theta) * scale).reshape(whole.shape)
    return Interaction(expected, (theta[:, -1] / scale[:, 0]).reshape(whole.shape[:-2]))


class _Model:
    """y = m + r_i + c_j + slope r_i c_j of many matrices; theta is [matrices, 1 + (R - 1) + (C - 1) + 1]."""

    def __init__(self, rows: int, columns: int, weights: np.ndarray) -> None:
        self.rows, self.columns, self.weights = rows, columns, weights
        self.of_rows = np.repeat(_contrasts(rows), columns, axis=0)
        self.of_columns = np.tile(_contrasts(columns), (rows, 1))
        self.additive = np.hstack([np.ones((rows * columns, 1)), self.of_rows, self.of_columns])

    def _effects(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return theta[:, 1 : self.rows] @ self.of_rows.T, theta[:, self.rows : -1] @ self.of_columns.T

    def predict(self, theta: np.ndarray) -> np.ndarray:
        row, column = self._effects(theta)
        return theta[:, :1] + row + column + theta[:, -1:] * row * column

    def _loss(self, values: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return ((values - self.predict(theta)) ** 2) @ self.weights

    def _jacobian(self, theta: np.ndarray) -> np.ndarray:
        row, column = self._effects(theta)
        slope = theta[:, -1:]
        parts = [
            np.ones((*row.shape, 1)),
            (1 + slope * column)[..., None] * self.of_rows,
            (1 + slope * row)[..., None] * self.of_columns,
            (row * column)[..., None],
        ]
        return np.concatenate(parts, axis=-1)

    def _start(self, values: np.ndarray) -> np.ndarray:
        """The additive fit, and the slope that its residuals have on the products."""
        weighted = self.additive * self.weights[:, None]
        additive = np.linalg.lstsq(weighted.T @ self.additive, weighted.T @ values.T, rcond=None)[0].T
        flat = np.hstack([additive, np.zeros((len(values), 1))])
        row, column = self._effects(flat)
        product = row * column
        residual = values - self.predict(flat)
        slope = ((residual * product) @ self.weights) / np.maximum((product**2) @ self.weights, 1e-300)
        sloped = np.hstack([additive, slope[:, None]])
        better = self._loss(values, sloped) < self._loss(values, flat)
        return np.where(better[:, None], sloped, flat)

    def fit(self, values: np.ndarray) -> np.ndarray:
        theta = self._start(values)
        loss = self._loss(values, theta)
        damping = np.full(len(values), 1e-3)
        for _ in range(ITERATIONS):
            jacobian = self._jacobian(theta)
            weighted = (jacobian * self.weights[:, None]).transpose(0, 2, 1)
            normal = weighted @ jacobian
            gradient = (weighted @ (values - self.predict(theta))[..., None])[..., 0]
            diagonal = np.einsum("bkk->bk", normal)  # a view
            ridge = RIDGE * (diagonal.mean(axis=1, keepdims=True) + 1e-300)
            diagonal += damping[:, None] * diagonal + ridge
            moved = theta + np.linalg.solve(normal, gradient[..., None])[..., 0]
            lower = self._loss(values, moved)
            better = lower < loss
            done = loss - lower <= 1e-10 * loss
            theta = np.where(better[:, None], moved, theta)
            loss = np.where(better, lower, loss)
            damping = np.where(better, 0.3 * damping, 5 * damping)
            if done.all():
                break
        return theta


def _contrasts(size: int) -> np.ndarray:
    """Orthonormal contrasts (Helmert), [size, size - 1]: effects that sum to 0."""
    made = np.zeros((size, size - 1))
    for k in range(1, size):
        made[:k, k - 1], made[k, k - 1] = 1.0, -k
        made[:, k - 1] /= np.sqrt(k * (k + 1))
    return made
