"""TITLE, set up by raydepth VERSION for exact z depth from Cycles.

Run it in the text editor of Blender 3.4 or newer. It adds a scene "raydepth" with the mesh, a
camera for each view and the render settings; frame i is view i. Then choose Render > Render
Animation. To run it without a window:

    blender -b --factory-startup -P THIS.py -- FOLDER
    python THIS.py -- FOLDER                            (a Python that has bpy)

FOLDER/000.exr and so on hold float32 depth in the channel "ViewLayer.Depth.Z": the distance along
the camera's axis in units, 1e10 for a miss. Blender's numbers are float32; keep the mesh near the
origin.
"""

import base64
import json
import os
import sys
import zlib

import bpy
import numpy as np
from inside import add_mesh, set_camera, set_exact_depth

# Arrays as little-endian bytes, packed by zlib, as base64; cameras under Blender's own names.
VERTICES = "(n, 3) float32"
FACES = "(m, 3) int32"
CAMERAS = "[]"


def unpacked(text, dtype):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(-1, 3)


def main():
    scene = bpy.data.scenes.new("raydepth")
    if bpy.context.window:
        bpy.context.window.scene = scene
    add_mesh(scene, unpacked(VERTICES, "<f4"), unpacked(FACES, "<i4"))
    set_exact_depth(scene, os.cpu_count())
    cameras = json.loads(CAMERAS)
    for frame, wanted in enumerate(cameras):
        camera = bpy.data.objects.new(wanted["name"], bpy.data.cameras.new(wanted["name"]))
        scene.collection.objects.link(camera)
        set_camera(scene, camera, wanted)
        scene.camera = scene.camera or camera
        scene.timeline_markers.new(wanted["name"], frame=frame).camera = camera
    scene.frame_start, scene.frame_end = 0, len(cameras) - 1
    scene.frame_set(0)
    folder = sys.argv[sys.argv.index("--") + 1] if "--" in sys.argv else "//raydepth"
    digits = max(3, len(str(len(cameras) - 1)))
    scene.render.filepath = os.path.join(folder, "#" * digits)
    if "--" in sys.argv:
        bpy.ops.render.render(animation=True, scene=scene.name)


main()
