"""The Blender side: runs inside Blender's own Python, 3.4 to 5.2, and knows their differences.

It imports nothing of raydepth. `process.run` starts it with a folder that holds job.json and the
job's arrays as .npy; it leaves its arrays and then result.json there, which appears last and whole.

    blender -b --factory-startup -P inside.py -- FOLDER
    python inside.py -- FOLDER                           (a Python that has bpy)

Cameras travel as dictionaries of Blender's own names: type, lens, sensor_width, sensor_height,
sensor_fit, shift_x, shift_y, ortho_scale, clip_start, clip_end, matrix_world (4x4, rows first),
resolution_x, resolution_y, resolution_percentage, pixel_aspect_x, pixel_aspect_y.
"""

import contextlib
import functools
import hashlib
import json
import os
import struct
import sys
import time
import traceback

import bpy
import numpy as np
from mathutils import Matrix

OLDEST = (3, 4)

CAMERA_DATA = (
    "type", "lens", "sensor_width", "sensor_height", "sensor_fit", "shift_x", "shift_y",
    "ortho_scale", "clip_start", "clip_end",
)  # fmt: skip
RENDER_DATA = (
    "resolution_x", "resolution_y", "resolution_percentage", "pixel_aspect_x", "pixel_aspect_y",
)  # fmt: skip

# The probe: a plane this far in front of a camera that sees 90 degrees in so many pixels.
PROBE_DISTANCE = 2.0
PROBE_SIDE = 64


class JobError(Exception):
    """What cannot be done, in one line for the user."""


class Job:
    """A job, its arrays, and the arrays of its result."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "job.json"), encoding="utf-8") as file:
            self.data = json.load(file)
        self.stored = []

    def __getitem__(self, key):
        return self.data[key]

    def get(self, key, default=None):
        return self.data.get(key, default)

    def array(self, name):
        """An array of the job; pages are read when they are needed."""
        return np.load(os.path.join(self.folder, name + ".npy"), mmap_mode="r")

    def store(self, name, array):
        """Make an array part of the result."""
        np.save(os.path.join(self.folder, "result_" + name + ".npy"), array)
        self.stored.append(name)

    def finish(self, result):
        result["arrays"] = self.stored
        path = os.path.join(self.folder, "result.json")
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(result, file)
        os.replace(path + ".tmp", path)


# --- settings -----------------------------------------------------------------------------------


def empty_scene():
    """Factory settings, nothing in the scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def set_exact_depth(scene, threads):
    """Cycles with its rays through the pixels' centres, depth as the only pass.

    The filter importance-samples where in the pixel the ray goes: a Gaussian of 0.01 pixel keeps
    it at the centre; the default one is 5e-4 pixel off, and BOX has no width to set.
    """
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = 1
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.use_auto_tile = False
    cycles.max_bounces = 0
    cycles.pixel_filter_type = "GAUSSIAN"
    cycles.filter_width = 0.01
    for layer in scene.view_layers:
        layer.use_pass_combined = False
        layer.use_pass_z = True
    render = scene.render
    render.threads_mode = "FIXED"
    render.threads = threads
    render.use_compositing = False
    render.use_sequencer = False
    render.use_border = False
    # Cycles keeps what did not change from one view to the next.
    render.use_persistent_data = True
    set_multilayer_exr(render)


def set_multilayer_exr(render):
    """Float channels of all passes in one file, without compression."""
    image = render.image_settings
    if hasattr(image, "media_type"):  # 5.0: formats come in groups
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth = "32"
    image.exr_codec = "NONE"
    if hasattr(image, "use_exr_interleave"):  # 5.0: else one part of the file for each pass
        image.use_exr_interleave = True


# --- meshes and cameras -------------------------------------------------------------------------


def add_mesh(scene, vertices, faces):
    """An object at the origin with these triangles, as they are: no importer turns or merges."""
    mesh = bpy.data.meshes.new("mesh")
    mesh.vertices.add(len(vertices))
    mesh.loops.add(3 * len(faces))
    mesh.polygons.add(len(faces))
    mesh.vertices.foreach_set("co", flat(vertices, np.float32))
    mesh.loops.foreach_set("vertex_index", flat(faces, np.int32))
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * len(faces), 3, dtype=np.int32))
    if bpy.app.version < (3, 6):  # later ones see it from the starts
        mesh.polygons.foreach_set("loop_total", np.full(len(faces), 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    thing = bpy.data.objects.new("mesh", mesh)
    scene.collection.objects.link(thing)
    return thing


def move_vertices(thing, vertices):
    thing.data.vertices.foreach_set("co", flat(vertices, np.float32))
    thing.data.update()


def add_camera(scene):
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def set_camera(scene, camera, wanted):
    """Set what the dictionary names; everything else stays as it is."""
    for owner, names in ((camera.data, CAMERA_DATA), (scene.render, RENDER_DATA)):
        for name in names:
            if name in wanted:
                setattr(owner, name, wanted[name])
    if "matrix_world" in wanted:
        # A Matrix has rows; plain lists would be taken for columns.
        camera.matrix_world = Matrix(wanted["matrix_world"])
    bpy.context.view_layer.update()


def read_camera(scene, camera):
    """The camera as Blender has it now: float32, limited to its ranges."""
    found = {name: getattr(camera.data, name) for name in CAMERA_DATA}
    found.update((name, getattr(scene.render, name)) for name in RENDER_DATA)
    found["matrix_world"] = [list(row) for row in camera.matrix_world]
    return found


def flat(array, dtype):
    return np.ascontiguousarray(array, dtype=dtype).reshape(-1)


# --- rendering ----------------------------------------------------------------------------------


def render_depth(scene, folder):
    """The depth pass of one frame, (height, width) float32, row 0 at the top; a miss is 1e10."""
    path = os.path.join(folder, "pass.exr")
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)
    try:
        return read_exr(path, ".Depth.Z")
    finally:
        os.remove(path)


def read_exr(path, channel):
    """One channel of an uncompressed scan line OpenEXR file, by the end of its name.

    The layout is that of "OpenEXR File Layout", Academy Software Foundation.
    """
    with open(path, "rb") as file:
        data = file.read()
    magic, version = struct.unpack_from("<II", data)
    if magic != 20000630 or version & ~0xFF & ~0x400:  # long names are no obstacle
        raise JobError("Blender wrote an EXR file of an unexpected kind (%#x)" % version)
    attributes, position = {}, 8
    while data[position]:
        name, position = c_string(data, position)
        _, position = c_string(data, position)
        (size,) = struct.unpack_from("<i", data, position)
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    if attributes["compression"] != b"\0":
        raise JobError("Blender compressed the EXR file although told not to")
    x0, y0, x1, y1 = struct.unpack("<4i", attributes["dataWindow"])
    width, height = x1 - x0 + 1, y1 - y0 + 1

    # Within a line the channels follow each other in this order; HALF is type 1, others 4 bytes.
    channels, line_bytes, begin, at = attributes["channels"], 0, None, 0
    while channels[at]:
        name, at = c_string(channels, at)
        (pixel_type,) = struct.unpack_from("<i", channels, at)
        at += 16
        if name.endswith(channel):
            if pixel_type != 2:
                raise JobError("Blender's %s is not float32" % name)
            begin = line_bytes
        line_bytes += width * (2 if pixel_type == 1 else 4)
    if begin is None:
        raise JobError("Blender's EXR file holds no channel %s" % channel)
    depth = np.empty((height, width), np.float32)
    for offset in struct.unpack_from("<%dQ" % height, data, position + 1):
        (y,) = struct.unpack_from("<i", data, offset)
        depth[y - y0] = np.frombuffer(data, "<f4", width, offset + 8 + begin)
    return depth


def c_string(data, position):
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1


def probe(scene, camera, folder, threads):
    """Depth in the middle and in a corner of a plane that faces the camera.

    Equal if the pass is distance along the camera's axis; if it is distance from the camera's
    centre, the corner has `slant` times the middle's.
    """
    set_exact_depth(scene, threads)
    far = 4.0 * PROBE_DISTANCE
    corners = [(x, y, -PROBE_DISTANCE) for x, y in ((-far, -far), (far, -far), (0.0, far))]
    plane = add_mesh(scene, np.array(corners), np.array([[0, 1, 2]]))
    set_camera(scene, camera, {
        "type": "PERSP", "lens": 18.0, "sensor_width": 36.0, "sensor_fit": "HORIZONTAL",
        "shift_x": 0.0, "shift_y": 0.0, "clip_start": 0.1, "clip_end": 100.0,
        "matrix_world": np.eye(4).tolist(), "resolution_x": PROBE_SIDE,
        "resolution_y": PROBE_SIDE, "resolution_percentage": 100, "pixel_aspect_x": 1.0,
        "pixel_aspect_y": 1.0,
    })  # fmt: skip
    depth = render_depth(scene, folder)
    bpy.data.objects.remove(plane)
    # How far out the corner's ray is where the plane is 1 away; the middle's is half a pixel out.
    out = 1.0 - 1.0 / PROBE_SIDE
    return {
        "middle": float(depth[PROBE_SIDE // 2, PROBE_SIDE // 2]),
        "corner": float(depth[-1, 0]),
        "slant": float(np.sqrt(1.0 + 2.0 * out * out)),
    }


# --- scenes of .blend files ---------------------------------------------------------------------


def open_blend(path):
    """Open a file without running the scripts in it; returns its scene."""
    try:
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).split(" failed: ")[-1]
        raise JobError(f"cannot open {path} ({reason})") from None
    return bpy.context.scene


def chosen_cameras(scene, name):
    """The cameras of a scene by name, or the one that is asked for."""
    cameras = sorted((o for o in scene.objects if o.type == "CAMERA"), key=lambda o: o.name)
    names = ", ".join(repr(camera.name) for camera in cameras)
    if not cameras:
        raise JobError(f"scene {scene.name!r} has no cameras")
    if name is None:
        return cameras
    found = [camera for camera in cameras if camera.name == name]
    if not found:
        raise JobError(f"scene {scene.name!r} has no camera {name!r}; its cameras are {names}")
    return found


def chosen_frames(scene, cameras, frames):
    """The frames that are asked for, the current one if none is."""
    if frames is None:
        return [scene.frame_current]
    if frames != "keys":
        return frames
    found = sorted({frame for camera in cameras for frame in keyframes(camera)})
    if not found:
        names = ", ".join(repr(camera.name) for camera in cameras)
        raise JobError(f"no keyframes of camera {names}, its lens or its parents")
    return found


def keyframes(camera):
    """The frames at which a camera, its lens or one of its parents has a keyframe."""
    owners = [camera.data]
    while camera:
        owners.append(camera)
        camera = camera.parent
    for owner in owners:
        animation = owner.animation_data
        if animation and animation.action:
            for curve in curves_of(animation):
                for point in curve.keyframe_points:
                    yield round(point.co[0])


def curves_of(animation):
    """The animation curves of one owner."""
    action = animation.action
    if not hasattr(animation, "action_slot"):  # until 4.3 an action belongs to one owner
        return list(action.fcurves)
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags if bag.slot == animation.action_slot for curve in bag.fcurves]


def prepare_scene(scene, notes):
    """Leave one view layer to render, once for each frame and camera; returns that layer."""
    render = scene.render
    render.use_compositing = False
    render.use_sequencer = False
    render.use_multiview = False
    # Cameras are switched by their turn, not by the markers of the timeline.
    for marker in scene.timeline_markers:
        marker.camera = None
    used = [layer for layer in scene.view_layers if layer.use] or list(scene.view_layers)
    for layer in scene.view_layers:
        layer.use = layer == used[0]
    if len(used) > 1:
        notes.append(f"of {len(used)} view layers only {used[0].name!r} is rendered")
    if render.use_border:
        notes.append("the render region is ignored, the whole image is rendered")
    return used[0]


@contextlib.contextmanager
def render_engine():
    """Gives render(look): what look(depsgraph) makes of the scene as evaluated for a render.

    Only render engines are shown that; what scripts get elsewhere is evaluated for the viewport,
    with other subdivision levels and other objects hidden.
    """
    turn = {}

    class Look(bpy.types.RenderEngine):
        bl_idname = "RAYDEPTH"
        bl_label = "raydepth"

        def render(self, depsgraph):
            try:
                turn["seen"] = turn["look"](depsgraph)
            except Exception as error:  # Blender would print it and go on
                turn["error"] = error

    def render(look):
        turn.clear()
        turn["look"] = look
        bpy.context.scene.render.engine = Look.bl_idname
        bpy.ops.render.render()
        if "error" in turn:
            raise turn["error"]
        return turn["seen"]

    bpy.utils.register_class(Look)
    try:
        yield render
    finally:
        bpy.utils.unregister_class(Look)


def look_at_scene(camera, contents, depsgraph):
    """A camera as animation, parents and constraints make it, and the layout of the meshes."""
    evaluated = camera.evaluated_get(depsgraph)
    found = read_camera(depsgraph.scene, evaluated)
    if evaluated.data.dof.use_dof:
        contents.notes.add("depth of field is ignored: every camera is a pinhole")
    return {"camera": {"name": camera.name, **found}, "layout": contents.layout(depsgraph)}


class Contents:
    """Every mesh that was met, stored once, and every arrangement of them."""

    def __init__(self, job, view_layer):
        self.job = job
        self.view_layer = view_layer
        self.geometries = {}  # digest of the arrays: number
        self.layouts = {}  # digest of the arrays: number
        self.notes = set()

    def layout(self, depsgraph):
        """The number of the arrangement that this evaluation of the scene shows."""
        numbers, matrices, known = [], [], {}
        for instance in depsgraph.object_instances:
            thing = instance.object
            if not instance.show_self or not self.seen(instance):
                continue
            if thing.type in ("CURVES", "POINTCLOUD", "VOLUME"):
                self.notes.add(f"{thing.name!r} (hair, points or a volume) is left out")
            # Curves, texts and metaballs come again, as instances of the mesh that they make.
            if not isinstance(thing.data, bpy.types.Mesh) or not len(thing.data.polygons):
                continue
            key = thing.data.as_pointer()
            if key not in known:
                known[key] = self.geometry(thing.data)
            numbers.append(known[key])
            matrices.append([list(row) for row in instance.matrix_world])
        return self.number(
            self.layouts,
            "layout",
            geometry=np.array(numbers, np.int32),
            matrix_world=np.array(matrices, np.float32).reshape(-1, 4, 4),
        )

    def seen(self, instance):
        """Whether rays from the camera meet it, which Cycles decides as it does here."""
        things = [instance.object] + ([instance.parent] if instance.parent else [])
        return all(
            thing.visible_camera
            # The evaluated object would not know.
            and not thing.original.indirect_only_get(view_layer=self.view_layer)
            for thing in things
        )

    def geometry(self, mesh):
        """The number of a mesh, whose triangles are those that Blender renders."""
        mesh.calc_loop_triangles()
        vertices = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", vertices)
        faces = np.empty(3 * len(mesh.loop_triangles), np.int32)
        mesh.loop_triangles.foreach_get("vertices", faces)
        return self.number(
            self.geometries,
            "geometry",
            vertices=vertices.reshape(-1, 3),
            faces=faces.reshape(-1, 3),
        )

    def number(self, known, what, **arrays):
        """The number of these arrays among those of their kind; stored if they are new."""
        digest = hashlib.sha256()
        for array in arrays.values():
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(array.tobytes())
        key = digest.digest()
        if key not in known:
            known[key] = len(known)
            for name, array in arrays.items():
                self.job.store(f"{what}_{known[key]}_{name}", array)
        return known[key]


# --- commands -----------------------------------------------------------------------------------


def render_views(job):
    """Cycles' depth of all views in one process.

    Job: "cameras" (one dictionary a view), "threads"; arrays vertices (1 or n_views, n, 3) float32
    and faces (m, 3). Result: array depth (n_views, height, width) float32 as Blender wrote it,
    "cameras" as Blender has them, "seconds" of each view, file included, and the "probe".
    """
    scene = empty_scene()
    camera = add_camera(scene)
    measured = probe(scene, camera, job.folder, job["threads"])
    vertices, faces = job.array("vertices"), job.array("faces")
    thing = add_mesh(scene, vertices[0], faces)
    depths, cameras, seconds = [], [], []
    for view, wanted in enumerate(job["cameras"]):
        if view and len(vertices) > 1:
            move_vertices(thing, vertices[view])
        set_camera(scene, camera, wanted)
        cameras.append(read_camera(scene, camera))
        start = time.perf_counter()
        depths.append(render_depth(scene, job.folder))
        seconds.append(time.perf_counter() - start)
    job.store("depth", np.stack(depths))
    return {"cameras": cameras, "seconds": seconds, "probe": measured}


def read_scene(job):
    """What renders of a .blend see: its meshes in their places, and its cameras.

    Job: "path"; "camera", a name or None for all of the scene's; "frames", a list, "keys" or None
    for the one the file was saved at. Result: "views", one for each frame and camera in it, with
    "camera", "frame" and "layout"; arrays geometry_<g>_vertices (n, 3) float32 and
    geometry_<g>_faces (m, 3), layout_<l>_geometry (k,) and layout_<l>_matrix_world (k, 4, 4): the
    k meshes that the view's layout puts in their places. "notes" says what is not as in a render.
    """
    scene = open_blend(job["path"])
    notes = []
    if bpy.app.autoexec_fail:
        notes.append("Python in the file (drivers, scripts) was not run")
    cameras = chosen_cameras(scene, job["camera"])
    frames = chosen_frames(scene, cameras, job["frames"])
    layer = prepare_scene(scene, notes)
    contents = Contents(job, layer)
    views = []
    with render_engine() as render:
        for frame in frames:
            scene.frame_set(frame)
            for camera in cameras:
                scene.camera = camera

                look = functools.partial(look_at_scene, camera, contents)
                views.append({"frame": frame, **render(look)})
    return {"views": views, "notes": notes + sorted(contents.notes)}


COMMANDS = {"depth": render_views, "scene": read_scene}


def main():
    job = Job(sys.argv[sys.argv.index("--") + 1])
    try:
        if bpy.app.version < OLDEST:
            raise JobError("this is Blender %s; expected 3.4 or newer" % bpy.app.version_string)
        result = COMMANDS[job["command"]](job)
    except JobError as error:
        result = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        result = {"error": "%s: %s" % (type(error).__name__, error)}
    result["blender"] = bpy.app.version_string
    job.finish(result)
    # All is written; what Blender does when it ends (or crashes then) is of no interest.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
