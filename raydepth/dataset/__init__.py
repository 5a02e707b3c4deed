"""What a data set is: its settings, its meshes, their views and their failures."""
