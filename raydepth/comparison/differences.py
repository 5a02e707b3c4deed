"""Differences between two depth maps of the same rays: where they disagree, and by how much.

Depths of the same kind are compared pixel by pixel. Hit masks must be equal, except within
`outline_judge.BAND` pixels of an outline, where rounding decides. Where both hit, the error must
stay within `c * 2^-24 * depth / |cos|`, where cos is that of the angle between ray and surface
normal: a float32 renderer aims its ray a few roundings off, and a slanted surface turns that into
an error of depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

# Half a float32 ulp of a number just above a power of two, relative to that number.
FLOAT32_ROUNDING = 2.0**-24


@dataclass(frozen=True, eq=False)
class Differences:
    """The differences between depth and a reference; arrays have the shape of both.

    Attributes
    ----------
    only_depth, only_reference : bool
        Pixels that only one of the two hits.
    both : bool
        Pixels that both hit.
    error : float64
        depth - reference in units; NaN where not both hit.
    ulps : float64
        |error| in float32 steps of the reference there; NaN where not both hit.
    bound : float64
        The largest |error| that is allowed, units; NaN where not both hit.
    """

    only_depth: np.ndarray
    only_reference: np.ndarray
    both: np.ndarray
    error: np.ndarray
    ulps: np.ndarray
    bound: np.ndarray

    def __getitem__(self, view: int) -> Differences:
        """Return the differences of one view."""
        return Differences(*(getattr(self, field.name)[view] for field in fields(self)))

    @property
    def beyond(self) -> np.ndarray:
        """bool: pixels whose |error| exceeds the bound."""
        return np.abs(self.error) > self.bound

    @property
    def questionable(self) -> np.ndarray:
        """bool: pixels where the masks differ or |error| exceeds the bound."""
        return self.only_depth | self.only_reference | self.beyond


def differences(
    depth: np.ndarray, reference: np.ndarray, cosine: np.ndarray, *, c: float
) -> Differences:
    """Compare depth maps of the same rays.

    Parameters
    ----------
    depth, reference : (height, width) or (n_views, height, width) float, units
        Both of the same kind; a value that is not finite is a miss.
    cosine : same shape, float
        |cos| of the angle between the pixel's ray and the surface's normal, 0 to 1. Used only
        where both hit.
    c : float
        The factor of the bound.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if not depth.shape == reference.shape == cosine.shape:
        raise ValueError(
            f"depth, reference and cosine have shapes {depth.shape}, {reference.shape} and "
            f"{cosine.shape}; expected the same"
        )
    hit, reference_hit = np.isfinite(depth), np.isfinite(reference)
    both = hit & reference_hit
    a = np.where(both, depth, np.nan).astype(np.float64)
    b = np.where(both, reference, np.nan).astype(np.float64)
    error = a - b
    step = np.spacing(np.abs(b).astype(np.float32)).astype(np.float64)
    # A surface seen exactly edge-on has an infinite bound: its depth may be anything.
    with np.errstate(divide="ignore"):
        bound = c * FLOAT32_ROUNDING * np.abs(b) / np.where(both, cosine, np.nan)
    return Differences(
        only_depth=hit & ~reference_hit,
        only_reference=reference_hit & ~hit,
        both=both,
        error=error,
        ulps=np.abs(error) / step,
        bound=bound,
    )


def summary(found: Differences, in_band: np.ndarray) -> dict[str, Any]:
    """Return the numbers of differences as JSON data.

    Median, 99th percentile and maximum of the error, in units and in ulps, are taken over the
    pixels that both hit, except those beyond the bound inside the band.

    Parameters
    ----------
    found : Differences
    in_band : bool, of the same shape
        Pixels whose centre lies in the outline band; used only where `found.questionable`.
    """
    n_both = int(np.count_nonzero(found.both))
    # Within the band the two may see different surfaces; the distance between them is not an error.
    same = found.both & ~(found.beyond & in_band)

    def count(mask: np.ndarray) -> dict[str, int]:
        return {
            "outside_band": int(np.count_nonzero(mask & ~in_band)),
            "inside_band": int(np.count_nonzero(mask & in_band)),
        }

    beyond = count(found.beyond)
    return {
        "pixels": found.both.size,
        "hit_by_both": n_both,
        "only_raydepth": count(found.only_depth),
        "only_reference": count(found.only_reference),
        "beyond_bound": beyond,
        "share_beyond_bound": beyond["outside_band"] / n_both if n_both else 0.0,
        "worst_error_over_bound": float(
            np.max(np.abs(found.error[same]) / found.bound[same], initial=0.0)
        ),
        "error_units": _spread(np.abs(found.error[same])),
        "error_ulps": _spread(found.ulps[same]),
    }


def agrees(numbers: Mapping[str, Any]) -> bool:
    """True if nothing differs outside the outline band, according to a `summary`."""
    return not any(
        numbers[key]["outside_band"] for key in ("only_raydepth", "only_reference", "beyond_bound")
    )


def _spread(values: np.ndarray) -> dict[str, float | None]:
    """Return median, 99th percentile and maximum; each is None if there are no values."""
    if not len(values):
        return {"median": None, "p99": None, "max": None}
    median, p99 = np.percentile(values, [50, 99])
    return {"median": float(median), "p99": float(p99), "max": float(values.max())}
