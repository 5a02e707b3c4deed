"""Runs inside Blender: how Blender itself projects 54 cameras. Makes golden/projections.json.

The 27 combinations of sensor fit, pixel shape and image shape, perspective and orthographic, each
with its own lens, sensor and shift. `python projections.py OUT.json`, by a Python with bpy, or
`blender -b -P projections.py -- OUT.json`.
"""

import itertools
import json
import sys

import bpy

FITS = ("AUTO", "HORIZONTAL", "VERTICAL")
ASPECTS = ((1.0, 1.0), (2.0, 1.0), (1.0, 1.5))
SIZES = ((640, 360, 100), (301, 533, 75), (500, 500, 33))


def main(path: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene, render = bpy.context.scene, bpy.context.scene.render
    data = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    views = []
    for i, (kind, fit, aspect, size) in enumerate(
        itertools.product(("PERSP", "ORTHO"), FITS, ASPECTS, SIZES)
    ):
        data.type, data.sensor_fit = kind, fit
        data.lens, data.ortho_scale = 20.0 + 3.7 * i, 1.0 + 0.3 * i
        data.sensor_width, data.sensor_height = 36.0 - 0.5 * (i % 7), 20.0 + 0.7 * (i % 5)
        data.shift_x, data.shift_y = 0.05 * (i % 11) - 0.2, 0.3 - 0.07 * (i % 9)
        render.pixel_aspect_x, render.pixel_aspect_y = aspect
        render.resolution_x, render.resolution_y, render.resolution_percentage = size
        depsgraph = bpy.context.evaluated_depsgraph_get()
        depsgraph.update()
        width, height = (side * size[2] // 100 for side in size[:2])
        projection = camera.calc_matrix_camera(
            depsgraph, x=width, y=height, scale_x=aspect[0], scale_y=aspect[1]
        )
        fields = ("type", "sensor_fit", "lens", "ortho_scale", "sensor_width", "sensor_height")
        view = {name: getattr(data, name) for name in (*fields, "shift_x", "shift_y")}
        view |= {name: getattr(render, name) for name in ("pixel_aspect_x", "pixel_aspect_y")}
        view |= dict(
            zip(("resolution_x", "resolution_y", "resolution_percentage"), size, strict=True)
        )
        # The third row holds the clip range, which has nothing to do with where a point is seen.
        views.append({"camera": view, "projection": [list(projection[row]) for row in (0, 1, 3)]})
    lines = ",\n".join(map(json.dumps, views))
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'{{"blender": "{bpy.app.version_string}", "views": [\n{lines}\n]}}\n')


main(sys.argv[-1])
