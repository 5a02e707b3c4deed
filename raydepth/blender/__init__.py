"""Blender as a source of scenes and cameras, and as a reference: docs/blender.md."""

from raydepth.blender.convert import BlenderCamera, blender_from_cameras, cameras_from_blender
from raydepth.blender.scene import Scene, Shot, load_scene

__all__ = [
    "BlenderCamera",
    "Scene",
    "Shot",
    "blender_from_cameras",
    "cameras_from_blender",
    "load_scene",
]
