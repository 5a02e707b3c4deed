"""Mesh files in, vertices and triangles out: one module a format, standard library and NumPy only.

Each module has one function `read(data, path)` that takes the file's bytes and gives `Contents`
(see contents.py), with every face of the file in the file's order, or raises MeshError with the
reason. `load.py` chooses the reader and puts the file's name before the reason.

Why not trimesh's parsers, which read the same formats: some of what they return is wrong in ways
that cannot be told from it. In trimesh 5.2 relative OBJ indices count from the last vertex of the
file, OBJ lines indented or with tabs vanish, concave polygons are cut as fans and mixed polygons
reordered, text with fewer faces than its header counts loads as a part, 3MF components that share
a part are multiplied, and sparse glTF accessors read as zeros. Binary PLY with triangles and quads
mixed, and glTF with meshes under a camera, do not load at all.
"""
