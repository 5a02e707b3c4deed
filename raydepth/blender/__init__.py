"""Blender as a source of scenes and cameras, and as a reference: docs/blender.md."""

from raydepth.blender.convert import BlenderCamera, blender_from_cameras, cameras_from_blender
from raydepth.blender.process import TIMEOUT
from raydepth.blender.scene import KEYFRAMES, SUFFIX, Scene, Shot, checked_frames, load_scene
from raydepth.blender.script import script

__all__ = [
    "KEYFRAMES",
    "SUFFIX",
    "TIMEOUT",
    "BlenderCamera",
    "Scene",
    "Shot",
    "blender_from_cameras",
    "cameras_from_blender",
    "checked_frames",
    "load_scene",
    "script",
]
