"""Distances between countries, and the Mantel test on them."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.data.distances import distance_matrix
from culnig.statistics.matrices import mantel


def test_distances():
    km = distance_matrix("geographic", ["UK", "France", "Japan"])
    assert km[0, 1] == pytest.approx(344, abs=3) and (km == km.T).all() and km[0, 2] > 9000
    assert distance_matrix("linguistic", ["Mexico", "Spain", "Italy", "USA", "China"])[0].tolist() == [0, 0, 2, 3, 4]
    assert np.isnan(distance_matrix("values", ["Spain", "Atlantis"])).all()
    places = np.random.default_rng(0).normal(size=(8, 2))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    noise = np.random.default_rng(1).normal(size=(8, 8))
    rho, p = mantel(-apart + 0.1 * noise, apart)
    assert rho < -0.9 and p < 0.01 and mantel(noise, apart)[1] > 0.05
