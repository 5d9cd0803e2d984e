"""Polynomials fitted to a noisy wave; each function is a task of the sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from elisa.runtime import metric

Arrays = dict[str, np.ndarray]


def sample(noise: float, count: int = 200) -> Arrays:
    """Return points of a wave with noise, half to fit and half to judge by."""
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, count)
    return {"x": x, "y": np.sin(4 * x) + noise * random.standard_normal(count)}


def fit(points: Arrays, degree: int, ridge: float) -> dict[str, Any]:
    """Return the coefficients of the best polynomial, and its error on points it has not seen."""
    powers = np.vander(points["x"], degree + 1)
    seen, unseen = powers[::2], powers[1::2]
    square = seen.T @ seen + ridge * np.eye(degree + 1)
    coefficients = np.linalg.solve(square, seen.T @ points["y"][::2])
    error = float(np.mean((unseen @ coefficients - points["y"][1::2]) ** 2))
    metric("error", error)
    return {"degree": degree, "ridge": ridge, "error": error, "coefficients": coefficients.tolist()}


def choose(fits: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fit with the least error."""
    best = min(fits, key=lambda one: one["error"])
    metric("error", best["error"])
    print(f"degree {best['degree']}, ridge {best['ridge']}: {best['error']:.4f}")
    return best
