"""Exact metric depth maps of meshes, by ray casting. See README.md for the conventions."""

from raydepth import blender, cameras
from raydepth.batch import render_dataset
from raydepth.bvh import Bvh
from raydepth.camera import Cameras
from raydepth.conversions import depth_from_points, points_from_depth, ray_from_z, z_from_ray
from raydepth.cuda.build import DeviceMesh
from raydepth.errors import BlenderError, DeviceError, MeshError
from raydepth.export import DepthImage, read_depth, write_depth
from raydepth.loading import load_mesh
from raydepth.many import render_many
from raydepth.mesh import Mesh
from raydepth.pointcloud import PointCloud
from raydepth.raycast import RayHits, cast_rays
from raydepth.reading import DepthDataset, open_dataset
from raydepth.render import Rendering, build_bvh, render
from raydepth.stores import StoredMesh
from raydepth.version import __version__

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
    "read_depth",
    "render",
    "render_dataset",
    "render_many",
    "write_depth",
    "z_from_ray",
]
