"""Runs inside Blender: makes the .blend files that the tests load. `... -- FOLDER`.

story.blend     static geometry of every origin, cameras that move: what load_scene is for
moving.blend    geometry that moves between frames 2 and 3 only
two.blend       a perspective and an orthographic camera
question.blend  the question this project answers: a mesh of radius 0.5, a camera at 1.5 units
empty.blend     a camera and nothing that a render shows
alone.blend     a mesh and no camera
panorama.blend  a panoramic camera beside a plain one
sheared.blend   a camera whose parents shear it
particles.blend objects as particles, a metaball
noted.blend     what is left out or ignored, and said
"""

import math
import os
import sys

import bpy


def fresh():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 192, 144, 50
    return bpy.context.scene


def add(name, data=None, location=(0, 0, 0), rotation=(0, 0, 0), scale=1.0, parent=None, to=None):
    thing = bpy.data.objects.new(name, data)
    (to or bpy.context.scene.collection).objects.link(thing)
    thing.location, thing.rotation_euler, thing.parent = location, rotation, parent
    thing.scale = (scale,) * 3 if isinstance(scale, float) else scale
    return thing


def mesh(name, vertices, faces):
    data = bpy.data.meshes.new(name)
    data.from_pydata(vertices, [], faces)
    return data


def box(name, half=0.5):
    corners = [(x, y, z) for x in (-half, half) for y in (-half, half) for z in (-half, half)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return mesh(name, corners, faces)


def add_camera(name, location, rotation, parent=None, **fields):
    data = bpy.data.cameras.new(name)
    for field, value in fields.items():
        setattr(data, field, value)
    return add(name, data, location, rotation, parent=parent)


def scattered(thing):
    """A geometry nodes modifier that puts an instance of `thing` on every vertex."""
    tree = bpy.data.node_groups.new("scatter", "GeometryNodeTree")
    if hasattr(tree, "interface"):  # 4.0
        for way in ("INPUT", "OUTPUT"):
            tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    else:
        tree.inputs.new("NodeSocketGeometry", "Geometry")
        tree.outputs.new("NodeSocketGeometry", "Geometry")
    new, links = tree.nodes.new, tree.links
    start, end = new("NodeGroupInput"), new("NodeGroupOutput")
    on_points, info = new("GeometryNodeInstanceOnPoints"), new("GeometryNodeObjectInfo")
    info.inputs["Object"].default_value = thing
    info.inputs["As Instance"].default_value = True
    on_points.inputs["Rotation"].default_value = (0.3, 0.2, 0.9)
    on_points.inputs["Scale"].default_value = (0.5, 0.7, 0.6)
    links.new(start.outputs[0], on_points.inputs["Points"])
    links.new(info.outputs["Geometry"], on_points.inputs["Instance"])
    links.new(on_points.outputs[0], end.inputs[0])
    return tree


def story(path):
    scene = fresh()
    quarter = math.pi / 2

    # A modifier whose render level is not its viewport level.
    smooth = add("smooth", box("smooth"), (-1.3, 0, 0.6), (0.2, 0.4, 0.1))
    levels = smooth.modifiers.new("subdivision", "SUBSURF")
    levels.levels, levels.render_levels = 0, 3

    # A row made by a modifier, with bent quads, at the end of a chain of parents.
    root = add("root", None, (0.4, 0.9, 0.2), (0.1, 0.2, 0.7), scale=1.4)
    turned = add(
        "turned", None, (0.1, -0.3, 0.3), (0.5, 0.1, -0.4), scale=(0.7, 1.1, 0.8), parent=root
    )
    bent = mesh("bent", [(0, 0, 0), (0.3, 0, 0), (0.3, 0.3, 0.12), (0, 0.3, -0.05)], [(0, 1, 2, 3)])
    row = add("row", bent, (0, 0, 0.2), (0.3, 0, 0.2), parent=turned)
    array = row.modifiers.new("array", "ARRAY")
    array.count, array.relative_offset_displace = 6, (1.2, 0.1, 0.4)

    # Instances of a collection, one of them mirrored.
    parts = bpy.data.collections.new("parts")
    add("part", box("part", 0.15), (0.1, 0, 0), (0.3, 0.3, 0), to=parts)
    add("other part", row.data, (-0.2, 0.1, 0.2), to=parts)
    for i, scale in enumerate((1.0, 1.7, (-1.2, 1.2, 1.2))):
        here = add(f"parts {i}", None, (0.9, -0.9 + 0.6 * i, 0.3), (0, 0, 0.5 * i), scale=scale)
        here.instance_type, here.instance_collection = "COLLECTION", parts

    # Instances by geometry nodes; the original is hidden from renders.
    seed = add("seed", box("seed", 0.2), (50, 0, 0))
    seed.hide_render = True
    plate = mesh("plate", [(0, 0, 0), (0.5, 0, 0.1), (1, 0.1, 0), (0.5, 0.5, 0.3)], [(0, 1, 2, 3)])
    field = add("field", plate, (-0.9, -1.3, 0.1), (0, 0, 0.3))
    field.modifiers.new("scatter", "NODES").node_group = scattered(seed)

    # Instances on faces of a parent that is itself not shown in renders.
    parent = add("instancer", plate, (-0.3, -0.4, 1.2), (0.2, 0, 0), scale=1.5)
    parent.instance_type, parent.show_instancer_for_render = "FACES", False
    add("child", box("child", 0.1), parent=parent)

    # What is no mesh, but becomes one.
    text = bpy.data.curves.new("text", "FONT")
    # No curved letters: on slivers, of which those have many, Cycles' depth is less exact.
    text.body, text.extrude = "HI", 0.05
    add("text", text, (-1.2, 1.0, 0.5), (quarter, 0, 0.2), scale=0.7)
    pipe = bpy.data.curves.new("pipe", "CURVE")
    pipe.dimensions, pipe.bevel_depth = "3D", 0.06
    spline = pipe.splines.new("POLY")
    spline.points.add(3)
    for point, place in zip(
        spline.points, ((0, 0, 0), (0.5, 0, 0.2), (0.6, 0.4, 0.5), (0, 0.6, 0.7)), strict=True
    ):
        point.co = (*place, 1)
    add("pipe", pipe, (0.1, -1.5, 0.2))

    # What no render shows, and what only renders show.
    add("hidden", box("wall", 2.0), (0, -3, 0)).hide_render = True
    add("no rays", box("wall", 2.0), (0, -3, 0)).visible_camera = False
    add("only renders", box("small", 0.2), (0.2, 0.1, 1.5)).hide_viewport = True
    away = bpy.data.collections.new("excluded")
    scene.collection.children.link(away)
    add("excluded", box("wall", 2.0), (0, -3, 0), to=away)
    scene.view_layers[0].layer_collection.children["excluded"].exclude = True
    indirect = bpy.data.collections.new("indirect")
    scene.collection.children.link(indirect)
    add("indirect", box("wall", 2.0), (0, -3, 0), to=indirect)
    scene.view_layers[0].layer_collection.children["indirect"].indirect_only = True

    # Ground, with the polygon's corners not in a plane.
    ground = [(-3, -3, -0.1), (3, -3, 0.05), (3, 3, -0.1), (0, 3.5, 0), (-3, 3, 0.1)]
    add("ground", mesh("ground", ground, [(0, 1, 2, 3, 4)]))

    # A camera that moves and zooms, itself and by its parents.
    rig = add("rig", None, (0, 0, 0.3), (0, 0, 0), scale=2.0)
    arm = add("arm", None, (0, 0, 0), (0.1, 0, 0), scale=0.9, parent=rig)
    camera = add_camera(
        "Camera", (0, -2.9, 1.1), (1.25, 0, 0), parent=arm,
        lens=31.0, shift_x=0.07, shift_y=-0.04, sensor_fit="VERTICAL", sensor_height=21.0,
    )  # fmt: skip
    for frame, turn, lens in ((1, -0.6, 31.0), (9, 0.7, 45.0)):
        rig.rotation_euler.z = turn
        rig.keyframe_insert("rotation_euler", frame=frame)
        camera.data.lens = lens
        camera.data.keyframe_insert("lens", frame=frame)
    camera.location.z = 1.1
    camera.keyframe_insert("location", frame=5)
    add_camera("Second", (2.5, -3.0, 2.2), (1.1, 0.05, 0.7), sensor_fit="AUTO").hide_render = True
    # Which camera is on is a matter of the timeline, not of who asks for one.
    scene.timeline_markers.new("cut", frame=1).camera = camera
    scene.camera = camera
    scene.render.pixel_aspect_x = 1.25
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=True)


def moving(path):
    scene = fresh()
    thing = add("box", box("box"), (0, 0, 0.5))
    for frame, x in ((1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0)):
        thing.location.x = x
        thing.keyframe_insert("location", frame=frame)
    add("ground", mesh("ground", [(-3, -3, 0), (3, -3, 0), (0, 3, 0)], [(0, 1, 2)]))
    scene.camera = add_camera("Camera", (0, -4, 2), (1.2, 0, 0))
    bpy.ops.wm.save_as_mainfile(filepath=path)


def two(path):
    scene = fresh()
    add("box", box("box"), (0, 0, 0.5), (0.2, 0.1, 0.4))
    scene.camera = add_camera("Wide", (0, -4, 2), (1.2, 0, 0), lens=24.0)
    add_camera("Plan", (0.1, 0.2, 4), (0, 0, 0.3), type="ORTHO", ortho_scale=2.5, shift_y=0.1)
    bpy.ops.wm.save_as_mainfile(filepath=path)


def question(path):
    scene = fresh()
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=4, radius=0.5)
    scene.camera = add_camera("Camera", (0, -1.5, 0), (math.pi / 2, 0, 0))
    scene.render.engine = "CYCLES"
    # Not every Blender is built with the denoiser, which is on unless told otherwise.
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    bpy.ops.wm.save_as_mainfile(filepath=path)


def empty(path):
    scene = fresh()
    add("hidden", box("box")).hide_render = True
    scene.camera = add_camera("Camera", (0, -4, 0), (math.pi / 2, 0, 0))
    bpy.ops.wm.save_as_mainfile(filepath=path)


def alone(path):
    fresh()
    add("box", box("box"))
    bpy.ops.wm.save_as_mainfile(filepath=path)


def panorama(path):
    fresh()
    add("box", box("box"))
    add_camera("All around", (0, -4, 0), (math.pi / 2, 0, 0), type="PANO")
    add_camera("Plain", (0, -4, 0), (math.pi / 2, 0, 0))
    bpy.ops.wm.save_as_mainfile(filepath=path)


def sheared(path):
    fresh()
    add("box", box("box"))
    uneven = add("uneven", None, scale=(1, 1, 2))
    add_camera("Leaning", (0, -4, 0), (math.pi / 3, 0, 0), parent=uneven)
    bpy.ops.wm.save_as_mainfile(filepath=path)


def particles(path):
    scene = fresh()
    plate = mesh("plate", [(-2, -2, 0), (2, -2, 0.1), (2, 2, 0), (-2, 2, 0)], [(0, 1, 2, 3)])
    field = add("field", plate)
    field.modifiers.new("particles", "PARTICLE_SYSTEM")
    settings = field.particle_systems[0].settings
    settings.type, settings.count, settings.hair_length = "HAIR", 40, 1.0
    settings.render_type, settings.particle_size = "OBJECT", 0.3
    settings.instance_object = add("leaf", box("leaf", 0.2), (60, 0, 0))
    ball = bpy.data.metaballs.new("ball")
    ball.elements.new().radius = 1.0
    add("ball", ball, (1.2, 0.5, 0.5))
    scene.camera = add_camera("Kamera ü", (0, -6, 3), (1.15, 0, 0))
    bpy.ops.wm.save_as_mainfile(filepath=path)


def noted(path):
    scene = fresh()
    thing = add("hairy", box("box"))
    thing.modifiers.new("hair", "PARTICLE_SYSTEM")
    thing.particle_systems[0].settings.type = "HAIR"
    camera = scene.camera = add_camera("Camera", (0, -4, 0), (math.pi / 2, 0, 0))
    camera.data.dof.use_dof = True
    camera.driver_add("location", 2).driver.expression = "len(bpy.data.objects)"
    scene.view_layers.new("Second")
    scene.render.use_border = True
    bpy.ops.wm.save_as_mainfile(filepath=path)


def main(folder):
    makers = (story, moving, two, question, empty, alone, panorama, sheared, particles, noted)
    for make in makers:
        make(os.path.join(folder, make.__name__ + ".blend"))
    # bpy may hang when it ends after a driver in Python.
    sys.stdout.flush()
    os._exit(0)


main(sys.argv[-1])
