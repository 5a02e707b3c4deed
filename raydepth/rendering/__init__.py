"""Render meshes: joins hierarchies, cameras, kernels and outputs."""

from raydepth.rendering.api import render
from raydepth.rendering.devices import DEVICES
from raydepth.rendering.hierarchies import build_bvh
from raydepth.rendering.result import Rendering

__all__ = ["DEVICES", "Rendering", "build_bvh", "render"]
