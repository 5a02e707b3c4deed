"""Limits that meshes and cameras share."""

# With larger coordinates, depth could overflow in float32.
MAX_COORDINATE = 1e30
