"""Blender as a source of scenes and cameras, and as a reference: docs/blender.md."""

from raydepth.blender.convert import BlenderCamera, blender_from_cameras, cameras_from_blender

__all__ = ["BlenderCamera", "blender_from_cameras", "cameras_from_blender"]
