"""A .blend's meshes and cameras, as Blender evaluates them for a render."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.blender.convert import BlenderCamera, cameras_from_blender
from raydepth.blender.process import TIMEOUT, Answer, find_blender, run
from raydepth.cameras import Cameras
from raydepth.errors import MeshError
from raydepth.mesh import Mesh
from raydepth.readers.scene import Instance, flatten, plain

SUFFIX = ".blend"

# A .blend begins with its name, or is packed: by Zstandard since 3.0, by gzip before.
SIGNATURES = (b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")

KEYFRAMES = "keys"
LAST_FRAME = 1048574  # and the first one is as far below 0


@dataclass(frozen=True, eq=False)
class Shot:
    """What `rd.render` takes at once: one mesh, and views of one model and size.

    Attributes
    ----------
    mesh : Mesh
        Everything that renders see, in world units, every instance in its place.
    cameras : Cameras
        The views, frame by frame, and within a frame by the camera's name.
    blender_cameras : tuple of BlenderCamera
        The same as Blender describes them, with their names.
    frames : tuple of int
        The frame of each view.
    label : str
        Tells the shots of a scene apart: "" if there is only one, else the first frame at which
        the mesh is as it is, and the model of its cameras where there are both.
    """

    mesh: Mesh
    cameras: Cameras
    blender_cameras: tuple[BlenderCamera, ...]
    frames: tuple[int, ...]
    label: str = ""


@dataclass(frozen=True, eq=False)
class Scene:
    """What `load_scene` found in a .blend: its shots, in the order of their first frames.

    There is one shot for each state of the geometry, so one in all where nothing but cameras
    moves; it is split where perspective and orthographic cameras meet. `for shot in scene` goes
    through them.

    Attributes
    ----------
    shots : tuple of Shot
    blender_version : str
        Of the Blender that read the file.
    """

    shots: tuple[Shot, ...]
    blender_version: str

    def __iter__(self) -> Iterator[Shot]:
        return iter(self.shots)

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def mesh(self) -> Mesh:
        """The mesh of the only shot."""
        return self._only_shot().mesh

    @property
    def cameras(self) -> Cameras:
        """The views of the only shot."""
        return self._only_shot().cameras

    def _only_shot(self) -> Shot:
        if len(self.shots) != 1:
            raise ValueError(
                f"the scene has {len(self.shots)} shots, because its geometry moves or its cameras "
                "differ in model; render each: for shot in scene: render(shot.mesh, shot.cameras)"
            )
        return self.shots[0]


def load_scene(
    path: str | os.PathLike[str],
    *,
    camera: str | None = None,
    frames: int | str | Iterable[int] | None = None,
    blender: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT,
) -> Scene:
    """Let Blender evaluate a .blend, and take its meshes and cameras out of it.

    Blender runs once, in a process of its own. Geometry is what a final render sees: modifiers at
    their render settings, instances, curves and texts as meshes, objects that are hidden from
    renders or from the camera left out. Nothing in the file's Python is run.

    Parameters
    ----------
    path : path of a .blend file
    camera : str, optional
        The name of one camera; all of the scene's if not given.
    frames : int, several, or "keys", optional
        Frames to evaluate: a number, `range(1, 25)`, or "keys" for those at which the cameras,
        their lenses or their parents have keyframes. The frame the file was saved at if not given.
    blender : path, optional
        A `blender` executable or a Python that has `bpy`; see `find_blender`.
    timeout : float, seconds
        Blender is stopped after it.

    Returns
    -------
    Scene

    Raises
    ------
    MeshError
        The file is none of Blender's, or renders see no mesh in it.
    ValueError
        A camera cannot be rendered (the message says which), or frames make no sense.
    BlenderError
        There is no Blender, it failed, or the file has no (such) camera or keyframes.
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
        return _scene(answer, path, sha256)
    except ValueError as error:
        kind = MeshError if isinstance(error, MeshError) else ValueError
        raise kind(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def checked_frames(frames: int | str | Iterable[int] | None) -> list[int] | str | None:
    """The frames that a user asks for, as `inside.py` takes them."""
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
    """Hex SHA-256 of a file that looks like a .blend."""
    if path.is_dir():
        raise MeshError(f"{path}: is a directory; expected a .blend file")
    try:
        with path.open("rb") as file:
            if not file.read(8).startswith(SIGNATURES):
                raise MeshError(f"{path}: is no .blend file; its content is another")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MeshError(f"{path}: no such file") from None
    except OSError as error:
        raise MeshError(f"{path}: cannot be read ({error.strerror})") from None


def _scene(answer: Answer, path: Path, sha256: str) -> Scene:
    """Join the views that share a mesh and a camera model to shots."""
    grouped: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for view in answer.data["views"]:
        view["camera"] = BlenderCamera(**view["camera"])
        grouped.setdefault((view["layout"], view["camera"].model), []).append(view)
    first_frames: dict[int, int] = {}
    for layout, _ in grouped:
        first_frames[layout] = min(
            view["frame"] for view in answer.data["views"] if view["layout"] == layout
        )
    meshes: dict[int, Mesh] = {}
    for layout, frame in first_frames.items():
        name = f"{path.stem}_{frame:04}" if len(first_frames) > 1 else path.stem
        meshes[layout] = _mesh(answer, layout, frame, name=name, path=path, sha256=sha256)
    models = {model for _, model in grouped}
    shots = []
    for (layout, model), views in grouped.items():
        label = [f"{first_frames[layout]:04}"] if len(first_frames) > 1 else []
        label += [model] if len(models) > 1 else []
        cameras = tuple(view["camera"] for view in views)
        shots.append(
            Shot(
                meshes[layout],
                cameras_from_blender(cameras),
                cameras,
                tuple(view["frame"] for view in views),
                "_".join(label),
            )
        )
    return Scene(tuple(shots), answer.version)


def _mesh(answer: Answer, layout: int, frame: int, *, name: str, path: Path, sha256: str) -> Mesh:
    """One arrangement of the meshes, flattened in float64."""
    arrays = answer.arrays
    numbers = arrays[f"layout_{layout}_geometry"].tolist()
    matrices = arrays[f"layout_{layout}_matrix_world"]
    if not numbers:
        raise MeshError(f"{path}: renders see no mesh at frame {frame}")
    contents = flatten(
        (
            Instance(
                number,
                arrays[f"geometry_{number}_vertices"],
                arrays[f"geometry_{number}_faces"],
                matrix.astype(np.float64),
            )
            for number, matrix in zip(numbers, matrices, strict=True)
        ),
        Counter(),
    )
    return Mesh(
        contents.vertices,
        contents.faces,
        name=name,
        source=str(path),
        source_sha256=sha256,
        notes=(*plain(contents.notes), *answer.data["notes"]),
    )
