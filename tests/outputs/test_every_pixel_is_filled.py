"""Memory of outputs is not initialised: every element must be written, for every kind of camera."""

from __future__ import annotations

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth.mesh.contents import Texture
from raydepth.outputs import resolver
from raydepth.outputs.table import OUTPUTS

# Nothing that is rendered here has these bytes.
POISON = 0xA5
SIZE = (37, 29)


def views(name):
    poses = rd.cameras.fibonacci(2, radius=1.5).world_from_camera
    if name == "equirectangular":
        return rd.Cameras(rd.cameras.equirectangular_intrinsics(SIZE), poses, SIZE, model=name)
    if name == "orthographic":
        return rd.Cameras(rd.cameras.orthographic_intrinsics(1.5, SIZE), poses, SIZE, model=name)
    limits = {"near": 1.2, "far": 1.6} if name == "limited" else {}
    return rd.Cameras(rd.cameras.perspective_intrinsics(60, SIZE), poses, SIZE, **limits)


def unwritten(array):
    """How many elements still have the bytes that memory had."""
    items = np.ascontiguousarray(array).view(np.uint8).reshape(array.size, array.itemsize)
    return int((items == POISON).all(axis=1).sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model", ["perspective", "limited", "orthographic", "equirectangular"])
@pytest.mark.parametrize("together", [True, False])
def test_every_element_is_written(model, dtype, together, monkeypatch):
    made = resolver.empty_arrays

    def poisoned(request, cameras):
        arrays = made(request, cameras)
        for array in arrays.values():
            array.view(np.uint8)[...] = POISON
        return arrays

    monkeypatch.setattr(resolver, "empty_arrays", poisoned)
    vertices, faces = shapes.icosphere(levels=2)
    texture = Texture(vertices[:, :2].copy(), faces)
    mesh, cameras = rd.Mesh(vertices * 0.5, faces, texture=texture), views(model)
    names = [name for name in OUTPUTS if name != "z" or cameras.has_z]
    for outputs in [names] if together else [[name] for name in names]:
        result = rd.render(mesh, cameras, outputs=outputs, dtype=dtype, device="cpu")
        for name in set(outputs) - {"triangle_id"}:
            if OUTPUTS[name].dtype != "bool":
                assert unwritten(result[name]) == 0, name
            else:  # a bool that was not written is no bool
                assert set(np.unique(result[name].view(np.uint8))) <= {0, 1}
