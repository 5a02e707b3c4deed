"""Choose the device, and test CUDA once before "auto" trusts it."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import fisheye_intrinsics
from raydepth.cameras import ring
from raydepth.codecs.uint16 import encode_uint16
from raydepth.cuda import api
from raydepth.cuda import device as cuda_device
from raydepth.errors import DeviceError, DeviceMemoryError, one_line
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.request import RenderRequest
from raydepth.rendering.cuda_views import views_for_cuda
from raydepth.rendering.dispatch import rendered
from raydepth.rendering.hierarchies import hierarchy_of

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")


class DeviceChoice(NamedTuple):
    """The device that renders.

    Attributes
    ----------
    name : "cpu" or "cuda"
    is_auto : bool
        Whether it was left to raydepth, which may take the CPU after all.
    """

    name: str
    is_auto: bool

    def run(self, work: Callable[[str], T]) -> tuple[T, str]:
        """`work(name)`, on the CPU where it does not fit a device chosen by "auto"; and the name.

        Raises
        ------
        DeviceMemoryError
            It does not fit the device that was asked for.
        """
        try:
            return work(self.name), self.name
        except DeviceMemoryError:
            if not self.is_auto:
                raise
        return work("cpu"), "cpu"


def choose_device(device: str) -> DeviceChoice:
    """The device for a rendering; "auto" is explained at `render`.

    Raises
    ------
    ValueError
        It is none of DEVICES.
    DeviceError
        It cannot be used here.
    """
    return DeviceChoice(chosen_device(device), device == "auto")


def chosen_device(device: str) -> str:
    """The name of the device that `choose_device` chooses."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; expected one of {', '.join(DEVICES)}")
    if device == "cpu":
        return device
    reason = cuda_device.why_unusable()
    if device == "auto":
        return "cuda" if reason is None and _cuda_is_right() else "cpu"
    if reason is not None:
        raise DeviceError(f"device 'cuda': {reason}")
    return device


# What the first call found out; all threads wait for it.
_trial_lock = threading.Lock()
_trial: bool | None = None


def _cuda_is_right() -> bool:
    """Whether every kernel that renders gives the CPU's bits for a small scene; a warning if not.

    Nobody looks at what "auto" took; and the last compiler of the kernels is part of a driver.
    """
    global _trial
    with _trial_lock:
        if _trial is None:
            try:
                fault = _fault_of_cuda()
                _trial = fault is None
            except DeviceMemoryError as error:
                fault = str(error)  # which may be over with the next call
            except Exception as error:  # whatever is wrong, there is the CPU
                fault, _trial = one_line(error), False
            if fault is not None:
                warnings.warn(
                    f"device 'auto' is the CPU; CUDA failed a test: {fault}", stacklevel=4
                )
        return bool(_trial)


def _fault_of_cuda() -> str | None:
    """A line about bits that CUDA gives and the CPU does not, or None."""
    corners = np.random.default_rng(0).uniform(-0.5, 0.5, (600, 3))
    mesh, cameras = Mesh(corners, np.arange(600).reshape(-1, 3)), ring(2, size=64)
    bvh = hierarchy_of(mesh)
    near = Cameras(cameras.intrinsics, cameras.world_from_camera, 64, near=1.3)
    fisheye = Cameras(fisheye_intrinsics(60.0, 64), near.world_from_camera, 64, model="fisheye")
    for what, seen, kinds, dtype in (
        ("depth", cameras, ("z", "ray"), np.float32),
        ("float64 depth within limits", near, ("z", "ray"), np.float64),
        ("single rays", fisheye, ("ray",), np.float32),
    ):
        request = RenderRequest(kinds, np.dtype(dtype), math.inf)
        (our_faces, ours), (their_faces, theirs) = (
            rendered(bvh, mesh, seen, request, device) for device in ("cpu", "cuda")
        )
        pairs = [(our_faces, their_faces), *((ours[name], theirs[name]) for name in kinds)]
        for expected, found in pairs:
            if n_wrong := np.count_nonzero(expected != found):
                return f"{n_wrong} of {expected.size} pixels of {what} are not the CPU's"
    _, arrays = rendered(bvh, mesh, cameras, RenderRequest(("z",)), "cpu")
    scale = 10000.0
    request = RenderRequest(("z",), np.dtype(np.uint16), 0.0, values_per_unit=scale)
    views = api.render_to_host(views_for_cuda(api.resident(bvh), bvh, cameras), request)
    values = np.stack([encode_uint16(view, scale) for view in arrays["z"]])
    if n_wrong := np.count_nonzero(views.depths["z"] != values):
        return f"{n_wrong} of {values.size} pixels of 16 bits are not the CPU's"
    return None
