"""Choose the device; test CUDA once before "auto" uses it."""

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
        True if the caller left the choice to raydepth, so that work may still go to the CPU.
    """

    name: str
    is_auto: bool

    def run(self, work: Callable[[str], T]) -> tuple[T, str]:
        """Call `work(name)`; return its result and the name of the device that did it.

        If "auto" chose the device and the work does not fit its memory, the CPU does it.

        Raises
        ------
        DeviceMemoryError
            If the work does not fit a device that the caller named.
        """
        try:
            return work(self.name), self.name
        except DeviceMemoryError:
            if not self.is_auto:
                raise
        return work("cpu"), "cpu"


def choose_device(device: str) -> DeviceChoice:
    """Choose the device for a rendering; `render` explains "auto".

    Raises
    ------
    ValueError
        If `device` is not one of DEVICES.
    DeviceError
        If `device` is "cuda" and cannot be used here.
    """
    return DeviceChoice(chosen_device(device), device == "auto")


def chosen_device(device: str) -> str:
    """Return the name of the device that `choose_device` chooses."""
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


# The result of the first call's test; all threads wait for it.
_trial_lock = threading.Lock()
_trial: bool | None = None


def _cuda_is_right() -> bool:
    """Test whether all rendering kernels give the CPU's bits for a small scene; warn if not.

    Users seldom check which device "auto" chose, and the last compiler of the kernels is part of
    the driver.
    """
    global _trial
    with _trial_lock:
        if _trial is None:
            try:
                fault = _fault_of_cuda()
                _trial = fault is None
            except DeviceMemoryError as error:
                fault = str(error)  # may be temporary: the next call tests again
            except Exception as error:  # any failure: the CPU can render
                fault, _trial = one_line(error), False
            if fault is not None:
                warnings.warn(
                    f"device 'auto' uses the CPU, because CUDA failed a test: {fault}", stacklevel=4
                )
        return bool(_trial)


def _fault_of_cuda() -> str | None:
    """Return a line about the first bits that differ between CUDA and the CPU, or None."""
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
                return f"{n_wrong} of {expected.size} pixels of {what} differ from the CPU's"
    _, arrays = rendered(bvh, mesh, cameras, RenderRequest(("z",)), "cpu")
    scale = 10000.0
    request = RenderRequest(("z",), np.dtype(np.uint16), 0.0, values_per_unit=scale)
    views = api.render_to_host(views_for_cuda(api.resident(bvh), bvh, cameras), request)
    values = np.stack([encode_uint16(view, scale) for view in arrays["z"]])
    if n_wrong := np.count_nonzero(views.depths["z"] != values):
        return f"{n_wrong} of {values.size} pixels of 16 bits differ from the CPU's"
    return None
