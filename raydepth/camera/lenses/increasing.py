"""The inverse of an increasing function, and the first positive root of a polynomial."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import polynomial

# More steps than a bisection of float64 numbers takes.
MOST_STEPS = 200
# Steps that are at most this large, relative to x, are due to rounding alone.
ROUNDING = 2.0**-50
# Roots whose imaginary part is at most this large, relative to them, count as real. Where a
# polynomial only touches the axis, a pair of roots is found whose imaginary parts are about the
# square root of the resolution.
REAL = 1e-7


def solve_increasing(
    value: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    target: np.ndarray,
    end: float,
) -> np.ndarray:
    """Find x with value(x) = target, to rounding, by Newton steps kept in a shrinking bracket.

    Parameters
    ----------
    value, slope : callable
        A function that increases from value(0) = 0, and its derivative, of (n,) float64.
    target : (n,) float64, from 0 to value(end)
    end : float
        The largest x; may be +inf.
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
    """Return the smallest positive root of a polynomial, lowest power first; +inf if none."""
    roots = polynomial.polyroots(polynomial.polytrim(coefficients))
    real = roots.real[(np.abs(roots.imag) <= REAL * np.abs(roots)) & (roots.real > 0.0)]
    return float(real.min(initial=np.inf))
