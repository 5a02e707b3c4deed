"""Runs inside Blender: the depth of EXR files as one array. `... -- OUT.npy 000.exr 001.exr ...`"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "raydepth", "blender"))
import inside

out, *paths = sys.argv[sys.argv.index("--") + 1 :]
np.save(out, np.stack([inside.read_exr(path, ".Depth.Z") for path in paths]))
