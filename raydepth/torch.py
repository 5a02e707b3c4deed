"""Depth maps for PyTorch: from a finished data set, or rendered on demand.

    from raydepth.torch import RenderedViews, StoredViews

    loader = torch.utils.data.DataLoader(StoredViews("out"), batch_size=16, num_workers=4)
    for batch in loader:
        batch["depth"]  # (16, height, width) float32, +inf = miss

Needs torch (pip install 'raydepth[torch]'); nothing else in raydepth imports it.
"""

from __future__ import annotations

import bisect
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from raydepth.camera.camera import Cameras
from raydepth.dataset.inputs import find_meshes
from raydepth.dataset.reader import open_dataset
from raydepth.dataset.settings import read_settings
from raydepth.errors import MeshError
from raydepth.mesh.load import FORMATS, load_mesh
from raydepth.rendering.api import render
from raydepth.rendering.devices import chosen_device
from raydepth.system import parallel


class View(TypedDict):
    """One view, as both data sets return it; `default_collate` makes batches of views.

    depth : (height, width) float32, in units, +inf = miss; for the device see `RenderedViews`
    intrinsics : (3, 3) float64, in pixels
    distortion : (n,) float64, as many numbers as `Cameras` has; n = 0 if there is no distortion
    near, far : float, nearer or farther surfaces are not seen; 0 and +inf if there are no limits
    world_from_camera : (4, 4) float64, OpenCV axes
    mesh : str, the name of the mesh
    view : int
    """

    depth: torch.Tensor
    intrinsics: torch.Tensor
    distortion: torch.Tensor
    near: float
    far: float
    world_from_camera: torch.Tensor
    mesh: str
    view: int


class StoredViews(Dataset):
    """All views of a finished data set, in any form of storage; meshes in order of their names.

    Parameters
    ----------
    out : path
        The folder of the data set.

    Raises
    ------
    ValueError, FileNotFoundError
        As for `open_dataset`.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.meshes = open_dataset(out)
        settings = read_settings(self.meshes.out)
        if settings is not None:
            # All meshes of a data set have the same cameras, so none needs to be opened yet.
            n_views = [len(settings["cameras"])] * len(self.meshes)
        else:
            n_views = [len(mesh) for mesh in self.meshes]
        self._ends = list(itertools.accumulate(n_views))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> View:
        if not -len(self) <= index < len(self):
            raise IndexError(f"view {index} is out of range; there are {len(self)} views")
        index %= len(self)
        place = bisect.bisect_right(self._ends, index)
        mesh = self.meshes[place]
        view = index - (self._ends[place - 1] if place else 0)
        depth = torch.from_numpy(mesh.depth(view))
        return _view(depth, mesh.cameras[view], mesh.name, view)


class RenderedViews(IterableDataset):
    """Views rendered on demand, mesh by mesh, without files.

    The workers of a DataLoader share the meshes: each renders every n-th of them, on its part of
    the processors. A mesh that cannot be loaded is left out with a warning. With device="cuda"
    depth stays in the GPU's memory, except for lenses that bend rays, and a DataLoader with workers
    must start them with "spawn". With "auto" depth is in main memory, on whichever device it was
    rendered; the workers of a DataLoader then render on the CPU.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files, folders and patterns, as for `render_dataset`.
    cameras : Cameras, or callable that takes a mesh's number and returns Cameras
        With a callable, each mesh (and each epoch) may have different views.
    normalize, kind, device
        As for `load_mesh` and `render`.

    Raises
    ------
    ValueError
        There are no meshes.
    DeviceError
        `device` is "cuda" and cannot be used here.
    """

    def __init__(
        self,
        inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        cameras: Cameras | Callable[[int], Cameras],
        *,
        normalize: str = "none",
        kind: str = "z",
        device: str = "auto",
    ) -> None:
        self.paths = find_meshes(inputs, FORMATS)
        self.cameras = cameras
        self.normalize = normalize
        self.kind = kind
        self.device = device
        if device != "auto":
            chosen_device(device)

    def __iter__(self) -> Iterator[View]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        threads = max(1, parallel.default_threads() // step)
        in_worker = self.device == "auto" and worker is not None
        device = chosen_device("cpu" if in_worker else self.device)
        for number in range(first, len(self.paths), step):
            try:
                mesh = load_mesh(self.paths[number], normalize=self.normalize)
            except MeshError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
                continue
            cameras = self.cameras(number) if callable(self.cameras) else self.cameras
            to = "device" if self.device == "cuda" and cameras.is_affine else "host"
            depths = render(
                mesh, cameras, kind=self.kind, device=device, threads=threads, to=to
            ).depth
            # On the host and on the device, the tensors share memory with the rendered depth.
            for view, depth in enumerate(torch.from_dlpack(depths)):
                yield _view(depth, cameras[view], mesh.name, view)


def _view(depth: torch.Tensor, camera: Cameras, name: str, view: int) -> View:
    distortion = np.empty(0) if camera.distortion is None else camera.distortion[0].copy()
    (near,), (far,) = camera.limits()
    return View(
        depth=depth,
        intrinsics=torch.as_tensor(camera.intrinsics[0].copy()),
        distortion=torch.as_tensor(distortion),
        near=float(near),
        far=float(far),
        world_from_camera=torch.as_tensor(camera.world_from_camera[0].copy()),
        mesh=name,
        view=view,
    )
