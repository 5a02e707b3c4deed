"""Blender as a source of scenes and cameras, and as a reference; see docs/blender.md."""

from raydepth.blender.convert import BlenderCamera, blender_from_cameras, cameras_from_blender
from raydepth.blender.process import TIMEOUT, find_blender
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
    "find_blender",
    "load_scene",
    "script",
]
