"""The inverse of an increasing function, and where a polynomial stops being positive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import polynomial

# A bisection of float64 numbers ends after fewer steps.
MOST_STEPS = 200
# Relative to x, steps that only rounding makes.
ROUNDING = 2.0**-50
# A root that touches the axis comes as a pair whose imaginary parts are about the square root of
# the resolution.
REAL = 1e-7


def solve_increasing(
    value: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    target: np.ndarray,
    end: float,
) -> np.ndarray:
    """x with value(x) = target, to rounding: Newton's steps, kept within a shrinking bracket.

    Parameters
    ----------
    value, slope : callable
        A function that increases from value(0) = 0, and its derivative, of (n,) float64.
    target : (n,) float64, from 0 to value(end)
    end : float
        May be +inf.
    """
    result = np.empty_like(target)
    x = np.minimum(target, 0.5 * end)
    low, high = np.zeros_like(target), np.full_like(target, end)
    place = np.arange(len(target))
    for _ in range(MOST_STEPS):
        error = value(x) - target
        low = np.where(error <= 0.0, x, low)
        high = np.where(error >= 0.0, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = x - error / slope(x)
        middle = np.where(np.isinf(high), 2.0 * low + 1.0, 0.5 * (low + high))
        following = np.where((step >= low) & (step <= high), step, middle)
        todo = np.abs(following - x) > ROUNDING * x
        result[place] = following
        if not todo.any():
            break
        x = following
        if not todo.all():
            x, low, high = x[todo], low[todo], high[todo]
            target, place = target[todo], place[todo]
    return result


def first_root(coefficients: np.ndarray) -> float:
    """The smallest positive root of a polynomial, lowest power first; +inf if there is none."""
    roots = polynomial.polyroots(polynomial.polytrim(coefficients))
    real = roots.real[(np.abs(roots.imag) <= REAL * np.abs(roots)) & (roots.real > 0.0)]
    return float(real.min(initial=np.inf))
