"""Meshes and cameras in, depth out: choose the device, find the visible faces, resolve depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras
from raydepth.cuda.build import DeviceMesh
from raydepth.errors import DeviceMemoryError
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.request import RenderRequest, bytes_needed, check_available, checked_request
from raydepth.outputs.table import ON_DEVICE
from raydepth.rendering.cuda_views import render_to_device
from raydepth.rendering.devices import choose_device
from raydepth.rendering.dispatch import rendered
from raydepth.rendering.hierarchies import hierarchy_of
from raydepth.rendering.result import Rendering
from raydepth.system.memory import available_memory

DESTINATIONS = ("host", "device")


# Bytes of results for which nobody asks how much memory there is.
SMALL = 1 << 26


def render(
    mesh: Mesh | Bvh | DeviceMesh,
    cameras: Cameras,
    *,
    kind: str | Sequence[str] = "z",
    outputs: str | Sequence[str] | None = None,
    hits: int = 4,
    device: str = "auto",
    miss: float = np.inf,
    dtype: Any = np.float32,
    threads: int | None = None,
    to: str = "host",
) -> Rendering:
    """Cast one ray through the centre of every pixel and return exact depth, or more.

    Both sides of a face are seen. Depth is the float64 intersection of the ray with the face,
    rounded once to `dtype`. The same input gives the same bits, whatever the number of threads.

    Parameters
    ----------
    mesh : Mesh, Bvh or DeviceMesh
    cameras : Cameras
    kind : "z", "ray" or both
        "z" is the distance along the camera's z axis, "ray" the Euclidean distance from the
        camera's centre. Orthographic rays start on the camera's plane: both kinds are equal.
        Fisheye, equirectangular and cubemap views have no z depth. `("z", "ray")` gives both from
        one pass.
    outputs : sequence of str, optional
        In place of `kind`: depth and whatever else is to be known of each pixel, from one pass.
        Names, shapes, types and misses are in `outputs.OUTPUTS` and docs/outputs.md.
    hits : int
        How many hits of each ray the output "hits" holds, 1 to 64.
    device : "auto", "cpu" or "cuda"
        "auto" takes CUDA where it can be used and, tried once in a process, gives the CPU's bits (a
        warning says so if it does not), and where the mesh fits the device; else the CPU. The
        result says which it took. "cuda" never falls back.
    miss : float
        The depth of a pixel that sees nothing.
    dtype : numpy.float32 or numpy.float64
    threads : int, optional
        Processors to use; all of them if not given.
    to : "host" or "device"
        Where the results go. "device" leaves them in the memory of a CUDA device, as arrays that
        Torch and CuPy take without a copy (`__cuda_array_interface__`, DLPack).

    Returns
    -------
    Rendering

    Raises
    ------
    TypeError, ValueError
        An argument is not what was expected.
    DeviceError
        The device cannot be used here, or fails.
    MemoryError
        The results do not fit into memory.
    """
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    request = checked_request(kind, outputs, hits=hits, miss=miss, dtype=dtype, threads=threads)
    cameras.check_kinds(request.outputs)
    if to not in DESTINATIONS:
        raise ValueError(f"to is {to!r}; expected one of {', '.join(DESTINATIONS)}")
    if isinstance(mesh, DeviceMesh) and device == "auto":
        device = "cuda"
    choice = choose_device(device)

    if isinstance(mesh, DeviceMesh):
        if choice.name != "cuda":
            raise ValueError("the mesh is on the CUDA device; expected device='cuda' or 'auto'")
        if request.on_the_host:
            raise ValueError(
                f"{request.on_the_host[0]} is asked for of a DeviceMesh; expected outputs among "
                f"{', '.join(ON_DEVICE)}, or a Mesh"
            )
        bvh: Bvh | DeviceMesh = mesh
    else:
        bvh = hierarchy_of(mesh)
        check_available(mesh, request.outputs)
    if to == "device":
        if choice.name != "cuda":
            raise ValueError("to is 'device', but the CPU renders; expected device='cuda' with it")
        if request.on_the_host:
            raise ValueError(
                f"to is 'device' and {request.on_the_host[0]} is computed on the host; expected "
                f"outputs among {', '.join(ON_DEVICE)}, or to='host'"
            )
        on_device = render_to_device(bvh, cameras, request)
        return rendering_of(request, cameras, "cuda", on_device)
    n_bytes = bytes_needed(request, cameras)
    too_large = (
        f"{cameras} need {n_bytes / 2**30:.1f} GiB; render fewer views at a time, or smaller ones"
    )
    # Asked for more than there is, the system may say yes, and end the process when it is used.
    if n_bytes > SMALL and n_bytes > available_memory():
        raise MemoryError(too_large)
    scene = mesh if isinstance(mesh, Mesh) else None
    try:
        images, device = choice.run(lambda device: rendered(bvh, scene, cameras, request, device))
    except DeviceMemoryError:
        raise
    except MemoryError:
        raise MemoryError(too_large) from None
    return rendering_of(request, cameras, device, images)


def rendering_of(
    request: RenderRequest, cameras: Cameras, device: str, images: tuple[Any, dict[str, Any]]
) -> Rendering:
    """The images of a request as a `Rendering`."""
    triangle_id, arrays = images
    return Rendering(triangle_id, request.outputs, request.miss, device, cameras, arrays)
