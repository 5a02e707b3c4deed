"""Readers of mesh files, one module per format, with the standard library and NumPy only.

Each has one function `read(data, path)` that takes the file's bytes and returns `Contents` (see
contents.py), with every face of the file in the file's order, or raises MeshError with the reason.
`load.py` chooses the reader and puts the file's name before the reason.

The parsers of trimesh read the same formats, but some of their results are wrong in ways that the
results do not show. In trimesh 5.2 relative OBJ indices count from the last vertex of the file, OBJ
lines that are indented or contain tabs are lost, concave polygons are cut as fans, mixed polygons
are reordered, a text file with fewer faces than its header counts loads in part, 3MF components
that share a part are multiplied, and sparse glTF accessors read as zeros. Binary PLY that mixes
triangles and quads, and glTF with meshes under a camera, do not load at all.
"""
