"""Render the same mesh and cameras with raydepth and with Blender Cycles, and compare the depth.

There are two modes, because Blender works in float32:

camera : vertices are taken to each camera's frame in float64 and rounded once; Blender's camera
    stands at the origin. Both programs get the same float32 numbers, so hardly anything but the
    intersection itself is compared.
pose : both get the mesh where it is, in float32, and the camera as read back from Blender.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from raydepth.blender.convert import (
    BlenderCamera,
    blender_from_cameras,
    cameras_from_blender,
    check_model,
)
from raydepth.blender.process import TIMEOUT, Answer, Blender, run
from raydepth.camera.camera import Cameras
from raydepth.camera.poses import OPENGL_FLIP
from raydepth.comparison.differences import Differences, agrees, differences, summary
from raydepth.comparison.outline_judge import judge
from raydepth.errors import BlenderError
from raydepth.mesh.mesh import Mesh
from raydepth.rendering.api import render
from raydepth.system.parallel import default_threads

# The factor c of the bound on errors, by mode.
BOUNDS = {"camera": 4.0, "pose": 16.0}
MODES = tuple(BOUNDS)

# Cycles writes exactly 1e10 for a miss, in planar and in Euclidean depth.
BLENDER_MISS = 1e10

# Each view is rendered in this many ranges of depth, because Cycles' rays start on the near plane.
# With that plane at 0.1 of the distance instead of 0.9, errors on thin triangles are 3 times as
# large.
RANGES = 8
# Ranges overlap, and reach beyond the mesh, by this fraction of the depth.
OVERLAP = 1e-3
# The least distance of Blender's near plane.
MIN_CLIP = 1e-6
# Far plane over near plane: the least ratio, and the ratio for a mesh that surrounds the camera.
MIN_CLIP_RATIO, MAX_CLIP_RATIO = 1e3, 1e6

# Height over longest side. On thinner triangles Cycles was seen to lose about a digit, perhaps
# because it interpolates the point between the corners with float32 weights.
THIN = 0.1

# Relative tolerance. Numbers that Blender rounds to float32 come back this close; numbers that it
# clamps to its limits do not.
READ_BACK = 1e-4


@dataclass(frozen=True, eq=False)
class Section:
    """The comparison of one mesh in one mode.

    Attributes
    ----------
    mesh : Mesh
    mode, kind, blender, pass_kind : str
        Mode and kind of the comparison; Blender's version; the kind of depth that Blender's depth
        pass was found to hold, "z" or "ray".
    c : float
        The bound's factor.
    depth, reference : (n_views, height, width) float32
        raydepth's and Blender's depth of `kind`, units; +inf = miss.
    found : Differences
    in_band : (n_views, height, width) bool
        Pixels of `found.questionable` whose centres lie in the outline band.
    views : list of dict
        The numbers of each view, see `differences.summary`.
    total : dict
        The numbers of all views, and "judged": the number of questionable pixels ("pixels"), of
        those at which a float64 test of all triangles finds what raydepth does ("raydepth_right"),
        and the thinnest and least thin (height over longest side) of the triangles that it finds
        beyond the bound outside the band ("thinness_beyond").
    second_opinion : dict or None
        The numbers of Blender's BVHTree, which do not affect the verdict.
    """

    mesh: Mesh
    mode: str
    kind: str
    blender: str
    pass_kind: str
    c: float
    depth: np.ndarray
    reference: np.ndarray
    found: Differences
    in_band: np.ndarray
    views: list[dict[str, Any]]
    total: dict[str, Any]
    second_opinion: dict[str, Any] | None

    @property
    def agrees(self) -> bool:
        """True if nothing differs outside the outline band and raydepth is right inside it."""
        judged = self.total["judged"]
        return agrees(self.total) and judged["raydepth_right"] == judged["pixels"]

    @property
    def verdict(self) -> str:
        """The verdict in one sentence."""
        total, judged = self.total, self.total["judged"]
        if self.agrees:
            return "agree"
        reasons = []
        for key, what in (
            ("only_raydepth", "that only raydepth hits"),
            ("only_reference", "that only Blender hits"),
            ("beyond_bound", "beyond the bound"),
        ):
            if n := total[key]["outside_band"]:
                reasons.append(f"{n:,} {'pixel' if n == 1 else 'pixels'} {what}")
        n_wrong = judged["pixels"] - judged["raydepth_right"]
        if n_wrong:
            reasons.append(f"a float64 test of all triangles finds raydepth wrong at {n_wrong:,}")
        else:
            reasons.append("a float64 test of all triangles finds raydepth right there")
        if judged["thinness_beyond"]:
            thick = judged["thinness_beyond"][1]
            if thick < THIN:
                reasons.append(
                    f"all on triangles at least {1 / thick:.0f} times as long as high, where "
                    "Cycles was seen to lose digits"
                )
        return "differ: " + "; ".join(reasons)

    def lines(self) -> list[str]:
        """Return the lines of the command line: the verdict, one for each view, and the total."""
        kind = {"z": "planar", "ray": "Euclidean"}[self.pass_kind]
        lines = [
            f"{self.mesh.name}, mode {self.mode}: {self.verdict}",
            f"  Blender {self.blender}, {kind} depth pass; {self.kind} depth, bound "
            f"{self.c:g} * 2^-24 * depth / |cos|; pixels outside (inside) the outline band",
            f"  {'view':>5} {'hit by both':>12} {'only raydepth':>14} {'only Blender':>14} "
            f"{'beyond bound':>14}   {'ulps: median / 99 % / max':27} units: median / 99 % / max",
        ]
        rows = [*((str(view), n) for view, n in enumerate(self.views)), ("all", self.total)]
        if self.second_opinion is not None:
            rows.append(("tree", self.second_opinion))
        for name, numbers in rows:
            counts = [
                f"{numbers[key]['outside_band']:,} ({numbers[key]['inside_band']:,})"
                for key in ("only_raydepth", "only_reference", "beyond_bound")
            ]
            ulps, units = (
                " / ".join("-" if v is None else format(v, form) for v in numbers[key].values())
                for key, form in (("error_ulps", ".3g"), ("error_units", ".2g"))
            )
            lines.append(
                f"  {name:>5} {numbers['hit_by_both']:>12,} {counts[0]:>14} {counts[1]:>14} "
                f"{counts[2]:>14}   {ulps:27} {units}"
            )
        lines.append(
            f"  largest error / bound {self.total['worst_error_over_bound']:.2f}; share beyond the "
            f"bound outside the band {self.total['share_beyond_bound']:.2g}"
        )
        if self.second_opinion is not None:
            lines.append("  tree: Blender's BVHTree, a second opinion outside the verdict")
        return lines


def compare_with_blender(
    mesh: Mesh,
    cameras: Cameras,
    blender: Blender,
    *,
    mode: str,
    kind: str = "z",
    timeout: float = TIMEOUT,
    threads: int | None = None,
    second_opinion: bool = False,
) -> Section:
    """Render with raydepth and with Blender, and compare.

    Parameters
    ----------
    mesh : Mesh
    cameras : Cameras
    blender : Blender
        See `process.find_blender`.
    mode : "camera" or "pose"
    kind : "z" or "ray"
    timeout : float, seconds
        Limit for Blender's work on all views.
    threads : int, optional
        Number of threads of each program; all processors if not given.
    second_opinion : bool
        Also cast the rays through Blender's BVHTree; about a second for each view of 512x512.

    Raises
    ------
    ValueError
        Blender has no such camera (skew, very long pixels); the message names the view and the
        reason.
    BlenderError
        Blender failed, or its numbers cannot hold the camera.
    """
    n_threads = threads or default_threads()
    job, arrays, placed = blender_job(mesh, cameras, mode, n_threads)
    answer = run(blender, job, arrays, timeout=timeout)
    seen = read_back(answer, placed)
    opinion = _second_opinion(blender, arrays, seen, timeout) if second_opinion else None
    return compare_with_answer(
        mesh, arrays["vertices"], seen, answer,
        mode=mode, kind=kind, threads=n_threads, second_opinion=opinion,
    )  # fmt: skip


def compare_with_answer(
    mesh: Mesh,
    vertices: np.ndarray,
    cameras: Cameras,
    answer: Answer,
    *,
    mode: str,
    kind: str = "z",
    threads: int | None = None,
    second_opinion: np.ndarray | None = None,
) -> Section:
    """Compare raydepth with Blender's answer, for the vertices and cameras that Blender used.

    Parameters
    ----------
    vertices : (1 or n_views, n_vertices, 3) float32
    cameras : Cameras
        As read back from Blender.
    answer : Answer
        It has the array "depth" (n_views, height, width), and the "probe" that tells its kind.
    second_opinion : (n_views, height, width) float, optional
        z depth of another tracer; +inf = miss.
    """
    c = BOUNDS[mode]
    pass_kind = measured_kind(answer.data["probe"])
    depth, z_depth, cosine = _render(
        vertices, mesh.faces, cameras, kind, threads or default_threads()
    )
    slant = _slant(cameras)
    raw = answer.arrays["depth"]
    reference = np.where(raw < BLENDER_MISS, raw.astype(np.float64), np.inf)
    reference = _of_kind(reference, pass_kind, kind, slant)
    found = differences(depth, reference, cosine, c=c)
    in_band, judged = _judge(found, z_depth, vertices, mesh.faces, cameras)
    views = [summary(found[i], in_band[i]) for i in range(len(cameras))]
    opinion = None
    if second_opinion is not None:
        other = differences(depth, _of_kind(second_opinion, "z", kind, slant), cosine, c=c)
        opinion = summary(other, _judge(other, z_depth, vertices, mesh.faces, cameras)[0])
    return Section(
        mesh=mesh,
        mode=mode,
        kind=kind,
        blender=answer.version,
        pass_kind=pass_kind,
        c=c,
        depth=depth,
        reference=reference.astype(np.float32),
        found=found,
        in_band=in_band,
        views=views,
        total={**summary(found, in_band), "judged": judged},
        second_opinion=opinion,
    )


def measured_kind(probe: dict[str, float]) -> str:
    """Return the kind of depth in a depth pass, "z" or "ray", from a plane that faced the camera.

    Raises
    ------
    BlenderError
        The depth is of neither kind.
    """
    ratio = probe["corner"] / probe["middle"]
    for kind, expected in (("z", 1.0), ("ray", probe["slant"])):
        # The middle pixel of a "ray" image is half a pixel off the axis, at 1.0002 of the distance.
        if abs(ratio / expected - 1.0) < 1e-3:
            return kind
    raise BlenderError(
        f"Blender's depth pass is neither planar nor Euclidean: a plane's corner has {ratio:.6g} "
        f"times the depth of its middle; expected 1 or {probe['slant']:.6g}"
    )


# --- what Blender gets ----------------------------------------------------------------------------


def blender_job(
    mesh: Mesh, cameras: Cameras, mode: str, threads: int
) -> tuple[dict[str, Any], dict[str, np.ndarray], Cameras]:
    """Return the job and its arrays for `inside.py`, and the cameras that the job asks for.

    Raises
    ------
    ValueError, BlenderError
        As for `compare_with_blender`.
    """
    check_model(cameras)
    vertices, placed = _scene(mesh, cameras, mode)
    job = {
        "command": "depth",
        "threads": threads,
        "cameras": [camera.to_json() for camera in blender_from_cameras(placed)],
        "clips": _clips(mesh, cameras),
    }
    return job, {"vertices": vertices, "faces": mesh.faces}, placed


def _scene(mesh: Mesh, cameras: Cameras, mode: str) -> tuple[np.ndarray, Cameras]:
    """Return vertices (1 or n_views, n_vertices, 3) float32 and the cameras that look at them."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
    if mode == "pose":
        return mesh.vertices[None].astype(np.float32), cameras
    # A camera of Blender with the identity as its matrix looks along -z.
    flip = OPENGL_FLIP.diagonal()[:3]
    vertices = [
        ((mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]) * flip).astype(np.float32)
        for matrix in cameras.camera_from_world
    ]
    poses = np.broadcast_to(OPENGL_FLIP, (len(cameras), 4, 4))
    size = (cameras.width, cameras.height)
    at_origin = Cameras(cameras.intrinsics, poses, size, model=cameras.model)
    return np.stack(vertices), at_origin


def _clips(mesh: Mesh, cameras: Cameras) -> list[list[tuple[float, float]]]:
    """Return near and far planes of each view's ranges of depth.

    Together, the ranges of a view hold all of the mesh that lies in front of the camera.
    """
    clips = []
    for view, matrix in enumerate(cameras.camera_from_world):
        z = mesh.vertices @ matrix[2, :3] + matrix[2, 3]
        far = float(z.max()) * (1.0 + OVERLAP)
        if far <= 0.0:
            clips.append([(MIN_CLIP, 1.0)])  # the whole mesh is behind the camera
            continue
        if far < MIN_CLIP * MIN_CLIP_RATIO:
            raise BlenderError(
                f"view {view} sees to {far:.3g} units only; Blender sees nothing nearer than "
                f"{MIN_CLIP:g} units: use a larger unit, or --normalize sphere"
            )
        near = max(float(z.min()) * (1.0 - OVERLAP), far / MAX_CLIP_RATIO, MIN_CLIP)
        planes = np.geomspace(near, far, RANGES + 1).tolist()
        clips.append([(a * (1.0 - OVERLAP), b) for a, b in pairwise(planes)])
    return clips


def read_back(answer: Answer, wanted: Cameras) -> Cameras:
    """Return the cameras that Blender used; raise BlenderError if its limits changed one."""
    names = BlenderCamera.__dataclass_fields__
    seen = cameras_from_blender(
        [
            BlenderCamera(**{key: value for key, value in camera.items() if key in names})
            for camera in answer.data["cameras"]
        ]
    )
    size = max(wanted.width, wanted.height)
    for view in range(len(wanted)):
        a, b = seen.intrinsics[view], wanted.intrinsics[view]
        focal = np.abs(a.diagonal()[:2] / b.diagonal()[:2] - 1.0).max()
        principal = np.abs(a[:2, 2] - b[:2, 2]).max() / max(size, np.abs(b[:2, 2]).max())
        pose = np.abs(seen.world_from_camera[view] - wanted.world_from_camera[view]).max()
        pose /= max(1.0, np.abs(wanted.world_from_camera[view]).max())
        if max(focal, principal, pose) > READ_BACK:
            raise BlenderError(
                f"view {view}: Blender cannot hold this camera; asked for fx, fy, cx, cy = "
                f"{_four(b)}, it took {_four(a)}"
            )
    return seen


def _four(intrinsics: np.ndarray) -> str:
    values = (*intrinsics.diagonal()[:2], *intrinsics[:2, 2])
    return ", ".join(f"{value:.7g}" for value in values)


def _second_opinion(
    blender: Blender, arrays: dict[str, np.ndarray], cameras: Cameras, timeout: float
) -> np.ndarray:
    """Return z depth from Blender's BVHTree, (n_views, height, width) float64, +inf = miss."""
    job = {"command": "bvh", "width": cameras.width, "height": cameras.height}
    answer = run(blender, job, {**arrays, "basis": cameras.ray_basis()}, timeout=timeout)
    return answer.arrays["z"]


# --- what raydepth finds --------------------------------------------------------------------------


def _render(
    vertices: np.ndarray, faces: np.ndarray, cameras: Cameras, kind: str, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render depth of a kind, z depth, and |cos| of ray and normal, (n_views, height, width)."""
    shape = (len(cameras), cameras.height, cameras.width)
    depth, z_depth = np.empty(shape, np.float32), np.empty(shape, np.float32)
    cosine = np.full(shape, np.nan)
    basis = cameras.ray_basis()
    mesh = None
    for view in range(len(cameras)):
        if mesh is None or len(vertices) > 1:
            mesh = Mesh(vertices[view], faces)
            normals = _normals(mesh.vertices, faces)
        rendering = render(mesh, cameras[view], kind=("z", "ray"), threads=threads)
        depth[view] = {"z": rendering.z_depth, "ray": rendering.ray_depth}[kind][0]
        z_depth[view] = rendering.z_depth[0]
        face = rendering.triangle_id[0]
        rows, columns = np.nonzero(face >= 0)
        normal = normals[face[rows, columns]]
        d, dx, dy = basis[view, 3:]
        ray = d + (columns[:, None] + 0.5) * dx + (rows[:, None] + 0.5) * dy
        along = np.abs(np.einsum("nj,nj->n", normal, ray))
        cosine[view, rows, columns] = along / np.linalg.norm(ray, axis=1)
    return depth, z_depth, cosine


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (n_faces, 3) unit normals; NaN for faces without an area, which are never hit."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    with np.errstate(invalid="ignore", divide="ignore"):
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _slant(cameras: Cameras) -> np.ndarray | float:
    """Return ray depth over z depth, (n_views, height, width) float64; 1 if orthographic."""
    if cameras.model == "orthographic":
        return 1.0
    basis = cameras.ray_basis()[:, 3:, None, None, :]
    x = (np.arange(cameras.width) + 0.5)[:, None]
    y = (np.arange(cameras.height) + 0.5)[:, None, None]
    return np.linalg.norm(basis[:, 0] + x * basis[:, 1] + y * basis[:, 2], axis=-1)


def _of_kind(depth: np.ndarray, kind: str, wanted: str, slant: np.ndarray | float) -> np.ndarray:
    """Convert depth of kind `kind` to kind `wanted`, in float64."""
    if kind == wanted:
        return depth
    return depth * slant if wanted == "ray" else depth / slant


def _judge(
    found: Differences,
    z_depth: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    cameras: Cameras,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Find the questionable pixels in the outline band, and count those where raydepth is right."""
    questionable, beyond = found.questionable, found.beyond
    in_band = np.zeros(questionable.shape, bool)
    n_right, thinness = 0, []
    for view in range(len(cameras)):
        pixels = np.argwhere(questionable[view])
        if not len(pixels):
            continue
        at = tuple(pixels.T)
        matrix = cameras.camera_from_world[view]
        points = vertices[view if len(vertices) > 1 else 0].astype(np.float64)
        corners = (points @ matrix[:3, :3].T + matrix[:3, 3])[faces]
        judged = judge(pixels, z_depth[view][at], corners, cameras.intrinsics[view], cameras.model)
        in_band[view][at] = judged.in_band
        n_right += int(np.count_nonzero(judged.right))
        counts = beyond[view][at] & ~judged.in_band
        thinness.append(_thinness(corners[judged.face[counts]]))
    found_thin = np.concatenate([*thinness, np.zeros(0)])
    judged_numbers = {
        "pixels": int(np.count_nonzero(questionable)),
        "raydepth_right": n_right,
        "thinness_beyond": [float(found_thin.min()), float(found_thin.max())]
        if len(found_thin)
        else None,
    }
    return in_band, judged_numbers


def _thinness(corners: np.ndarray) -> np.ndarray:
    """Return (n,) height over longest side of triangles (n, 3, 3); 0.87 if all sides are equal."""
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    twice_area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    return twice_area / sides**2
