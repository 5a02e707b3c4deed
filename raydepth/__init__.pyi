# The public names. What a program does not use is not imported: Numba alone takes 0.3 s.

from . import blender, cameras
from .bvh import Bvh
from .camera.camera import Cameras
from .camera.conversions import depth_from_points, points_from_depth, ray_from_z, z_from_ray
from .camera.files.formats import read_cameras, write_cameras
from .cuda.build import DeviceMesh
from .dataset.reader import DepthDataset, open_dataset
from .errors import BlenderError, DeviceError, MeshError
from .export import DepthImage, read_depth, write_depth
from .mesh.load import load_mesh
from .mesh.mesh import Mesh
from .rendering.api import render
from .rendering.hierarchies import build_bvh
from .rendering.many import render_many
from .rendering.point_cloud import PointCloud
from .rendering.raycast import RayHits, cast_rays
from .rendering.result import Rendering
from .runs.run import render_dataset
from .storage.base import StoredMesh
from .version import __version__

__all__ = [
    "BlenderError",
    "Bvh",
    "Cameras",
    "DepthDataset",
    "DepthImage",
    "DeviceError",
    "DeviceMesh",
    "Mesh",
    "MeshError",
    "PointCloud",
    "RayHits",
    "Rendering",
    "StoredMesh",
    "__version__",
    "blender",
    "build_bvh",
    "cameras",
    "cast_rays",
    "depth_from_points",
    "load_mesh",
    "open_dataset",
    "points_from_depth",
    "ray_from_z",
    "read_cameras",
    "read_depth",
    "render",
    "render_dataset",
    "render_many",
    "write_cameras",
    "write_depth",
    "z_from_ray",
]
