"""Convert depth to 16-bit values with a fixed scale, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from raydepth.simd.jit import jit

MAX_VALUE = 65535


@jit
def quantize(depth: np.ndarray, scale: float, miss: float, values: np.ndarray) -> int:
    """Write `round(depth * scale)`, in float64 and halfway to even, or 0 for a miss.

    This takes one pass of a few vector instructions; NumPy needs ten over temporary arrays.

    Parameters
    ----------
    depth : (n,) float32 or float64
    scale : float
    miss : float of depth's dtype
        May be NaN.
    values : (n,) uint16
        Output. A depth that does not fit gets an arbitrary value.

    Returns
    -------
    int
        The number of depths that are not a miss and become less than 1 or more than 65535, or are
        NaN.
    """
    n_unfit = np.uint32(0)
    miss_is_nan = miss != miss
    for i in range(depth.size):
        d = depth[i]
        missed = (d == miss) | (miss_is_nan & (d != d))
        value = np.rint(np.float64(d) * scale)
        value = 0.0 if missed else value
        fits = (value >= 1.0) & (value <= MAX_VALUE)
        n_unfit += np.uint32(1 - (fits | missed))
        values[i] = np.uint16(np.int32(value if fits else 0.0))
    return int(n_unfit)


# Between these limits every value / values_per_unit is a normal float32.
MIN_VALUES_PER_UNIT, MAX_VALUES_PER_UNIT = 1e-33, 1e37


def encode_uint16(
    depth: np.ndarray, values_per_unit: float = 10000, miss: float = np.inf
) -> np.ndarray:
    """Encode a depth map as 16-bit values: `round(depth * values_per_unit)`, 0 for a miss.

    The product and the rounding are in float64; exactly halfway goes to the even value.

    Parameters
    ----------
    depth : (height, width) float
    values_per_unit : float
        Depths up to 65535 / values_per_unit fit; the rounding error is at most half of
        1 / values_per_unit.
    miss : float
        The value in `depth` that means a miss; may be NaN.

    Returns
    -------
    (height, width) uint16

    Raises
    ------
    ValueError
        A depth that is not a miss would become 0 or more than 65535, or is not finite and > 0. The
        message has the number of such pixels, the most extreme depth, and the `values_per_unit`
        that would fit this image.
    """
    _check_miss(miss)
    depth = checked_depth(depth, miss)
    scale = checked_scale(values_per_unit)
    # In the machine's byte order and C order, so that few kernels are compiled.
    dtype = np.float64 if depth.dtype.itemsize == 8 else np.float32
    with np.errstate(over="ignore"):
        stored_miss: Any = dtype(depth.dtype.type(miss))
    values = np.empty(depth.shape, dtype=np.uint16)
    rows = np.ascontiguousarray(depth, dtype=dtype)
    if quantize(rows.reshape(-1), scale, stored_miss, values.reshape(-1)):
        raise ValueError(_why_not_uint16(depth, scale, miss))
    return values


def decode_uint16(values: np.ndarray, values_per_unit: float) -> np.ndarray:
    """Decode 16-bit values to depth: `value / values_per_unit` in float64, rounded once.

    Parameters
    ----------
    values : (height, width) uint16
        0 is a miss.
    values_per_unit : float
        The scale with which they were encoded.

    Returns
    -------
    (height, width) float32
        In units; +inf is a miss.
    """
    depth = np.divide(values, values_per_unit, dtype=np.float64).astype(np.float32)
    depth[values == 0] = np.inf
    return depth


def fitting_values_per_unit(nearest: float, farthest: float) -> float | None:
    """The largest round `values_per_unit` at which all depths from nearest to farthest fit.

    It is 1, 2 or 5 times a power of ten if that fits both ends, else the one with the fewest
    digits, at most four; None if there is none.
    """
    limit = min(MAX_VALUE / farthest, MAX_VALUES_PER_UNIT)
    exponent = math.floor(math.log10(limit))
    candidates = [float(f"{digit}e{exponent}") for digit in (5, 2, 1)]
    # Fewer digits leave more room at the far end, more digits leave more at the near end.
    for places in range(4):
        unit = float(f"1e{exponent - places}")
        candidates.append(float(f"{math.floor(limit / unit)}e{exponent - places}"))
    for scale in candidates:
        if scale < MIN_VALUES_PER_UNIT or scale > limit:
            continue
        if round(nearest * scale) >= 1 and round(farthest * scale) <= MAX_VALUE:
            return scale
    return None


def checked_depth(depth: Any, miss: Any = np.inf) -> np.ndarray:
    """Return `depth` as an array; ValueError if it is not (height, width) float.

    What is masked is a miss.
    """
    if isinstance(depth, np.ma.MaskedArray) and depth.dtype.kind == "f":
        depth = depth.filled(miss)
    depth = np.asarray(depth)
    # Both byte orders are accepted.
    if depth.dtype.kind != "f" or depth.dtype.itemsize > 8:
        raise ValueError(f"depth has dtype {depth.dtype}; expected float16, float32 or float64")
    if depth.ndim != 2 or depth.size == 0:
        raise ValueError(f"depth has shape {depth.shape}; expected (height, width), one view")
    return depth


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def checked_scale(values_per_unit: Any) -> float:
    """Return `values_per_unit` as a float; ValueError if no 16-bit file can have this scale."""
    # Written so that NaN fails too.
    if not (
        _is_number(values_per_unit)
        and MIN_VALUES_PER_UNIT <= values_per_unit <= MAX_VALUES_PER_UNIT
    ):
        raise ValueError(
            f"values_per_unit is {values_per_unit!r}; expected a number between "
            f"{MIN_VALUES_PER_UNIT:g} and {MAX_VALUES_PER_UNIT:g}"
        )
    return float(values_per_unit)


def as_number(scale: float) -> int | float:
    """Return a scale as files hold it: 10000 and 10000.0 must give the same bytes."""
    return int(scale) if scale.is_integer() and scale < 2**53 else scale


def _check_miss(miss: Any) -> None:
    if not _is_number(miss):
        raise ValueError(f"miss is {miss!r}; expected the number that means a miss in depth")


def misses(depth: np.ndarray, miss: Any) -> np.ndarray:
    """Return (height, width) bool, True where `depth` is the miss value."""
    _check_miss(miss)
    if math.isnan(miss):
        return np.isnan(depth)
    # The miss value was rounded to the array's dtype when it was stored in the array.
    with np.errstate(over="ignore"):
        return depth == depth.dtype.type(miss)


def why_invalid(depth: np.ndarray, missed: np.ndarray, miss: float) -> str | None:
    """Describe in one line the pixels that are neither a miss nor finite and > 0; None if none."""
    depths = depth[~missed]
    invalid = depths[~(np.isfinite(depths) & (depths > 0.0))]
    if invalid.size == 0:
        return None
    n_nan = int(np.count_nonzero(np.isnan(invalid)))
    found = [f"{n_nan} NaN"] if n_nan else []
    if n_nan < invalid.size:
        found.append(f"the smallest {np.nanmin(invalid):.9g}")
        found.append(f"the largest {np.nanmax(invalid):.9g}")
    return (
        f"{invalid.size} of {depth.size} pixels hold an invalid depth ({', '.join(found)}); "
        f"expected finite depths > 0, and miss={float(miss):g} where nothing was hit"
    )


def _why_not_uint16(depth: np.ndarray, scale: float, miss: float) -> str:
    """Say in one line how many pixels do not fit 16 bits, by how much, and what would fit."""
    missed = misses(depth, miss)
    invalid = why_invalid(depth, missed, miss)
    if invalid:
        return invalid
    depths = depth[~missed]
    nearest, farthest = float(depths.min()), float(depths.max())
    ends = []
    if round(farthest * scale) > MAX_VALUE:
        ends.append(f"the largest is {farthest:.9g}")
    if round(nearest * scale) < 1:
        ends.append(f"the smallest is {nearest:.9g}")
    with np.errstate(over="ignore"):
        values = np.rint(np.multiply(depths, scale, dtype=np.float64))
    n_bad = int(np.count_nonzero((values < 1) | (values > MAX_VALUE)))
    fitting = fitting_values_per_unit(nearest, farthest)
    return (
        f"{n_bad} of {depth.size} pixels hold a depth that does not fit 16 bits at "
        f"values_per_unit={scale:.9g} ({1 / scale:.9g} to {MAX_VALUE / scale:.9g} units): "
        f"{' and '.join(ends)}; "
        + (
            f"values_per_unit={fitting:.9g} would fit"
            if fitting is not None
            else "no values_per_unit fits both the nearest and the farthest; use a float format"
        )
    )
