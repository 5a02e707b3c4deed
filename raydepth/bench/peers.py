"""Other renderers, for comparison only: one small adapter each, all with the same few methods.

| name    | what is called                                                   |
| ------- | ---------------------------------------------------------------- |
| open3d  | RaycastingScene.cast_rays: Embree, each ray by itself            |
| mitsuba | LLVM variant, ray_intersect_preliminary with coherent=True       |
| embreex | EmbreeScene.run, query="DISTANCE": Embree, each ray by itself    |
| opengl  | Mesa's llvmpipe through moderngl and EGL: depth buffer, read back |
| warp    | NVIDIA Warp on the CPU, wp.mesh_query_ray                        |

A library is imported when its adapter is made. All get the same rays. Their directions have length
1 along the camera's axis, so that a distance along a ray is z depth.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.mesh.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Rays:
    """One ray through the centre of every pixel, view after view, row after row.

    Attributes
    ----------
    cameras : Cameras
    origins, directions : (n_rays, 3) float32
        A point at `origin + t * direction` has z depth t.
    """

    cameras: Cameras
    origins: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, cameras: Cameras) -> Rays:
        basis = cameras.ray_basis()[:, :, None, None, :]
        x = (np.arange(cameras.width) + 0.5)[:, None]
        y = (np.arange(cameras.height) + 0.5)[:, None, None]
        ends = (basis[:, i] + x * basis[:, i + 1] + y * basis[:, i + 2] for i in (0, 3))
        origins, directions = (end.astype(np.float32).reshape(-1, 3) for end in ends)
        return cls(cameras, origins, directions)

    def in_tiles(self, side: int) -> np.ndarray:
        """Return the numbers of the rays, (n_rays,) int64, ordered by square tiles of pixels."""
        view, row, column = np.indices(self.shape).reshape(3, -1)
        return np.lexsort((column, row, column // side, row // side, view))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_views, height, width)"""
        return len(self.cameras), self.cameras.height, self.cameras.width


class Renderer:
    """A renderer to compare. `build` and `cast` are timed, the other methods are not.

    The constructor imports the library and sets it up. It raises ModuleNotFoundError if the
    library is not installed, and passes on any error of a library that cannot start.

    Attributes
    ----------
    title : str
        Its name in tables.
    apt : str
        Debian packages that it needs besides what pip installs.
    builds : bool
        True if it has an acceleration structure.
    version : str
    threads : int
        The number of threads that cast rays.
    """

    title = ""
    apt = ""
    builds = True
    version = ""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def load(self, mesh: Mesh) -> Any:
        """Return the mesh in the library's types; float32 vertices if the library has no others."""
        raise NotImplementedError

    def build(self, loaded: Any) -> Any:
        """Return a scene, with its acceleration structure, that is ready to cast rays."""
        raise NotImplementedError

    def prepare(self, scene: Any, rays: Rays) -> Any:
        """Return the rays in the library's types."""
        raise NotImplementedError

    def cast(self, scene: Any, prepared: Any) -> Any:
        """Return the distances of the prepared rays, all in main memory when this returns."""
        raise NotImplementedError

    def z_depth(self, prepared: Any, found: Any) -> np.ndarray:
        """Return the result of `cast` as an array: float, in the order of the rays, +inf = miss."""
        raise NotImplementedError


class Open3D(Renderer):
    title = "Open3D"
    apt = "libusb-1.0-0 libgl1 libgomp1"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import open3d

        self.version = open3d.__version__
        self._tensor = open3d.core.Tensor
        self._new_scene = open3d.t.geometry.RaycastingScene

    def load(self, mesh: Mesh) -> Any:
        return (
            self._tensor(mesh.vertices.astype(np.float32)),
            self._tensor(mesh.faces.astype(np.uint32)),
        )

    def build(self, loaded: Any) -> Any:
        scene = self._new_scene(nthreads=self.threads)
        scene.add_triangles(*loaded)
        # The first ray makes the scene build.
        scene.cast_rays(self._tensor(np.ones((1, 6), np.float32)), nthreads=1)
        return scene

    def prepare(self, scene: Any, rays: Rays) -> Any:
        return self._tensor(np.concatenate([rays.origins, rays.directions], axis=1))

    def cast(self, scene: Any, prepared: Any) -> Any:
        return scene.cast_rays(prepared, nthreads=self.threads)["t_hit"]

    def z_depth(self, prepared: Any, found: Any) -> np.ndarray:
        return found.numpy()


class Mitsuba(Renderer):
    title = "Mitsuba"
    apt = "llvm"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import drjit
        import mitsuba

        mitsuba.set_variant("llvm_ad_rgb")
        drjit.set_thread_count(threads)
        drjit.eval(drjit.arange(mitsuba.Float, 2))  # raises if there is no libLLVM
        self.version = mitsuba.__version__
        self._mi, self._dr = mitsuba, drjit

    def load(self, mesh: Mesh) -> Any:
        loaded = self._mi.Mesh("mesh", len(mesh.vertices), len(mesh.faces))
        parameters = self._mi.traverse(loaded)
        parameters["vertex_positions"] = self._mi.Float(mesh.vertices.astype(np.float32).ravel())
        parameters["faces"] = self._mi.UInt32(mesh.faces.astype(np.uint32).ravel())
        parameters.update()
        self._dr.sync_thread()
        return loaded

    def build(self, loaded: Any) -> Any:
        scene = self._mi.load_dict({"type": "scene", "mesh": loaded})
        self._dr.sync_thread()
        return scene

    def prepare(self, scene: Any, rays: Rays) -> Any:
        # Packets of sixteen rays are more coherent as 4x4 pixels than as a row.
        self._order = rays.in_tiles(4)
        prepared = self._mi.Ray3f(
            self._mi.Point3f(np.ascontiguousarray(rays.origins[self._order].T)),
            self._mi.Vector3f(np.ascontiguousarray(rays.directions[self._order].T)),
        )
        self._dr.eval(prepared)
        self._dr.sync_thread()
        return prepared

    def cast(self, scene: Any, prepared: Any) -> Any:
        found = scene.ray_intersect_preliminary(prepared, coherent=True).t
        self._dr.eval(found)
        self._dr.sync_thread()
        return found

    def z_depth(self, prepared: Any, found: Any) -> np.ndarray:
        depth = np.empty(len(self._order), np.float32)
        depth[self._order] = found.numpy()
        return depth


class Embreex(Renderer):
    title = "embreex"

    def __init__(self, threads: int) -> None:
        super().__init__(1)
        import embreex
        from embreex import mesh_construction, rtcore_scene

        self.version = embreex.__version__
        self._new_scene = rtcore_scene.EmbreeScene
        self._add_mesh = mesh_construction.TriangleMesh

    def load(self, mesh: Mesh) -> Any:
        return mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)

    def build(self, loaded: Any) -> Any:
        scene = self._new_scene()
        self._add_mesh(scene, *loaded)
        # The first ray makes the scene build.
        scene.run(*np.ones((2, 1, 3), np.float32), query="DISTANCE")
        return scene

    def prepare(self, scene: Any, rays: Rays) -> Any:
        return rays

    def cast(self, scene: Any, prepared: Any) -> Any:
        return scene.run(prepared.origins, prepared.directions, query="DISTANCE")

    def z_depth(self, prepared: Any, found: Any) -> np.ndarray:
        return np.where(found < 1e36, found, np.inf)


class OpenGL(Renderer):
    title = "OpenGL"
    apt = "libegl1 libegl-mesa0 libgl1-mesa-dri"
    builds = False

    VERTEX_SHADER = """
        #version 330
        uniform mat4 clip_from_world;
        in vec3 position;
        void main() { gl_Position = clip_from_world * vec4(position, 1.0); }
    """
    FRAGMENT_SHADER = "#version 330\nvoid main() {}"

    @dataclass(frozen=True, eq=False)
    class Views:
        """For each view, its matrix as the shader takes it; the planes are (n_views,) float64."""

        matrices: list[bytes]
        near: np.ndarray
        far: np.ndarray
        shape: tuple[int, int, int]
        target: Any

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import moderngl

        # Mesa reads these when the first context is made: on the CPU, with `threads` threads.
        os.environ["LIBGL_ALWAYS_SOFTWARE"] = "1"
        os.environ["LP_NUM_THREADS"] = str(threads)
        self._context = moderngl.create_context(standalone=True, backend="egl")
        self._context.gc_mode = "auto"
        self._context.enable_only(moderngl.DEPTH_TEST)  # no culling: both sides are visible
        info = self._context.info
        self.version = f"{info['GL_RENDERER']}, {info['GL_VERSION'].partition(') ')[2]}"
        self._program = self._context.program(self.VERTEX_SHADER, self.FRAGMENT_SHADER)

    def load(self, mesh: Mesh) -> Any:
        corners = self._context.buffer(mesh.vertices.astype(np.float32).tobytes())
        indices = self._context.buffer(mesh.faces.astype(np.uint32).tobytes())
        drawable = self._context.vertex_array(
            self._program, [(corners, "3f", "position")], index_buffer=indices
        )
        return mesh, drawable

    def build(self, loaded: Any) -> Any:
        return loaded

    def prepare(self, scene: Any, rays: Rays) -> Views:
        mesh, _ = scene
        cameras = rays.cameras
        camera_from_world = cameras.camera_from_world
        z = mesh.vertices @ camera_from_world[:, 2, :3].T + camera_from_world[:, 2, 3]
        # Tight planes, because the depth buffer's 24 bits are spent between them.
        near, far = 0.99 * z.min(axis=0), 1.01 * z.max(axis=0)
        clip_from_camera = np.zeros((len(cameras), 4, 4))
        # The image's row 0 is OpenGL's bottom row, which is the first to be read back.
        clip_from_camera[:, 0, :3] = 2 / cameras.width * cameras.intrinsics[:, 0]
        clip_from_camera[:, 1, :3] = 2 / cameras.height * cameras.intrinsics[:, 1]
        clip_from_camera[:, :2, 2] -= 1
        clip_from_camera[:, 2, 2] = (far + near) / (far - near)
        clip_from_camera[:, 2, 3] = -2 * far * near / (far - near)
        clip_from_camera[:, 3, 2] = 1
        clip_from_world = (clip_from_camera @ camera_from_world).astype(np.float32)
        depth_buffer = self._context.depth_texture((cameras.width, cameras.height))
        return self.Views(
            [matrix.T.tobytes() for matrix in clip_from_world],
            near,
            far,
            rays.shape,
            self._context.framebuffer(depth_attachment=depth_buffer),
        )

    def cast(self, scene: Any, prepared: Views) -> np.ndarray:
        _, drawable = scene
        found = np.empty(prepared.shape, np.float32)
        prepared.target.use()
        for matrix, depth in zip(prepared.matrices, found, strict=True):
            prepared.target.clear(depth=1.0)
            self._program["clip_from_world"].write(matrix)
            drawable.render()
            prepared.target.read_into(depth, attachment=-1, dtype="f4", components=1)
        return found

    def z_depth(self, prepared: Views, found: np.ndarray) -> np.ndarray:
        near, far = prepared.near[:, None, None], prepared.far[:, None, None]
        z = near * far / (far - found.astype(np.float64) * (far - near))
        return np.where(found < 1, z, np.inf)


class Warp(Renderer):
    title = "Warp"

    def __init__(self, threads: int) -> None:
        super().__init__(1)  # on a CPU, kernels are serial
        import warp

        warp.config.log_level = warp.LOG_ERROR
        warp.init()
        self.version = warp.__version__
        self._wp = warp
        self._kernel = _warp_kernel(warp)

    def load(self, mesh: Mesh) -> Any:
        points = self._wp.array(mesh.vertices.astype(np.float32), dtype=self._wp.vec3, device="cpu")
        return points, self._wp.array(mesh.faces.astype(np.int32).ravel(), device="cpu")

    def build(self, loaded: Any) -> Any:
        return self._wp.Mesh(*loaded)

    def prepare(self, scene: Any, rays: Rays) -> Any:
        return [
            self._wp.array(ends, dtype=self._wp.vec3, device="cpu")
            for ends in (rays.origins, rays.directions)
        ]

    def cast(self, scene: Any, prepared: Any) -> Any:
        found = self._wp.empty(len(prepared[0]), dtype=float, device="cpu")
        self._wp.launch(
            self._kernel, dim=len(found), inputs=[scene.id, *prepared, found], device="cpu"
        )
        return found

    def z_depth(self, prepared: Any, found: Any) -> np.ndarray:
        return found.numpy()


def _warp_kernel(wp: Any) -> Any:
    def distances(mesh, origins, directions, found):  # type: ignore[no-untyped-def]
        i = wp.tid()
        hit = wp.mesh_query_ray(mesh, origins[i], directions[i], wp.inf)
        found[i] = wp.where(hit.result, hit.t, wp.inf)

    # Warp reads the types of a kernel's arguments from its annotations.
    points = wp.array(dtype=wp.vec3)
    distances.__annotations__ = {
        "mesh": wp.uint64,
        "origins": points,
        "directions": points,
        "found": wp.array(dtype=float),
    }
    return wp.kernel(distances)


# The renderers, by the names that `bench --against` takes.
PEERS: dict[str, type[Renderer]] = {
    "open3d": Open3D,
    "mitsuba": Mitsuba,
    "embreex": Embreex,
    "opengl": OpenGL,
    "warp": Warp,
}


def start(names: Sequence[str], threads: int) -> tuple[dict[str, Renderer], dict[str, str]]:
    """Return the named renderers that start here, and for each of the others one line why not."""
    ready: dict[str, Renderer] = {}
    missing: dict[str, str] = {}
    for name in names:
        peer = PEERS[name]
        try:
            ready[name] = peer(threads)
        except ModuleNotFoundError:
            missing[name] = f"{name} is not installed: pip install 'raydepth[peers]'"
        except Exception as error:  # a library that finds no driver or LLVM may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            remedy = f"; on Debian: apt-get install {peer.apt}" if peer.apt else ""
            missing[name] = f"{name} does not start: {reason}{remedy}"
    return ready, missing
