"""Limits that meshes and cameras share."""

# Beyond it depth could overflow in float32.
MAX_COORDINATE = 1e30
