"""Exact metric depth maps of meshes, by ray casting. See README.md for the conventions."""

import lazy_loader

# The names and their modules stand in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
