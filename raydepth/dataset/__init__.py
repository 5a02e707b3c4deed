"""The parts of a data set: its settings, its meshes, their views and their failures."""
