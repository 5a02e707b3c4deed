"""Write depth maps to files, and read them back.

A file describes itself: besides the pixels it holds one JSON object (below). So `read_depth` gives
metric depth from every format, and a reader without raydepth needs three lines:

    import json, imageio.v3, numpy
    v = imageio.v3.imread("000.png")
    meta = json.loads(imageio.v3.immeta("000.png")["raydepth"])
    z = numpy.where(v == 0, numpy.inf, v / meta["values_per_unit"])

| suffix      | pixels                                    | where the JSON is             |
| ----------- | ----------------------------------------- | ----------------------------- |
| .png        | 16-bit grey, round(depth*values_per_unit) | text chunk "raydepth"         |
| .npy        | float32 or float64                        | a second file, "000.npy.json" |
| .npz        | array "depth", float32 or float64         | array "raydepth", one string  |
| .tif, .tiff | float32, uncompressed                     | tag ImageDescription          |
| .exr        | channel Z, float32 (extra raydepth[exr])  | attribute "raydepth"          |

A miss is 0 in a PNG and +inf in the others. The JSON object has these keys:

| key              | value                                                                       |
| ---------------- | --------------------------------------------------------------------------- |
| format           | "raydepth-depth"                                                            |
| format_version   | 1                                                                           |
| raydepth_version | the version that wrote the file                                             |
| kind             | "z" or "ray"                                                                |
| values_per_unit  | PNG: values / values_per_unit are units; null if the pixels are units       |
| miss             | 0 (PNG) or "inf"                                                            |
| camera           | null or one view: `Cameras.to_json`                                         |
| mesh             | null or name, hash, normalisation: `Mesh.to_json`                           |

The same input gives the same bytes. Encoding (pixels to bytes in memory) and writing (bytes to
disk) are separate; the file formats are in `codecs.formats`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.kinds import checked_kind
from raydepth.codecs.formats import Parts, as_value_error, format_of
from raydepth.codecs.json_text import JsonText, dumps
from raydepth.codecs.uint16 import (
    as_number,
    checked_depth,
    checked_scale,
    decode_uint16,
    encode_uint16,
    misses,
    why_invalid,
)
from raydepth.system.atomic_files import write_whole
from raydepth.version import __version__

FORMAT_NAME = "raydepth-depth"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class DepthImage:
    """One depth map read from a file.

    Attributes
    ----------
    depth : (height, width) float32, or float64 if a .npy or .npz file holds float64
        In units; +inf is a miss, every other value is finite and > 0.
    kind : "z" or "ray"
    camera : Cameras of one view, or None
    mesh : dict or None
        Name, hash and normalisation of the mesh, as `Mesh.to_json` returns them.
    values_per_unit : float or None
        The scale of a 16-bit file; None where the file holds floats.
    metadata : dict
        The whole JSON object of the file.
    """

    depth: np.ndarray
    kind: str
    camera: Cameras | None
    mesh: dict[str, Any] | None
    values_per_unit: float | None
    metadata: dict[str, Any]


def write_depth(
    path: str | os.PathLike[str],
    depth: np.ndarray,
    *,
    kind: str,
    camera: Cameras | None = None,
    mesh: Any = None,
    values_per_unit: float = 10000,
    miss: float = np.inf,
) -> None:
    """Write one depth map; the suffix of `path` names the format (see the top of this file).

    The file appears complete or not at all. `depth` is not modified.

    Parameters
    ----------
    path : path ending in .png, .npy, .npz, .tif, .tiff or .exr
    depth : (height, width) float
        In units. .npy and .npz keep float64, everything else becomes float32 or 16-bit values.
    kind : "z" or "ray"
        The meaning of `depth`: "z" is the distance along the camera's axis, "ray" the Euclidean
        distance from its centre.
    camera : Cameras of one view, optional
    mesh : Mesh, or a dict as `Mesh.to_json` returns it, optional
    values_per_unit : float
        Scale of 16-bit files; use one scale for a whole run.
    miss : float
        The value in `depth` that means a miss; may be NaN.

    Raises
    ------
    ValueError
        An argument is not as above, or a depth that is not a miss is not finite and > 0 or does not
        fit the format (see `encode_uint16`). Nothing is written.
    OSError
        The folder does not exist, or the disk is full.
    """
    path = Path(path)
    with _naming(path):
        parts = encode_depth(
            path.suffix,
            depth,
            kind=kind,
            camera=camera,
            mesh=mesh,
            values_per_unit=values_per_unit,
            miss=miss,
        )
    write_whole({Path(f"{path}{suffix}"): content for suffix, content in parts.items()})


def read_depth(path: str | os.PathLike[str]) -> DepthImage:
    """Read a depth map that `write_depth` wrote; the suffix of `path` names the format.

    16-bit values become float32: `value / values_per_unit` in float64, rounded once.

    Returns
    -------
    DepthImage
        Its `depth` is (height, width) float32 or float64, in units; +inf is a miss.

    Raises
    ------
    ValueError
        raydepth did not write the file, or the file is damaged. The message names the file and the
        reason.
    FileNotFoundError
        There is no such file.
    """
    path = Path(path)
    with _naming(path):
        format_ = format_of(path.suffix)
        parts = {"": path.read_bytes()}
        if format_.sidecar:
            beside = Path(f"{path}{format_.sidecar}")
            if not beside.is_file():
                raise ValueError(f"no raydepth metadata: expected {beside.name} beside it")
            parts[format_.sidecar] = beside.read_bytes()
        return decode_depth(path.suffix, parts)


def encode_depth(
    suffix: str,
    depth: np.ndarray,
    *,
    kind: str,
    camera: Cameras | None = None,
    mesh: Any = None,
    values_per_unit: float = 10000,
    miss: float = np.inf,
) -> Parts:
    """Encode a depth map as the files that `write_depth` would write, as bytes in memory.

    Returns
    -------
    dict
        The content of each file by the suffix appended to its name ("" for the file itself, ".json"
        for the second file of a .npy), in the order in which the files should appear.

    Raises
    ------
    ValueError
        As for `write_depth`.
    """
    format_ = format_of(suffix)
    stored = stored_depth(
        format_.stores,
        depth,
        kind=kind,
        camera=camera,
        mesh=mesh,
        values_per_unit=values_per_unit,
        miss=miss,
    )
    return format_.encode(stored.pixels, stored.text)


@dataclass(frozen=True)
class Metadata:
    """The metadata of depth maps that is the same for all views of a mesh.

    Attributes
    ----------
    kind : "z" or "ray"
    values_per_unit : float or None
        The scale of 16-bit values; None if pixels are units.
    mesh : dict or None
        As `Mesh.to_json` returns it.
    """

    kind: str
    values_per_unit: float | None
    mesh: dict[str, Any] | None

    def text(self, camera: Cameras | None) -> str:
        """Return the JSON object of a file, with the camera of its view.

        Raises
        ------
        ValueError
            The mesh is not plain JSON data.
        """
        camera_text = JsonText("null" if camera is None else camera.json_text)
        return dumps({**self._entries, "camera": camera_text, "mesh": self._mesh_text})

    @cached_property
    def _entries(self) -> dict[str, JsonText]:
        scale = self.values_per_unit
        entries = {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "raydepth_version": __version__,
            "kind": self.kind,
            "values_per_unit": None if scale is None else as_number(scale),
            "miss": "inf" if scale is None else 0,
        }
        return {key: JsonText(json.dumps(value)) for key, value in entries.items()}

    @cached_property
    def _mesh_text(self) -> JsonText:
        # Only the mesh can come from the caller and may not be JSON data.
        with as_value_error("mesh does not hold plain JSON data"):
            return JsonText(json.dumps(self.mesh, allow_nan=False))


class StoredDepth(NamedTuple):
    """A checked depth map in the form that a file stores, and its metadata.

    Attributes
    ----------
    pixels : (height, width)
        uint16 with 0 for a miss, or C-ordered little-endian floats with +inf for a miss.
    camera : Cameras of one view, or None
    metadata : Metadata
    """

    pixels: np.ndarray
    camera: Cameras | None
    metadata: Metadata

    @property
    def text(self) -> str:
        """The JSON object of the file."""
        return self.metadata.text(self.camera)


def stored_depth(
    stores: str,
    depth: np.ndarray,
    *,
    kind: str,
    camera: Cameras | None = None,
    mesh: Any = None,
    values_per_unit: float = 10000,
    miss: float = np.inf,
) -> StoredDepth:
    """Check a depth map, and convert it to the form that a file stores.

    Parameters
    ----------
    stores : "uint16", "float32" or "float" (which keeps float64)

    Raises
    ------
    ValueError
        As for `write_depth`.
    """
    depth = checked_depth(depth, miss)
    checked_kind(kind)
    scale = checked_scale(values_per_unit)
    camera = _checked_camera(camera, depth.shape, kind)
    metadata = Metadata(kind, scale if stores == "uint16" else None, _mesh_json(mesh))
    if stores == "uint16":
        return StoredDepth(encode_uint16(depth, scale, miss), camera, metadata)
    keeps_float64 = stores == "float" and depth.dtype.itemsize == 8
    pixels = _float_pixels(depth, miss, "<f8" if keeps_float64 else "<f4")
    return StoredDepth(pixels, camera, metadata)


def decode_depth(suffix: str, parts: Parts) -> DepthImage:
    """Decode the files that `encode_depth` returned.

    Raises
    ------
    ValueError
        The bytes are not a file that raydepth writes with this suffix, or are damaged.
    """
    format_ = format_of(suffix)
    pixels, text = format_.decode(parts)
    metadata = _parsed_metadata(text)
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"holds an array of shape {pixels.shape}; expected (height, width)")
    scale = None
    if format_.stores == "uint16":
        scale = checked_scale(metadata["values_per_unit"])
        depth = decode_uint16(pixels, scale)
    else:
        depth = checked_floats(pixels)
    camera = None
    if metadata["camera"] is not None:
        with as_value_error("its camera is damaged"):
            camera = Cameras.from_json(metadata["camera"])
        _check_camera(camera, depth.shape)
    return DepthImage(depth, metadata["kind"], camera, metadata["mesh"], scale, metadata)


def checked_floats(pixels: np.ndarray) -> np.ndarray:
    """Return float pixels from a file unchanged; ValueError if they are not a depth map."""
    if pixels.dtype not in (np.float32, np.float64):
        raise ValueError(f"holds {pixels.dtype} pixels; expected float32 or float64")
    n_invalid = pixels.size - int(np.count_nonzero(pixels > 0))
    if n_invalid:
        raise ValueError(f"{n_invalid} of {pixels.size} pixels are not > 0; the file is damaged")
    return pixels


def _float_pixels(depth: np.ndarray, miss: float, dtype: str) -> np.ndarray:
    """Return `depth` as C-ordered little-endian floats, +inf for a miss; it is not modified."""
    missed = misses(depth, miss)
    with np.errstate(over="ignore", under="ignore"):
        pixels = depth.astype(dtype, order="C", copy=False)
    valid = (pixels > 0.0) & (pixels < np.inf)
    valid |= missed
    if not valid.all():
        invalid = why_invalid(depth, missed, miss)
        n_bad = depth.size - int(np.count_nonzero(valid))
        raise ValueError(
            invalid
            or f"{n_bad} of {depth.size} pixels hold a depth that float32 cannot hold: "
            f"{depth[~valid].max():.9g}; expected a format with float64 (.npy, .npz)"
        )
    if not math.isinf(miss) or miss < 0:
        pixels = np.where(missed, pixels.dtype.type(np.inf), pixels)
    return pixels


def _checked_camera(camera: Any, shape: tuple[int, ...], kind: str) -> Cameras | None:
    if camera is None:
        return None
    if not isinstance(camera, Cameras) or len(camera) != 1:
        came = f"{len(camera)} views" if isinstance(camera, Cameras) else type(camera).__name__
        raise ValueError(f"camera is {came}; expected Cameras of one view, cameras[i], or None")
    _check_camera(camera, shape)
    camera.check_kinds((kind,))
    return camera


def _check_camera(camera: Cameras, shape: tuple[int, ...]) -> None:
    if (camera.height, camera.width) != shape:
        raise ValueError(
            f"the camera's image is {camera.width}x{camera.height} pixels and the depth's "
            f"{shape[1]}x{shape[0]}; expected the same (width x height)"
        )


def _mesh_json(mesh: Any) -> dict[str, Any] | None:
    data = mesh.to_json() if hasattr(mesh, "to_json") else mesh
    if data is None:
        return None
    if not isinstance(data, dict):
        raise ValueError(f"mesh is {type(mesh).__name__}; expected a Mesh, a dict or None")
    return data


def _parsed_metadata(text: Any) -> dict[str, Any]:
    """Parse the JSON object of a file, and check it key by key."""
    if not isinstance(text, str):
        raise ValueError("no raydepth metadata in the file; expected a file that raydepth wrote")
    with as_value_error("its raydepth metadata is damaged"):
        metadata = json.loads(text)
    check_format(metadata, FORMAT_NAME, FORMAT_VERSION)
    lacking = {"kind", "values_per_unit", "miss", "camera", "mesh"} - metadata.keys()
    if lacking:
        raise ValueError(f"its raydepth metadata lacks {', '.join(sorted(lacking))}")
    checked_kind(metadata["kind"])
    if not isinstance(metadata["mesh"], (dict, type(None))):
        raise ValueError(f"its mesh is {metadata['mesh']!r}; expected a JSON object or null")
    return metadata


def check_format(data: Any, name: str, version: int) -> None:
    """Raise ValueError unless JSON data is an object that declares this format and version."""
    if not isinstance(data, dict) or data.get("format") != name:
        raise ValueError(f"does not declare format {name!r}")
    if data.get("format_version") != version:
        found = data.get("format_version")
        raise ValueError(f"format_version is {found!r}; this raydepth reads {version}")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
