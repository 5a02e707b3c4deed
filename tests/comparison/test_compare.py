"""The comparison of depth maps, with planted errors."""

from __future__ import annotations

import numpy as np
import pytest

from raydepth.comparison.differences import FLOAT32_ROUNDING, agrees, differences, summary

SHAPE = (6, 8)


def maps(seed: int = 0):
    """Depth around 2 units with some misses, and slants from steep to facing."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1.5, 2.5, SHAPE).astype(np.float32)
    depth[0] = np.inf
    return depth, rng.uniform(0.05, 1.0, SHAPE)


def nowhere() -> np.ndarray:
    return np.zeros(SHAPE, bool)


def test_the_same_maps_agree():
    depth, cosine = maps()
    found = differences(depth, depth.copy(), cosine, c=4)
    numbers = summary(found, nowhere())
    assert agrees(numbers)
    assert numbers["hit_by_both"] == 40
    assert numbers["pixels"] == 48
    assert numbers["worst_error_over_bound"] == 0.0
    assert numbers["error_units"] == {"median": 0.0, "p99": 0.0, "max": 0.0}
    assert not found.questionable.any()


@pytest.mark.parametrize("miss", [np.inf, np.nan])
def test_mask_differences_are_counted_by_direction_and_band(miss):
    depth, cosine = maps()
    reference = depth.copy()
    reference[1, 2] = reference[2, 3] = reference[2, 4] = miss
    reference[0, 5] = 1.0
    in_band = nowhere()
    in_band[2, 3] = True
    numbers = summary(differences(depth, reference, cosine, c=4), in_band)
    assert numbers["only_raydepth"] == {"outside_band": 2, "inside_band": 1}
    assert numbers["only_reference"] == {"outside_band": 1, "inside_band": 0}
    assert numbers["beyond_bound"] == {"outside_band": 0, "inside_band": 0}
    assert numbers["hit_by_both"] == 37
    assert not agrees(numbers)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("c", [4.0, 16.0])
def test_the_bound_is_what_it_says(c, sign):
    reference, cosine = maps()
    reference = reference.astype(np.float64)
    reference[0] = 2.0
    bound = c * FLOAT32_ROUNDING * reference / cosine
    inside = differences(reference + sign * 0.999 * bound, reference, cosine, c=c)
    outside = differences(reference + sign * 1.001 * bound, reference, cosine, c=c)
    assert not inside.beyond.any()
    assert (outside.beyond == outside.both).all()
    assert summary(inside, nowhere())["worst_error_over_bound"] == pytest.approx(0.999)
    numbers = summary(outside, nowhere())
    assert numbers["share_beyond_bound"] == 1.0
    assert numbers["beyond_bound"]["outside_band"] == 48
    assert not agrees(numbers)


def test_one_planted_error_is_found():
    depth, cosine = maps()
    reference = depth.copy()
    reference[3, 3] += np.float32(1e-4)
    found = differences(depth, reference, cosine, c=4)
    assert np.argwhere(found.questionable).tolist() == [[3, 3]]
    assert found.error[3, 3] == pytest.approx(-1e-4, rel=1e-2)
    numbers = summary(found, nowhere())
    assert numbers["error_units"]["max"] == pytest.approx(1e-4, rel=1e-2)
    assert numbers["share_beyond_bound"] == 1 / 40
    # In the band it is excused, counted as such, and no error of the surface that both see.
    excused = summary(found, found.beyond)
    assert excused["beyond_bound"] == {"outside_band": 0, "inside_band": 1}
    assert excused["error_units"]["max"] == 0.0
    assert excused["worst_error_over_bound"] == 0.0
    assert agrees(excused)


def test_ulps_are_steps_of_float32():
    reference = np.array([[1.0, 1.5, 3.9, 1e-9, 1e9]], np.float32)
    depth = np.nextafter(reference, np.float32(np.inf))
    found = differences(depth, reference, np.ones_like(reference), c=4)
    assert found.ulps.tolist() == [[1.0] * 5]
    assert (found.error > 0).all()


def test_edge_on_bounds_nothing():
    found = differences(np.full((1, 1), 2.0), np.full((1, 1), 3.0), np.zeros((1, 1)), c=4)
    assert not found.beyond.any()


def test_nothing_hit_has_no_spread():
    nothing = np.full(SHAPE, np.inf)
    numbers = summary(differences(nothing, nothing, np.ones(SHAPE), c=4), nowhere())
    assert numbers["error_ulps"] == {"median": None, "p99": None, "max": None}
    assert numbers["share_beyond_bound"] == 0.0
    assert agrees(numbers)


def test_views_add_up():
    stack = [np.stack(pair) for pair in zip(maps(1), maps(2), strict=True)]
    depth, cosine = stack
    reference = depth.copy()
    reference[1, 2, 2] = np.inf
    found = differences(depth, reference, cosine, c=4)
    assert summary(found[1], nowhere())["only_raydepth"]["outside_band"] == 1
    assert summary(found[0], nowhere())["only_raydepth"]["outside_band"] == 0
    assert summary(found, np.stack([nowhere()] * 2))["hit_by_both"] == 79


def test_shapes_must_be_the_same():
    with pytest.raises(ValueError, match=r"shapes \(2, 2\), \(2, 3\) and \(2, 2\); expected the"):
        differences(np.ones((2, 2)), np.ones((2, 3)), np.ones((2, 2)), c=4)
