"""A .blend's meshes and cameras, as Blender evaluates them for a render."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.blender.convert import BlenderCamera, cameras_from_blender
from raydepth.blender.process import TIMEOUT, Answer, find_blender, run
from raydepth.camera.camera import Cameras
from raydepth.errors import MeshError
from raydepth.mesh.contents import Instance, counted, flatten, plain
from raydepth.mesh.mesh import Mesh

SUFFIX = ".blend"

# A .blend begins with BLENDER, or is compressed: by Zstandard since Blender 3.0, by gzip before.
SIGNATURES = (b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")

KEYFRAMES = "keys"
LAST_FRAME = 1048574  # the first frame is its negative


@dataclass(frozen=True, eq=False)
class Shot:
    """The input of one call of `rd.render`: one mesh, and views of one model and size.

    Attributes
    ----------
    mesh : Mesh
        Everything that renders see, in world units, with every instance in its place.
    cameras : Cameras
        The views, ordered by frame and, within a frame, by the camera's name.
    blender_cameras : tuple of BlenderCamera
        The same views as Blender describes them, with the cameras' names.
    frames : tuple of int
        The frame of each view.
    label : str
        Tells the shots of a scene apart: "" if there is only one. Otherwise it has the first frame
        of the mesh's state if geometry moves, and the cameras' model if the scene has both models.
    """

    mesh: Mesh
    cameras: Cameras
    blender_cameras: tuple[BlenderCamera, ...] = ()
    frames: tuple[int, ...] = ()
    label: str = ""

    def view_labels(self) -> list[dict[str, Any]]:
        """Return, as JSON data, what is stored of each view besides its camera."""
        return [
            {
                "blender": {
                    "camera": camera.name,
                    "frame": frame,
                    "clip_start": camera.clip_start,
                    "clip_end": camera.clip_end,
                }
            }
            for camera, frame in zip(self.blender_cameras, self.frames, strict=True)
        ]


class Scene:
    """The content of a .blend, from `load_scene`; `for shot in scene` iterates over its shots.

    There is one shot for each state of the geometry, so only one shot if only cameras move. A state
    that both perspective and orthographic cameras see has one shot for each model. Shots come in
    the order of their first frames. A shot's mesh is made when the iteration reaches it, so that a
    long animation need not fit into memory.

    Attributes
    ----------
    blender_version : str
        Version of the Blender that read the file.
    """

    def __init__(self, answer: Answer, path: Path, sha256: str) -> None:
        self.blender_version = answer.version
        self._arrays, self._notes = answer.arrays, tuple(answer.data["notes"])
        self._path, self._sha256 = path, sha256
        self._views: dict[tuple[int, str], list[tuple[BlenderCamera, int]]] = {}
        self._first_frames: dict[int, int] = {}
        for view in answer.data["views"]:
            camera, frame, layout = BlenderCamera(**view["camera"]), view["frame"], view["layout"]
            if not len(self._arrays[f"layout_{layout}_geometry"]):
                raise MeshError(f"{path}: no mesh is visible in renders at frame {frame}")
            self._views.setdefault((layout, camera.model), []).append((camera, frame))
            self._first_frames.setdefault(layout, frame)

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[Shot]:
        moves = len(self._first_frames) > 1
        both_models = len({model for _, model in self._views}) > 1
        for (layout, model), views in self._views.items():
            frame = f"{self._first_frames[layout]:04}"
            name = f"{self._path.stem}_{frame}" if moves else self._path.stem
            blender_cameras = tuple(camera for camera, _ in views)
            yield Shot(
                self._mesh(layout, name),
                cameras_from_blender(blender_cameras),
                blender_cameras,
                tuple(frame for _, frame in views),
                "_".join([frame] * moves + [model] * both_models),
            )

    def __repr__(self) -> str:
        views, shots = counted(self.n_views, "view"), counted(len(self), "shot")
        return f"Scene({str(self._path)!r}, {views} in {shots})"

    @property
    def n_views(self) -> int:
        """The number of views in all shots."""
        return sum(map(len, self._views.values()))

    @property
    def mesh(self) -> Mesh:
        """The mesh of the only shot; ValueError if there are several."""
        return self._only_shot.mesh

    @property
    def cameras(self) -> Cameras:
        """The views of the only shot; ValueError if there are several."""
        return self._only_shot.cameras

    @cached_property
    def _only_shot(self) -> Shot:
        if len(self) != 1:
            raise ValueError(
                f"{self._path}: there are {len(self)} shots, because its geometry moves or its "
                "cameras differ in model; expected one shot, or a loop: for shot in scene: "
                "render(shot.mesh, shot.cameras)"
            )
        return next(iter(self))

    def _mesh(self, layout: int, name: str) -> Mesh:
        """Return one arrangement of the meshes as one mesh, flattened in float64."""
        numbers = self._arrays[f"layout_{layout}_geometry"].tolist()
        matrices = self._arrays[f"layout_{layout}_matrix_world"].astype(np.float64)
        contents = flatten(
            (
                Instance(
                    number,
                    self._arrays[f"geometry_{number}_vertices"],
                    self._arrays[f"geometry_{number}_faces"],
                    matrix,
                    f"geometry {number}",
                )
                for number, matrix in zip(numbers, matrices, strict=True)
            ),
            Counter(),
        )
        return Mesh(
            contents.vertices,
            contents.faces,
            name=name,
            source=str(self._path),
            source_sha256=self._sha256,
            notes=(*plain(contents.notes), *self._notes),
        )


def load_scene(
    path: str | os.PathLike[str],
    *,
    camera: str | None = None,
    frames: int | str | Iterable[int] | None = None,
    blender: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT,
) -> Scene:
    """Load the meshes and cameras of a .blend as Blender evaluates them.

    Blender runs once, in a separate process. Geometry is what a final render sees: modifiers have
    their render settings, instances, curves and texts are meshes, and objects that are hidden from
    renders or from the camera are left out. Python in the file is not run.

    Parameters
    ----------
    path : path of a .blend file
    camera : str, optional
        The name of one camera; all cameras of the scene if not given.
    frames : int, several, or "keys", optional
        Frames to evaluate: a number, `range(1, 25)`, or "keys" for the frames at which the cameras,
        their lenses or their parents have keyframes. If not given, the frame at which the file was
        saved.
    blender : path, optional
        A `blender` executable or a Python that has `bpy`; see `find_blender`.
    timeout : float, seconds
        Blender is stopped after this time.

    Returns
    -------
    Scene

    Raises
    ------
    MeshError
        The file is not a .blend file, or no mesh is visible in renders of it.
    ValueError
        A camera cannot be rendered (the message says which), the cameras' images differ in size,
        or a frame is invalid.
    BlenderError
        Blender was not found or failed, or the file has no camera, no camera of that name or no
        keyframes.
    """
    path = Path(path)
    wanted = checked_frames(frames)
    sha256 = _checked_file(path)
    answer = run(
        find_blender(blender),
        {
            "command": "scene",
            "path": str(path.resolve()),
            "camera": camera,
            "frames": wanted,
        },
        timeout=timeout,
    )
    try:
        return Scene(answer, path, sha256)
    except MeshError:
        raise
    except ValueError as error:  # about a camera
        raise ValueError(f"{path}: {error}") from None


def checked_frames(frames: int | str | Iterable[int] | None) -> list[int] | str | None:
    """Check the frames that a user asks for; return them as `inside.py` takes them.

    Raises
    ------
    ValueError
        There are no frames, or one is not a whole number from -1048574 to 1048574.
    """
    if frames is None or frames == KEYFRAMES:
        return frames
    if isinstance(frames, str):
        raise ValueError(f"frames is {frames!r}; expected whole numbers or {KEYFRAMES!r}")
    chosen = [frames] if isinstance(frames, (int, np.integer)) else list(frames)
    if not chosen:
        raise ValueError("no frames; expected at least one")
    for frame in chosen:
        if not isinstance(frame, (int, np.integer)) or abs(frame) > LAST_FRAME:
            raise ValueError(
                f"frame {frame!r}: expected whole numbers from {-LAST_FRAME} to {LAST_FRAME}"
            )
    return [int(frame) for frame in chosen]


def _checked_file(path: Path) -> str:
    """Check that a file looks like a .blend; return its SHA-256 in hexadecimal."""
    if path.is_dir():
        raise MeshError(f"{path}: is a directory; expected a .blend file")
    try:
        with path.open("rb") as file:
            if not file.read(8).startswith(SIGNATURES):
                raise MeshError(f"{path}: is not a .blend file; its content is of another kind")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MeshError(f"{path}: no such file") from None
    except OSError as error:
        raise MeshError(f"{path}: cannot be read ({error.strerror})") from None
