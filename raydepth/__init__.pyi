# The public names. What a program does not use is not imported: Numba alone takes 0.3 s.

from . import blender, cameras
from .batch import render_dataset
from .bvh import Bvh
from .camera import Cameras
from .camera_files import read_cameras, write_cameras
from .conversions import depth_from_points, points_from_depth, ray_from_z, z_from_ray
from .cuda.build import DeviceMesh
from .errors import BlenderError, DeviceError, MeshError
from .export import DepthImage, read_depth, write_depth
from .loading import load_mesh
from .many import render_many
from .mesh import Mesh
from .pointcloud import PointCloud
from .raycast import RayHits, cast_rays
from .reading import DepthDataset, open_dataset
from .rendering import Rendering, build_bvh, render
from .stores import StoredMesh
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
