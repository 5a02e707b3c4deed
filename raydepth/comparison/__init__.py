"""Comparisons of depth maps; those with Blender, an independent renderer, are in `blender`."""
