"""Runs inside Blender: Cycles' own depth pass of a .blend, as exact as its settings allow.

`... -- SCENE.blend OUT.npz [CAMERA:FRAME ...]` stores one array for each camera and frame. Nothing
of the scene is changed but the render settings.
"""

import os
import sys

import bpy
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "raydepth", "blender"))
import inside


def main(path, out, *views):
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False)
    scene = bpy.context.scene
    inside.set_exact_depth(scene, 2)
    # The markers of the timeline would switch cameras.
    for marker in scene.timeline_markers:
        marker.camera = None
    depths = {}
    for view in views:
        camera, frame = view.split(":")
        scene.camera = bpy.data.objects[camera]
        scene.frame_set(int(frame))
        depths[view] = inside.render_depth(scene, os.path.dirname(out))
    np.savez(out, **depths)


main(*sys.argv[sys.argv.index("--") + 1 :])
