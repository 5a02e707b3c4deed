"""Perspective lenses with radial and tangential distortion, in OpenCV's parameters."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import polynomial

from raydepth.camera.lenses.increasing import first_root, solve_increasing
from raydepth.camera.lenses.lens import Lens

# Angular steps of the search for the end of the field: all around the centre, and then again
# around the direction in which the end is nearest.
ALL_AROUND, ABOUT_NEAREST = 360, 40

MOST_STEPS = 100
# Shrinks the field a little, so that rounding of its end never lets a point across.
INSIDE = 1.0 - 1e-9
# A pixel is not searched for beyond this multiple of the distance of the rim's image from the
# centre. It is above 1, because the rim is interpolated.
WELL_OUTSIDE = 1.05
# If steps have to be shortened to less than this, the pixel is not in the field's image.
SHORTEST = 1e-9
# The largest residual of a solution, relative to 1 plus the distance from the centre.
UNSOLVED = 1e-12


class BrownConrady(Lens):
    """A perspective lens that distorts (x / z, y / z) before the intrinsics apply.

    With (x, y) for (x / z, y / z) and r^2 = x^2 + y^2 of them:

    x' = x q + 2 p1 x y + p2 (r^2 + 2 x^2)
    y' = y q + p1 (r^2 + 2 y^2) + 2 p2 x y
    q = (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6)

    Parameters come in OpenCV's order k1 k2 p1 p2 k3 [k4 k5 k6].

    Source: Brown, "Decentering distortion of lenses", 1966; the denominator is OpenCV's.

    Attributes
    ----------
    end : float
        The field is z > 0 and r < end: the largest disc on which the mapping is one to one. From
        the centre up to there, in every direction, the determinant of its Jacobian stays positive,
        and it maps circles to curves that go once around the centre. So no two points of the disc
        have the same image.
    """

    def __init__(
        self, intrinsics: np.ndarray, distortion: np.ndarray, size: tuple[int, int]
    ) -> None:
        super().__init__(intrinsics, size)
        k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, 0.0, 0.0, 0.0)[:8]
        # Numerator and denominator of q: polynomials in r, lowest power first.
        self._above = np.array([1.0, 0.0, k1, 0.0, k2, 0.0, k3])
        self._below = np.array([1.0, 0.0, k4, 0.0, k5, 0.0, k6])
        self._tangential = p1, p2
        self.end = INSIDE * self._end()

    def project(self, points: np.ndarray) -> np.ndarray:
        z = np.where(points[..., 2] > 0.0, points[..., 2], np.nan)
        x, y = points[..., 0] / z, points[..., 1] / z
        inside = np.hypot(x, y) < self.end
        x, y = np.where(inside, x, np.nan), np.where(inside, y, np.nan)
        return self._image(*self._distorted(x, y))

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        a, b = self._plane(pixels)
        x, y = self._undistorted(a.reshape(-1), b.reshape(-1))
        directions = np.stack([x, y, np.ones_like(x)], axis=-1)
        directions[np.isnan(x)] = 0.0
        return directions.reshape(*pixels.shape[:-1], 3)

    def _distorted(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p1, p2 = self._tangential
        r2 = x * x + y * y
        q = self._stretch(r2)[0]
        return (
            x * q + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
            y * q + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
        )

    def _stretch(self, r2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return q and its derivative by r^2."""
        _, _, k1, _, k2, _, k3 = self._above
        _, _, k4, _, k5, _, k6 = self._below
        above = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        above_slope = k1 + r2 * (2.0 * k2 + r2 * (3.0 * k3))
        below_slope = k4 + r2 * (2.0 * k5 + r2 * (3.0 * k6))
        q = above / below
        return q, (above_slope - q * below_slope) / below

    def _undistorted(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Invert `_distorted` for (n,) float64; NaN outside the field."""
        x, y, reached = self._radially_undistorted(a, b)
        if any(self._tangential):
            near = self._within_rim(a, b)
            x[~near], y[~near] = np.nan, np.nan
            x[near], y[near] = self._newton(x[near], y[near], a[near], b[near])
        else:
            # Elsewhere (x, y) is on the field's end, where rounding would decide.
            x[~reached], y[~reached] = np.nan, np.nan
        inside = np.hypot(x, y) < self.end
        return np.where(inside, x, np.nan), np.where(inside, y, np.nan)

    def _radially_undistorted(
        self, a: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the points that the lens would map to (a, b) if p1 and p2 were 0.

        For (a, b) beyond the image of the field, return the point at the field's end in the same
        direction. The third array is False there.
        """

        def value(r: np.ndarray) -> np.ndarray:
            return r * self._stretch(r * r)[0]

        def slope(r: np.ndarray) -> np.ndarray:
            q, q_slope = self._stretch(r * r)
            return q + 2.0 * r * r * q_slope

        radius = np.hypot(a, b)
        # A field without an end has an image without an end: only then does nothing make q fall.
        reached = value(np.array(self.end)) if np.isfinite(self.end) else np.inf
        r = np.full_like(radius, self.end)
        inside = radius < reached
        r[inside] = solve_increasing(value, slope, radius[inside], self.end)
        scale = r / np.where(radius > 0.0, radius, 1.0)
        return scale * a, scale * b, inside

    def _within_rim(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return False where (a, b) is well outside the field's image, to skip Newton's search.

        The image of the field's rim goes once around the centre, so it is interpolated by angle.
        """
        if not np.isfinite(self.end):
            return np.ones(len(a), bool)
        angle = 2.0 * np.pi * np.arange(ALL_AROUND) / ALL_AROUND
        rim = self._distorted(self.end * np.cos(angle), self.end * np.sin(angle))
        farthest = np.interp(
            np.arctan2(b, a), np.arctan2(rim[1], rim[0]), np.hypot(*rim), period=2.0 * np.pi
        )
        return np.hypot(a, b) < WELL_OUTSIDE * farthest

    def _newton(
        self, x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve by Newton's method from (x, y); NaN where it does not find a solution.

        Steps are shortened until they lead closer to the solution and stay inside the field.
        """
        # Points that start on the rim are moved just inside it.
        shrink = np.where(np.hypot(x, y) < self.end, 1.0, 1.0 - 1e-3)
        x, y = shrink * x, shrink * y
        result_x, result_y = np.full_like(x, np.nan), np.full_like(y, np.nan)
        place = np.arange(len(x))
        damping = np.ones_like(x)
        for _ in range(MOST_STEPS):
            there_a, there_b = self._distorted(x, y)
            error_a, error_b = there_a - a, there_b - b
            error = np.hypot(error_a, error_b)
            xx, xy, yx, yy = self._jacobian(x, y)
            determinant = xx * yy - xy * yx
            step_x = x - damping * (yy * error_a - xy * error_b) / determinant
            step_y = y - damping * (xx * error_b - yx * error_a) / determinant
            next_a, next_b = self._distorted(step_x, step_y)
            better = np.hypot(next_a - a, next_b - b) < error
            better &= np.hypot(step_x, step_y) < self.end
            solved = error <= UNSOLVED * (1.0 + np.hypot(a, b))
            # Solved to rounding: one more step does not lead closer.
            found = solved & ~better
            result_x[place[found]], result_y[place[found]] = x[found], y[found]
            done = found | (damping < SHORTEST)
            x, y = np.where(better, step_x, x), np.where(better, step_y, y)
            damping = np.where(better, np.minimum(1.0, 2.0 * damping), 0.5 * damping)
            x, y, a, b, damping, place = (v[~done] for v in (x, y, a, b, damping, place))
            if not len(x):
                break
        return result_x, result_y

    def _jacobian(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return dx'/dx, dx'/dy, dy'/dx and dy'/dy."""
        p1, p2 = self._tangential
        q, q_slope = self._stretch(x * x + y * y)
        mixed = 2.0 * (x * y * q_slope + p1 * x + p2 * y)
        return (
            q + 2.0 * x * x * q_slope + 2.0 * p1 * y + 6.0 * p2 * x,
            mixed,
            mixed,
            q + 2.0 * y * y * q_slope + 6.0 * p1 * y + 2.0 * p2 * x,
        )

    def _end(self) -> float:
        if not any(self._tangential):
            return self._end_towards(0.0)
        step = 2.0 * np.pi / ALL_AROUND
        angles = step * np.arange(ALL_AROUND)
        nearest = angles[np.argmin([self._end_towards(angle) for angle in angles])]
        angles = nearest + step * np.linspace(-1.0, 1.0, ABOUT_NEAREST + 1)
        return min(self._end_towards(angle) for angle in angles)

    def _end_towards(self, angle: float) -> float:
        """Return the smallest r in a direction at which the mapping may stop being one to one.

        On the ray (x, y) = r u with u = (cos, sin) the image is r q u + r^2 w, where w depends on
        the angle only. Let n and d be the numerator and the denominator of q. Multiplied by powers
        of d, the Jacobian's determinant is a polynomial in r. So is the expression whose sign tells
        in which sense the image of a circle goes round.
        """
        p1, p2 = self._tangential
        cos, sin = np.cos(2.0 * angle), np.sin(2.0 * angle)
        w = np.array([p1 * sin + p2 * (2.0 + cos), p1 * (2.0 - cos) + p2 * sin])
        turn = 2.0 * np.array([p1 * cos - p2 * sin, p1 * sin + p2 * cos])  # dw / d angle
        u = np.array([np.cos(angle), np.sin(angle)])
        u_w = u[0] * turn[1] - u[1] * turn[0]
        w_v = w @ u  # the cross product with v, which is u turned by 90 degrees
        w_w = w[0] * turn[1] - w[1] * turn[0]

        def times(*factors: np.ndarray) -> np.ndarray:
            product = np.ones(1)
            for factor in factors:
                product = polynomial.polymul(product, factor)
            return product

        n, d, r = self._above, self._below, np.array([0.0, 1.0])
        derivative = polynomial.polysub(
            times(polynomial.polyder(times(r, n)), d), times(r, n, polynomial.polyder(d))
        )
        determinant = times(derivative, n)
        for part in (
            u_w * times(derivative, r, d),
            2.0 * w_v * times(r, n, d, d),
            2.0 * w_w * times(r, r, d, d, d),
        ):
            determinant = polynomial.polyadd(determinant, part)
        sense = times(n, n)
        for part in ((u_w + w_v) * times(r, n, d), w_w * times(r, r, d, d)):
            sense = polynomial.polyadd(sense, part)
        return min(first_root(p) for p in (d, determinant, sense))
