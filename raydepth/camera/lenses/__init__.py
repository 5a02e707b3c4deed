"""Lenses: the rays of pixels and the pixels of points of each camera model, in its own frame."""
