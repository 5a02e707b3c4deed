"""`Cameras`: views that share a model and an image size, their rays and their projections.

A camera looks along its +z axis, x points right, y points down (OpenCV's axes). The centre of pixel
(row, column) is at image coordinates (column + 0.5, row + 0.5); row 0 is the top row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from raydepth.camera.intrinsics import (
    check_cubemap,
    checked_distortion,
    checked_intrinsics,
    checked_limit,
    checked_points,
    checked_size,
)
from raydepth.camera.kinds import checked_kind
from raydepth.camera.lenses.lens import Lens
from raydepth.camera.lenses.models import MODELS, lens_of
from raydepth.camera.poses import checked_poses
from raydepth.system.real_arrays import real_array, write_protected

WITH_Z = ("perspective", "orthographic")


class Cameras:
    """n views that share a model and an image size. Immutable.

    Parameters
    ----------
    intrinsics : (3, 3) or (n_views, 3, 3) float
        `[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]`, in pixels. The model decides which coordinates
        they map to image coordinates, and which distortion applies before that:

        - "perspective": (x / z, y / z). Distortion of 5 (k1 k2 p1 p2 k3) or 8 (... k4 k5 k6)
          parameters is Brown-Conrady's, in OpenCV's order and meaning.
        - "orthographic": (x, y); fx and fy are therefore pixels per unit.
        - "fisheye": r (x, y) / |(x, y)| with r = theta, the angle from the axis in radians
          (equidistant). Distortion of 4 parameters (k1 k2 k3 k4) is Kannala-Brandt's, as in
          OpenCV's fisheye: r = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8).
        - "equirectangular": (longitude, latitude) in radians. Both are 0 straight ahead; longitude
          grows to the right, latitude downwards.
        - "cubemap": six faces of 90 degrees, s x s pixels each, side by side: right, left, up,
          down, front, back, in the order and orientation of OpenGL's cube maps. The intrinsics are
          those of one face; see `cubemap_intrinsics`.

        Each model has a field, in which rays and pixels are one to one; see the classes in
        `lenses`. Pixels outside the field are misses.
    world_from_camera : (4, 4) or (n_views, 4, 4) float
        Maps points in camera coordinates (OpenCV axes) to world points. Rotation and translation
        only. It and the intrinsics may be arrays on a CUDA device; they are copied to main memory.
    size : int or (width, height)
        Image size in pixels; one number means a square.
    model : "perspective", "orthographic", "fisheye", "equirectangular" or "cubemap"
    distortion : (n,) or (n_views, n) float, optional
        Parameters of the distortion, as listed under `intrinsics`.
    near, far : float or (n_views,) float, optional
        Surfaces nearer or farther than these are not seen. Both are z depth in units if the model
        has z depth, else ray depth. A surface behind one that is too near is seen.

    Raises
    ------
    ValueError
        A field has the wrong shape, is not finite, or makes no sense (zero focal length, a
        rotation that is mirrored, scaled or sheared); the message names the field, its value and
        the view.
    """

    def __init__(
        self,
        intrinsics: Any,
        world_from_camera: Any,
        size: int | Sequence[int],
        *,
        model: str = "perspective",
        distortion: Any = None,
        near: Any = None,
        far: Any = None,
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"model is {model!r}; expected one of {', '.join(MODELS)}")
        self.model = model
        self.width, self.height = checked_size(size)
        self.world_from_camera = checked_poses(world_from_camera)
        n_views = len(self.world_from_camera)
        self.intrinsics = checked_intrinsics(intrinsics, n_views)
        if model == "cubemap":
            check_cubemap(self.intrinsics, self.width, self.height)
        self.distortion = checked_distortion(distortion, model, n_views)
        self.near = checked_limit(near, "near", n_views)
        self.far = checked_limit(far, "far", n_views)
        if self.near is not None and self.far is not None and (self.near >= self.far).any():
            view = int(np.argmax(self.near >= self.far))
            raise ValueError(
                f"near of view {view} is {self.near[view]}, far {self.far[view]}; "
                "expected near below far"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy's arrays are new, and writable until here.
        self.__dict__.update(write_protected(state))

    def __len__(self) -> int:
        return len(self.world_from_camera)

    def __getitem__(self, views: int | slice | Sequence[int] | np.ndarray) -> Cameras:
        """Return the chosen views as Cameras; an int chooses one view."""
        if isinstance(views, (int, np.integer)):
            if not -len(self) <= views < len(self):
                raise IndexError(f"view {views} is out of range for {len(self)} views")
            views = [int(views)]
        return Cameras(
            self.intrinsics[views],
            self.world_from_camera[views],
            (self.width, self.height),
            model=self.model,
            **{name: value[views] for name, value in self._optional().items()},
        )

    def __repr__(self) -> str:
        return f"Cameras({len(self)} {self.model} views, {self.width}x{self.height})"

    def _optional(self) -> dict[str, np.ndarray]:
        """The optional fields (distortion, near, far) that are given."""
        fields = {"distortion": self.distortion, "near": self.near, "far": self.far}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def is_affine(self) -> bool:
        """True if a ray's origin and direction are affine in the pixel; see `ray_basis`."""
        straight = self.distortion is None or not self.distortion.any()
        return self.model in WITH_Z and straight

    @property
    def has_z(self) -> bool:
        """True if z depth is defined: for perspective (also distorted) and orthographic views."""
        return self.model in WITH_Z

    @property
    def has_limits(self) -> bool:
        """True if `near` or `far` is given."""
        return self.near is not None or self.far is not None

    @property
    def camera_from_world(self) -> np.ndarray:
        """The inverse of `world_from_camera`: (n_views, 4, 4) float64."""
        return np.linalg.inv(self.world_from_camera)

    @property
    def centres(self) -> np.ndarray:
        """The cameras' positions in the world: (n_views, 3) float64."""
        return self.world_from_camera[:, :3, 3]

    def ray_basis(self) -> np.ndarray:
        """Return the matrices that turn image coordinates into rays: (n_views, 6, 3) float64.

        For perspective and orthographic cameras without distortion (`is_affine`) the origin and
        the direction of a ray are affine in the image coordinates (x, y). With rows o, ox, oy, d,
        dx, dy, the ray through (x, y) has the origin `o + x * ox + y * oy` and the direction
        `d + x * dx + y * dy`, in the world. Directions are not normalised: a point at
        `origin + t * direction` has z depth t.

        Raises
        ------
        ValueError
            The rays of this model are not affine; `rays` works for every model.
        """
        if not self.is_affine:
            raise ValueError(
                f"the rays of {self.in_words} cameras are not affine in the pixel; expected "
                "perspective or orthographic cameras without distortion"
            )
        rotation = self.world_from_camera[:, :3, :3]
        fx, skew, cx = self.intrinsics[:, 0, 0], self.intrinsics[:, 0, 1], self.intrinsics[:, 0, 2]
        fy, cy = self.intrinsics[:, 1, 1], self.intrinsics[:, 1, 2]
        # The columns of the inverse intrinsics, in the camera's own axes.
        inverse = np.zeros((len(self), 3, 3))
        inverse[:, 0, 0] = 1.0 / fx
        inverse[:, 0, 1] = -skew / (fx * fy)
        inverse[:, 0, 2] = (skew * cy / fy - cx) / fx
        inverse[:, 1, 1] = 1.0 / fy
        inverse[:, 1, 2] = -cy / fy
        basis = np.zeros((len(self), 6, 3))
        if self.model == "perspective":
            inverse[:, 2, 2] = 1.0
            basis[:, 0] = self.centres
            basis[:, 3:] = np.swapaxes(rotation @ inverse, 1, 2)[:, [2, 0, 1]]
        else:
            basis[:, :3] = np.swapaxes(rotation @ inverse, 1, 2)[:, [2, 0, 1]]
            basis[:, 0] += self.centres
            basis[:, 3] = rotation[:, :, 2]
        return basis

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `near` and `far` of each view, (n_views,) float64; 0 and +inf if not given."""
        near = np.zeros(len(self)) if self.near is None else self.near
        return near, np.full(len(self), np.inf) if self.far is None else self.far

    @property
    def in_words(self) -> str:
        """The name of the model, preceded by "distorted" if it is."""
        distorted = self.distortion is not None and self.distortion.any()
        return f"distorted {self.model}" if distorted else self.model

    def check_kinds(self, kinds: Sequence[str]) -> None:
        """Raise ValueError if z depth is requested from a model that has none."""
        if "z" in kinds and not self.has_z:
            raise ValueError(
                f"kind is 'z', but {self.model} cameras have no z depth; ask for kind 'ray'"
            )

    def lenses(self) -> Iterator[tuple[Lens, np.ndarray]]:
        """Yield each distinct lens (intrinsics and distortion) and the indices of its views."""
        fields = [self.intrinsics.reshape(len(self), 9)]
        if self.distortion is not None:
            fields.append(self.distortion)
        _, first, lens_of_view = np.unique(
            np.concatenate(fields, axis=1), axis=0, return_index=True, return_inverse=True
        )
        for number, view in enumerate(first):
            distortion = None if self.distortion is None else self.distortion[view]
            lens = lens_of(self.model, self.intrinsics[view], distortion, (self.width, self.height))
            yield lens, np.flatnonzero(lens_of_view.reshape(-1) == number)

    def project(self, points: Any) -> np.ndarray:
        """Return the image coordinates of world points in every view.

        Parameters
        ----------
        points : (..., 3) float
            The same points for all views, in units.

        Returns
        -------
        (n_views, ..., 2) float64
            (x, y) in pixels, inside the image or not; NaN outside the field of the model, such as
            behind a perspective camera.

        Raises
        ------
        ValueError
            `points` has another shape or does not hold numbers.
        """
        points = checked_points(points, "points", 3)
        pixels = np.empty((len(self), *points.shape[:-1], 2))
        for lens, views in self.lenses():
            for view in views:
                pose = self.world_from_camera[view]
                pixels[view] = lens.project((points - pose[:3, 3]) @ pose[:3, :3])
        return pixels

    def rays(self, pixels: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the rays of pixels, in the world; `cast_rays` takes them.

        Parameters
        ----------
        pixels : (n_views or 1, ..., 2) float, optional
            Image coordinates (x, y) in each view, or the same in all views. If not given, the
            centres of all pixels, (1, height, width, 2).

        Returns
        -------
        origins, directions : (n_views, ..., 3) float64
            A point at `origin + t * direction` has z depth t if the model has z depth. Otherwise
            directions have length 1, and the point has ray depth t. A pixel outside the field has
            direction 0, which hits nothing.

        Raises
        ------
        ValueError
            `pixels` has another shape or does not hold numbers.
        """
        pixels = self._checked_pixels(pixels)
        shape = (len(self), *pixels.shape[1:-1], 3)
        if self.is_affine:
            basis = self.ray_basis().reshape(len(self), 6, *(1,) * (pixels.ndim - 2), 3)
            x, y = pixels[..., :1], pixels[..., 1:]
            origins = basis[:, 0] + x * basis[:, 1] + y * basis[:, 2]
            return np.broadcast_to(origins, shape), basis[:, 3] + x * basis[:, 4] + y * basis[:, 5]
        directions = np.empty(shape)
        for lens, views in self.lenses():
            shared = lens.directions(pixels[0]) if len(pixels) == 1 else None
            for view in views:
                in_camera = lens.directions(pixels[view]) if shared is None else shared
                directions[view] = turned(self.world_from_camera[view], in_camera)
        centres = self.centres.reshape(len(self), *(1,) * (pixels.ndim - 2), 3)
        return np.broadcast_to(centres, shape), directions

    def unproject(self, pixels: Any, depth: Any, kind: str = "z") -> np.ndarray:
        """Return the world points that pixels see at a depth; the inverse of `project`.

        Parameters
        ----------
        pixels : (n_views or 1, ..., 2) float, or None
            As for `rays`.
        depth : (n_views, ...) float
            Depth of each pixel in units; broadcast to the shape of the pixels.
        kind : "z" or "ray"
            The kind of `depth`.

        Returns
        -------
        (n_views, ..., 3) float64
            World points; NaN outside the field and where `depth` is not finite.

        Raises
        ------
        ValueError
            The model does not have this kind of depth, or a shape does not fit.
        """
        checked_kind(kind)
        self.check_kinds((kind,))
        origins, directions = self.rays(pixels)
        along = real_array(depth, "depth")
        try:
            along = np.broadcast_to(along, origins.shape[:-1])
        except ValueError:
            raise ValueError(
                f"depth has shape {along.shape}; expected {origins.shape[:-1]}"
            ) from None
        length = np.sqrt((directions * directions).sum(axis=-1))
        along = np.where(np.isfinite(along) & (length > 0.0), along, np.nan)
        if kind == "ray" and self.has_z:
            along = along / length
        return origins + along[..., None] * directions

    def _checked_pixels(self, pixels: Any) -> np.ndarray:
        if pixels is None:
            x, y = np.arange(self.width) + 0.5, np.arange(self.height) + 0.5
            return np.stack(np.meshgrid(x, y), axis=-1)[None]
        pixels = checked_points(pixels, "pixels", 2)
        if pixels.ndim < 2 or len(pixels) not in (1, len(self)):
            raise ValueError(
                f"pixels has shape {pixels.shape}; expected ({len(self)}, ..., 2), with an entry "
                "for each view, or (1, ..., 2), the same for all"
            )
        return pixels

    def to_json(self) -> dict[str, Any]:
        """Return one view as plain JSON data; numbers survive the round trip bit for bit."""
        if len(self) != 1:
            raise ValueError(f"to_json takes one view, got {len(self)}; use cameras[i].to_json()")
        return {
            "model": self.model,
            "width": self.width,
            "height": self.height,
            "axes": "opencv",
            "pixel_centre": [0.5, 0.5],
            "intrinsics": self.intrinsics[0].tolist(),
            "world_from_camera": self.world_from_camera[0].tolist(),
            **{name: value[0].tolist() for name, value in self._optional().items()},
        }

    @cached_property
    def json_text(self) -> str:
        """The text of `to_json`, made once."""
        return json.dumps(self.to_json(), allow_nan=False)

    @classmethod
    def from_json(cls, data: dict[str, Any] | Sequence[dict[str, Any]]) -> Cameras:
        """Make Cameras from data of `to_json`: one view, or a list of one model and size."""
        views = [data] if isinstance(data, dict) else list(data)
        if not views:
            raise ValueError("no cameras; expected at least one")
        shared = ("model", "width", "height", "axes", "pixel_centre")
        for i, view in enumerate(views):
            missing = [
                key
                for key in (*shared, "intrinsics", "world_from_camera")
                if not isinstance(view, dict) or key not in view
            ]
            if missing:
                raise ValueError(f"camera {i} lacks {', '.join(missing)}")
            for key in shared:
                if view[key] != views[0][key]:
                    raise ValueError(
                        f"camera {i} has {key} {view[key]!r}, camera 0 has {views[0][key]!r}; "
                        "expected the same for all"
                    )
        first = views[0]
        optional = [key for key in ("distortion", "near", "far") if key in first]
        for i, view in enumerate(views):
            for key in ("distortion", "near", "far"):
                if (key in view) != (key in first):
                    raise ValueError(
                        f"one of cameras {i} and 0 has {key}, the other does not; "
                        "expected it in all or in none"
                    )
        if first["axes"] != "opencv" or first["pixel_centre"] != [0.5, 0.5]:
            raise ValueError(
                f"cameras have axes {first['axes']!r} and pixel_centre {first['pixel_centre']!r}; "
                "expected 'opencv' and [0.5, 0.5]"
            )
        return cls(
            [view["intrinsics"] for view in views],
            [view["world_from_camera"] for view in views],
            (first["width"], first["height"]),
            model=first["model"],
            **{key: [view[key] for view in views] for key in optional},
        )


def turned(world_from_camera: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Turn directions (..., 3) from a camera's frame to the world.

    Each sum is written out, because the rounding of a matrix product depends on how many vectors it
    takes at once.
    """
    x, y, z = (directions[..., axis, None] for axis in range(3))
    right, down, forward = world_from_camera[:3, :3].T
    return x * right + y * down + z * forward
