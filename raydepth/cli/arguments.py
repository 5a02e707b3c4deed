"""The command line's commands, their options and their help texts."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, NoReturn

from raydepth import blender
from raydepth.bench import bench as bench_module
from raydepth.bench.peers import PEERS
from raydepth.camera.files.formats import FORMATS as CAMERA_FORMATS
from raydepth.camera.files.matrices import AXES, DIRECTIONS
from raydepth.camera.kinds import KINDS
from raydepth.camera.placements.words import help_text
from raydepth.comparison import blender as crosscheck
from raydepth.mesh.mesh import NORMALIZATIONS
from raydepth.outputs.table import OUTPUTS
from raydepth.rendering.devices import DEVICES
from raydepth.runs.run import ENGINES, MOST_PREVIEWED
from raydepth.runs.tasks import TIMEOUT
from raydepth.runs.verify import N_SAMPLES
from raydepth.storage.forms import STORES
from raydepth.storage.layouts import LAYOUTS
from raydepth.version import __version__

WRONG_USE = 2

NORMALIZE = "sphere: radius 0.5 around the origin; cube: longest side 1"
RENDERED_VIEWS, COMPARED_VIEWS = "fibonacci:24", "fibonacci:12"


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Views(argparse.Action):
    """An action that stores the views asked for; for `help` it lists all placements and exits."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if values == "help":
            print(help_text(), flush=True)
            parser.exit()
        setattr(namespace, self.dest, values)


def _size(text: str) -> int | tuple[int, int]:
    """Parse `512` or `640x480`."""
    width, x, height = text.lower().partition("x")
    if not width.isdecimal() or (x and not height.isdecimal()):
        raise argparse.ArgumentTypeError(f"invalid size {text!r}: expected 512 or 640x480")
    return (int(width), int(height)) if x else int(width)


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _frames(text: str) -> list[int] | str:
    """Parse `12`, `1:24` (both ends included) or `keys`."""
    if text == blender.KEYFRAMES:
        return text
    first, colon, last = text.partition(":")
    try:
        numbers = list(range(int(first), int(last if colon else first) + 1))
    except ValueError:
        numbers = []
    try:
        blender.checked_frames(numbers)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"invalid frames {text!r}: expected 12, 1:24 or {blender.KEYFRAMES}"
        ) from None
    return numbers


def _seconds(text: str) -> float:
    return _above_0(text, "a number of seconds")


def _gibibytes(text: str) -> float:
    return _above_0(text, "a number of GiB")


def _above_0(text: str, what_it_is_not: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected {what_it_is_not} above 0, got {text!r}")
    return number


def _sizes(text: str) -> list[int]:
    """Parse `256,512`."""
    return [_whole_number(size) for size in text.split(",")]


def _names(text: str) -> list[str]:
    """Parse `z,normal,instance`."""
    return [name.strip() for name in text.lower().split(",")]


def _peers(text: str) -> list[str]:
    """Parse `open3d,warp`."""
    names = text.lower().split(",")
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(
                f"unknown renderer {name!r}; expected some of {', '.join(PEERS)}"
            )
    return list(dict.fromkeys(names))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `command` of its result names the command to run."""
    whole = _Parser(prog="raydepth", description="Exact metric depth maps of meshes.")
    whole.add_argument("--version", action="version", version=f"raydepth {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    render = commands.add_parser(
        "render",
        help="render depth maps of mesh files",
        description="Render depth maps of mesh files: OUT/<mesh>/000.png ..., views.json and "
        "preview.png for each mesh. A .blend is rendered from its own cameras, with the help of "
        "Blender; if its geometry moves, each state gets a folder named after its first frame.",
    )
    render.add_argument(
        "meshes",
        nargs="*",
        metavar="MESH",
        help="mesh files, folders of them, patterns, or scene.blend",
    )
    render.add_argument(
        "--list",
        metavar="FILE",
        help='a list of meshes: one path on each line, or the column "path" of a CSV file; - is '
        "standard input",
    )
    render.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    render.add_argument(
        "--normalize", choices=NORMALIZATIONS, default="none", help=f"{NORMALIZE} (default: none)"
    )
    _add_views(render, RENDERED_VIEWS)
    render.add_argument(
        "--format",
        choices=[name for name in STORES if name not in LAYOUTS],
        help="format of the files (default: png16)",
    )
    render.add_argument(
        "--layout",
        choices=list(LAYOUTS),
        help="write 16-bit PNGs and, beside them, the files that programs for these data sets read",
    )
    render.add_argument(
        "--outputs",
        type=_names,
        default=[],
        metavar="NAMES",
        help="outputs to write besides depth, joined by commas, such as z,normal,instance; names: "
        + ", ".join(name for name in OUTPUTS if name not in KINDS),
    )
    render.add_argument(
        "--hits",
        type=_whole_number,
        default=4,
        metavar="N",
        help='number of hits of each ray in the output "hits" (default: 4)',
    )
    render.add_argument(
        "--values-per-unit",
        type=float,
        metavar="N",
        help="scale of 16-bit images, the same for all images (default: 10000; 5000 for tum)",
    )
    render.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to render (default: auto)"
    )
    render.add_argument(
        "--preview",
        action=argparse.BooleanOptionalAction,
        help=f"write a contact sheet for each mesh (default: for up to {MOST_PREVIEWED} meshes)",
    )
    render.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="give up on a mesh that takes longer than this to load, or to render (default: "
        f"{TIMEOUT:g}), and on Blender (default: {blender.TIMEOUT:g})",
    )
    sets = render.add_argument_group("for many meshes")
    sets.add_argument(
        "--overwrite", action="store_true", help="remove the data set in OUT and start again"
    )
    sets.add_argument(
        "--retry-failed",
        action="store_true",
        help="try again the meshes that failed in an earlier run",
    )
    sets.add_argument(
        "--memory",
        type=_gibibytes,
        metavar="GIB",
        help="refuse a mesh that takes more memory than this to load (default: a quarter of the "
        "machine's memory)",
    )
    sets.add_argument(
        "--shard",
        metavar="I/N",
        help="render part I, counted from 0, of N parts of about the same size; the word slurm "
        "takes I and N from SLURM's variables",
    )
    sets.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where to run: on this machine or on a Ray cluster (default: local)",
    )
    sets.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="address of the Ray cluster (default: the cluster that Ray finds)",
    )
    sets.add_argument(
        "--log-json",
        action="store_true",
        help="write JSON lines to standard output instead of text",
    )
    scenes = render.add_argument_group("for .blend files")
    scenes.add_argument(
        "--camera", metavar="NAME", help="render only the camera of this name (default: all)"
    )
    scenes.add_argument(
        "--frames",
        type=_frames,
        metavar="A:B",
        help=f"frames A to B, one frame, or the word {blender.KEYFRAMES} for the frames at which a "
        "camera has keyframes (default: the frame at which the file was saved)",
    )
    _add_blender(scenes)
    render.set_defaults(command="render")

    compare = commands.add_parser(
        "compare",
        help="compare raydepth with Blender on the same mesh and cameras",
        description="Render with another program as well and compare the results.",
    ).add_subparsers(required=True, metavar="PROGRAM")
    beside_blender = compare.add_parser(
        "blender",
        help="compare with Blender's Cycles",
        description="Render meshes with raydepth and with Blender's Cycles and compare the depth "
        "maps pixel by pixel. The exit code is 0 if they agree, that is, if no pixel is hit by "
        "only one of the two and no error is beyond the bound, except within 0.001 pixel of an "
        "outline.",
    )
    beside_blender.add_argument("meshes", nargs="+", type=Path, metavar="MESH", help="mesh files")
    beside_blender.add_argument(
        "-o", "--out", type=Path, metavar="REPORT", help="write an HTML page with all pictures"
    )
    beside_blender.add_argument(
        "--json", type=Path, metavar="FILE", help="write all numbers to a JSON file"
    )
    beside_blender.add_argument(
        "--mode",
        choices=crosscheck.MODES,
        help="camera: compare in each camera's frame, where float32 is most exact; pose: leave the "
        "mesh where it is, and use the camera as read back from Blender (default: both)",
    )
    beside_blender.add_argument(
        "--second-opinion",
        action="store_true",
        help="also cast the rays through Blender's BVHTree; takes some seconds for each view",
    )
    beside_blender.add_argument(
        "--normalize",
        choices=NORMALIZATIONS,
        help=f"{NORMALIZE} (default: sphere, or none with a views.json)",
    )
    _add_views(beside_blender, COMPARED_VIEWS)
    _add_blender(beside_blender)
    beside_blender.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"stop Blender after this time (default: {blender.TIMEOUT:g})",
    )
    beside_blender.set_defaults(command="compare blender")

    verify = commands.add_parser(
        "verify",
        help="check that a data set on disk is complete and correct",
        description="Read every file of a data set, compare it with its metadata and hashes, and "
        "trace some pixels of each mesh again in float64. The exit code is 1 if anything is "
        "missing, damaged or wrong.",
    )
    verify.add_argument("out", type=Path, metavar="OUT", help="folder of the data set")
    verify.add_argument(
        "--samples",
        type=_whole_number,
        default=N_SAMPLES,
        metavar="N",
        help=f"pixels of each mesh to trace again (default: {N_SAMPLES})",
    )
    verify.set_defaults(command="verify")

    cameras = commands.add_parser(
        "cameras",
        help="write cameras for another program, or draw them",
        description="Write the cameras of a placement or of a file for another program, or draw "
        "them around the sphere on which they stand, or both.",
    )
    cameras.add_argument(
        "views",
        metavar="SPEC",
        action=_Views,
        help="a placement such as fibonacci:24, or a file of cameras; the word help lists all "
        "placements",
    )
    cameras.add_argument(
        "-o", "--out", type=Path, metavar="FILE",
        help="file to write: cameras.json, transforms.json, scene_camera.json, poses.npy, or a "
        "folder (colmap)",
    )  # fmt: skip
    cameras.add_argument("--plot", type=Path, metavar="PNG", help="draw the cameras to this file")
    cameras.add_argument(
        "--plot-size", type=_whole_number, default=640, metavar="PIXELS",
        help="sides of the square picture (default: 640)",
    )  # fmt: skip
    cameras.add_argument(
        "--format", choices=list(CAMERA_FORMATS), help="format of the file (default: by its name)"
    )
    cameras.add_argument(
        "--axes", choices=AXES, help="axes of the cameras in an npy file (default: opencv)"
    )
    cameras.add_argument(
        "--direction",
        choices=DIRECTIONS,
        help="direction of the matrices in an npy file (default: world_from_camera)",
    )
    _add_lens(cameras)
    cameras.set_defaults(command="cameras")

    compiling = commands.add_parser(
        "compile",
        help="compile everything now, for container images",
        description="Compile all kernels and keep the code, so that later commands need not "
        "compile them. The code is kept beside the package or, where that folder cannot be "
        "written, in the user's cache folder; the environment variable NUMBA_CACHE_DIR names "
        "another folder.",
    )
    compiling.add_argument(
        "--device", choices=DEVICES, default="auto", help="device to compile for (default: auto)"
    )
    compiling.set_defaults(command="compile")

    demo = commands.add_parser(
        "demo", help="render a shape made in code", description="Render a torus knot made in code."
    )
    demo.add_argument(
        "-o", "--out", type=Path, default=Path("raydepth-demo"),
        help="folder for the results (default: raydepth-demo)",
    )  # fmt: skip
    demo.set_defaults(command="demo")

    info = commands.add_parser(
        "info",
        help="print what a mesh file or a depth file holds",
        description="Print what a mesh file or a depth file holds.",
    )
    info.add_argument("file", type=Path, metavar="FILE")
    info.set_defaults(command="info")

    bench = commands.add_parser(
        "bench",
        help="measure speed on this machine, also beside other renderers",
        description="Time every stage on generated meshes or on your own, and measure rays per "
        "second beside other renderers, which take turns on the same rays. Takes minutes.",
    )
    bench.add_argument(
        "meshes",
        nargs="*",
        default=list(bench_module.GENERATED),
        metavar="MESH",
        help=f"mesh files, or generated ones by name (default: {' '.join(bench_module.GENERATED)})",
    )
    bench.add_argument(
        "--against",
        type=_peers,
        default=[],
        metavar="NAMES",
        help=f"other renderers to measure, some of {','.join(PEERS)}; those that are installed "
        "take part",
    )
    bench.add_argument(
        "--sizes",
        type=_sizes,
        default=list(bench_module.SIZES),
        metavar="PIXELS",
        help=f"sides of the square images (default: {','.join(map(str, bench_module.SIZES))})",
    )
    bench.add_argument(
        "--repeats",
        type=_whole_number,
        default=bench_module.REPEATS,
        metavar="N",
        help=f"minimum number of timed repetitions (default: {bench_module.REPEATS})",
    )
    bench.add_argument(
        "--json", type=Path, metavar="FILE", help="write all measurements to a JSON file"
    )
    bench.set_defaults(command="bench")
    return whole


def _add_views(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that say where the cameras stand and which kind of depth is meant."""
    parser.add_argument(
        "--views",
        metavar="SPEC",
        action=_Views,
        help="a placement such as fibonacci:24 or ring:12,elevation=30,up=y, or a file of cameras; "
        f"the word help lists all placements (default: {default})",
    )
    _add_lens(parser)
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="z",
        help="z: along the camera's axis; ray: from the camera's centre (default: z)",
    )


def _add_lens(parser: argparse.ArgumentParser) -> None:
    """Add the options that a placement leaves open."""
    parser.add_argument(
        "--radius", type=float, help="distance of the cameras from the origin (default: 1.5 units)"
    )
    parser.add_argument(
        "--fov", type=float, help="degrees across the image's longer side (default: 40)"
    )
    parser.add_argument("--size", type=_size, help="pixels: 512 or 640x480 (default: 512)")


def _add_blender(parser: argparse._ActionsContainer) -> None:
    """Add the option that names the Blender to use."""
    parser.add_argument(
        "--blender",
        type=Path,
        metavar="PATH",
        help="a blender executable or a Python that has bpy (default: RAYDEPTH_BLENDER, or the "
        "first on the PATH)",
    )
