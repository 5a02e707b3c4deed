"""The script that runs inside the Python of Blender 3.4 to 5.2 and handles their differences.

It imports nothing from raydepth. `process.run` starts it with a folder that holds job.json and the
job's arrays as .npy files. The script writes its arrays there, and last, as a complete file,
result.json.

    blender -b --factory-startup -P inside.py -- FOLDER
    python inside.py -- FOLDER                           (a Python that has bpy)

A camera is a dictionary with Blender's own names as keys: type, lens, sensor_width, sensor_height,
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

# The depth that Cycles writes for a miss.
MISS = 1e10

# The probe: a plane at this distance from a camera of 90 degrees with this many pixels a side.
PROBE_DISTANCE = 2.0
PROBE_SIDE = 64


class JobError(Exception):
    """A job that cannot be done; the message is one line for the user."""


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
        """Open an array of the job; its pages are read when they are needed."""
        return np.load(os.path.join(self.folder, name + ".npy"), mmap_mode="r")

    def store(self, name, array):
        """Store an array as part of the result."""
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
    """Load the factory settings with nothing in the scene; return the scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def set_exact_depth(scene, threads):
    """Set Cycles to cast rays through the pixels' centres, with depth as the only pass.

    Cycles importance-samples a ray's place in the pixel by the filter. A Gaussian of 0.01 pixel
    keeps it at the centre; the default filter is 5e-4 pixel off, and BOX has no width to set.
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
    # Cycles then keeps what does not change from one view to the next.
    render.use_persistent_data = True
    set_multilayer_exr(render)


def set_multilayer_exr(render):
    """Set the output to float channels of all passes in one file, without compression."""
    image = render.image_settings
    if hasattr(image, "media_type"):  # since 5.0 formats are grouped by media type
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth = "32"
    image.exr_codec = "NONE"
    if hasattr(image, "use_exr_interleave"):  # 5.0: the default is one part a pass
        image.use_exr_interleave = True


# --- meshes and cameras -------------------------------------------------------------------------


def add_mesh(scene, vertices, faces):
    """Add an object at the origin with exactly these triangles, neither rotated nor merged."""
    # A face of Blender cannot have a corner twice. Such faces have no area and are never hit.
    a, b, c = np.asarray(faces).T
    faces = faces[(a != b) & (b != c) & (c != a)]
    mesh = bpy.data.meshes.new("mesh")
    mesh.vertices.add(len(vertices))
    mesh.loops.add(3 * len(faces))
    mesh.polygons.add(len(faces))
    mesh.vertices.foreach_set("co", flat(vertices, np.float32))
    mesh.loops.foreach_set("vertex_index", flat(faces, np.int32))
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * len(faces), 3, dtype=np.int32))
    if bpy.app.version < (3, 6):  # later versions derive it from loop_start
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
    """Set the values that the dictionary names and leave all others as they are."""
    for owner, names in ((camera.data, CAMERA_DATA), (scene.render, RENDER_DATA)):
        for name in names:
            if name in wanted:
                setattr(owner, name, wanted[name])
    if "matrix_world" in wanted:
        # Matrix takes lists as rows; Blender would take plain lists as columns.
        camera.matrix_world = Matrix(wanted["matrix_world"])
    bpy.context.view_layer.update()


def read_camera(scene, camera):
    """Return the camera as Blender holds it now: float32, limited to Blender's ranges."""
    found = {name: getattr(camera.data, name) for name in CAMERA_DATA}
    found.update((name, getattr(scene.render, name)) for name in RENDER_DATA)
    found["matrix_world"] = [list(row) for row in camera.matrix_world]
    return found


def flat(array, dtype):
    return np.ascontiguousarray(array, dtype=dtype).reshape(-1)


# --- rendering ----------------------------------------------------------------------------------


def render_depth(scene, folder):
    """Render one frame's depth pass, (height, width) float32, row 0 at the top; a miss is 1e10."""
    path = os.path.join(folder, "pass.exr")
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)
    try:
        return read_exr(path, ".Depth.Z")
    finally:
        os.remove(path)


def read_exr(path, channel):
    """Read a channel, given the end of its name, from an uncompressed scan line OpenEXR file.

    The layout is described in "OpenEXR File Layout", Academy Software Foundation.
    """
    with open(path, "rb") as file:
        data = file.read()
    magic, version = struct.unpack_from("<II", data)
    if magic != 20000630 or version & ~0xFF & ~0x400:  # long names are accepted
        raise JobError(f"Blender wrote an EXR file of an unexpected kind ({version:#x})")
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

    # Within a line the channels follow each other in this order. Type 1 is HALF, with 2 bytes a
    # pixel; the other types have 4.
    channels, line_bytes, begin, at = attributes["channels"], 0, None, 0
    while channels[at]:
        name, at = c_string(channels, at)
        (pixel_type,) = struct.unpack_from("<i", channels, at)
        at += 16
        if name.endswith(channel):
            if pixel_type != 2:
                raise JobError(f"Blender's {name} is not float32")
            begin = line_bytes
        line_bytes += width * (2 if pixel_type == 1 else 4)
    if begin is None:
        raise JobError(f"Blender's EXR file holds no channel {channel}")
    depth = np.empty((height, width), np.float32)
    for offset in struct.unpack_from(f"<{height}Q", data, position + 1):
        (y,) = struct.unpack_from("<i", data, offset)
        depth[y - y0] = np.frombuffer(data, "<f4", width, offset + 8 + begin)
    return depth


def c_string(data, position):
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1


def probe(scene, camera, folder, threads):
    """Measure depth in the middle and in a corner of a plane that faces the camera.

    The two are equal if the pass holds distance along the camera's axis. If it holds distance from
    the camera's centre, the corner has `slant` times the depth of the middle.
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
    # Offset of the corner's ray in x and y at distance 1; the middle's is half a pixel.
    out = 1.0 - 1.0 / PROBE_SIDE
    return {
        "middle": float(depth[PROBE_SIDE // 2, PROBE_SIDE // 2]),
        "corner": float(depth[-1, 0]),
        "slant": float(np.sqrt(1.0 + 2.0 * out * out)),
    }


# --- scenes of .blend files ---------------------------------------------------------------------


def open_blend(path):
    """Open a file without running the scripts in it; return its scene."""
    try:
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).split(" failed: ")[-1]
        raise JobError(f"cannot open {path} ({reason})") from None
    return bpy.context.scene


def chosen_cameras(scene, name):
    """Return the cameras of a scene, sorted by name, or the one that is asked for."""
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
    """Return the frames that are asked for, or the current one if `frames` is None."""
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
    """Yield the frames at which a camera, its lens or one of its parents has a keyframe."""
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
    """Return the animation curves of one owner."""
    action = animation.action
    if not hasattr(animation, "action_slot"):  # until 4.3 an action belongs to one owner
        return list(action.fcurves)
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags if bag.slot == animation.action_slot for curve in bag.fcurves]


def prepare_scene(scene, notes):
    """Leave one view layer to render, once for each frame and camera; return that layer."""
    render = scene.render
    render.use_compositing = False
    render.use_sequencer = False
    render.use_multiview = False
    # The job itself switches cameras; markers of the timeline must not.
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
    """Provide render(look), which returns look(depsgraph) of the scene evaluated for a render.

    Only a render engine gets that evaluation. Other scripts get the one for the viewport, with
    other subdivision levels and other objects hidden.
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
    """Return a camera after animation, parents and constraints, and the layout of the meshes."""
    evaluated = camera.evaluated_get(depsgraph)
    found = read_camera(depsgraph.scene, evaluated)
    if evaluated.data.dof.use_dof:
        contents.notes.add("depth of field is ignored: every camera is a pinhole")
    return {"camera": {"name": camera.name, **found}, "layout": contents.layout(depsgraph)}


def has_hair(thing):
    """Tell whether Cycles would draw strands of particle hair on an object."""
    settings = [system.settings for system in thing.particle_systems]
    return any(each.type == "HAIR" and each.render_type == "PATH" for each in settings)


class Contents:
    """Every mesh of the scene, stored once, and every arrangement of the meshes."""

    def __init__(self, job, view_layer):
        self.job = job
        self.view_layer = view_layer
        self.geometries = {}  # digest of the arrays: number
        self.layouts = {}  # digest of the arrays: number
        self.notes = set()

    def layout(self, depsgraph):
        """Return the number of the arrangement that this evaluation of the scene shows."""
        numbers, matrices, known = [], [], {}
        for instance in depsgraph.object_instances:
            thing = instance.object
            if not instance.show_self or not self.seen(instance):
                continue
            if thing.type in ("CURVES", "POINTCLOUD", "VOLUME") or has_hair(thing):
                self.notes.add(f"{thing.name!r} has hair, points or a volume, which are left out")
            # Curves, texts and metaballs appear again as instances of the mesh that they make.
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
        """Tell whether rays from the camera can hit an instance, by the rule that Cycles uses."""
        things = [instance.object] + ([instance.parent] if instance.parent else [])
        return all(
            thing.visible_camera
            # The evaluated object does not know this setting.
            and not thing.original.indirect_only_get(view_layer=self.view_layer)
            for thing in things
        )

    def geometry(self, mesh):
        """Return the number of a mesh, which has the triangles that Blender renders."""
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
        """Return the number of these arrays among those of their kind; store them if new."""
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
    """Render the depth of all views with Cycles in one process.

    Job: "cameras" (one dictionary a view), "clips" (for each view its ranges of depth, pairs of
    near and far, nearest first), "threads"; arrays vertices (1 or n_views, n, 3) float32 and faces
    (m, 3). Result: array depth (n_views, height, width) float32 as Blender wrote it, "cameras" as
    Blender has them, and the "probe".

    Each range is rendered as a separate image, and the nearest hit counts. Cycles' rays start on
    the near plane; the closer that plane is to the hit, the more digits float32 has left.
    """
    scene = empty_scene()
    camera = add_camera(scene)
    measured = probe(scene, camera, job.folder, job["threads"])
    vertices, faces = job.array("vertices"), job.array("faces")
    thing = add_mesh(scene, vertices[0], faces)
    depths, cameras = [], []
    for view, wanted in enumerate(job["cameras"]):
        if view and len(vertices) > 1:
            move_vertices(thing, vertices[view])
        set_camera(scene, camera, wanted)
        cameras.append(read_camera(scene, camera))
        depth = None
        for near, far in job["clips"][view]:
            set_camera(scene, camera, {"clip_start": near, "clip_end": far})
            within = render_depth(scene, job.folder)
            depth = within if depth is None else np.where(depth < MISS, depth, within)
        depths.append(depth)
    job.store("depth", np.stack(depths))
    return {"cameras": cameras, "probe": measured}


def time_renders(job):
    """Time Cycles for each view, repeatedly in one process.

    Job: as for `render_views` with one range, and "repeats". Result: "seconds", for each of three
    ways a list of "repeats" lists of n_views: "no_file" (Blender's default: Cycles takes the scene
    over again for every view), "kept" (with Persistent Data), "kept_exr" (and a file is written).
    """
    scene = empty_scene()
    camera = add_camera(scene)
    set_exact_depth(scene, job["threads"])
    add_mesh(scene, job.array("vertices")[0], job.array("faces"))
    scene.render.filepath = os.path.join(job.folder, "pass.exr")
    seconds = {"no_file": [], "kept": [], "kept_exr": []}
    for turn in range(job["repeats"] + 1):
        for way, times in seconds.items():
            scene.render.use_persistent_data = way != "no_file"
            if way == "kept":
                bpy.ops.render.render()  # from here on the scene is kept
            turn_times = []
            for wanted, clips in zip(job["cameras"], job["clips"], strict=True):
                set_camera(scene, camera, wanted)
                set_camera(scene, camera, {"clip_start": clips[0][0], "clip_end": clips[0][1]})
                start = time.perf_counter()
                bpy.ops.render.render(write_still=way == "kept_exr")
                turn_times.append(time.perf_counter() - start)
            if turn:  # the first turn is a warm-up
                times.append(turn_times)
    return {"seconds": seconds}


def read_scene(job):
    """Read what renders of a .blend see: its meshes in their places, and its cameras.

    Job: "path"; "camera", a name or None for all cameras; "frames", a list, "keys" or None for the
    frame at which the file was saved. Result: "views", one for each camera in each frame, with
    "camera", "frame" and "layout"; arrays geometry_<g>_vertices (n, 3) float32 and
    geometry_<g>_faces (m, 3), layout_<l>_geometry (k,) and layout_<l>_matrix_world (k, 4, 4): the
    k meshes that the view's layout puts in their places. "notes" lists differences from a render.
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


def cast_through_bvhtree(job):
    """Cast the rays through mathutils' BVHTree in float32, a second opinion on geometry alone.

    Job: "width", "height"; arrays vertices and faces as for `render_views`, basis (n_views, 6, 3):
    rows o, ox, oy, d, dx, dy of rays with origin o + x ox + y oy and direction d + x dx + y dy.
    Result: array z (n_views, height, width), distance in direction lengths, inf = miss.
    """
    from mathutils.bvhtree import BVHTree

    vertices, faces, basis = (job.array(name) for name in ("vertices", "faces", "basis"))
    triangles = faces.tolist()
    x = np.arange(job["width"]) + 0.5
    y = (np.arange(job["height"]) + 0.5)[:, None]
    x, y = (part.reshape(-1, 1) for part in np.broadcast_arrays(x, y))
    z = np.full((len(basis), len(x)), np.inf)
    tree = None
    for view, (o, ox, oy, d, dx, dy) in enumerate(basis):
        if tree is None or len(vertices) > 1:
            tree = BVHTree.FromPolygons(vertices[view].tolist(), triangles, all_triangles=True)
        direction = d + x * dx + y * dy
        lengths = np.linalg.norm(direction, axis=1).tolist()
        rays = zip((o + x * ox + y * oy).tolist(), direction.tolist(), strict=True)
        for i, (start, toward) in enumerate(rays):
            distance = tree.ray_cast(start, toward)[3]
            if distance is not None:
                z[view, i] = distance / lengths[i]
    job.store("z", z.reshape(len(basis), job["height"], job["width"]))
    return {}


COMMANDS = {
    "depth": render_views,
    "time": time_renders,
    "bvh": cast_through_bvhtree,
    "scene": read_scene,
}


def main():
    job = Job(sys.argv[sys.argv.index("--") + 1])
    try:
        if bpy.app.version < OLDEST:
            raise JobError(f"this is Blender {bpy.app.version_string}; expected 3.4 or newer")
        result = COMMANDS[job["command"]](job)
    except JobError as error:
        result = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    result["blender"] = bpy.app.version_string
    job.finish(result)
    # All results are written. Skip Blender's own exit, which may crash.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
