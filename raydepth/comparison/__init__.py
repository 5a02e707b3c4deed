"""Compare two depth maps; Blender as an independent witness in `blender`."""
