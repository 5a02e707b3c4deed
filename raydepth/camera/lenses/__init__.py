"""Lenses: the rays of pixels and pixels of points of each camera model, in the camera's frame."""
