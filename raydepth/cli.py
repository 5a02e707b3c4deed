"""The command line: arguments to library calls. `python -m raydepth --help`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from raydepth import bench as bench_module
from raydepth import bench_tables
from raydepth import cameras as cameras_module
from raydepth.cameras import Cameras
from raydepth.compiling import announce_compilation, compile_kernels
from raydepth.dataset import Written, output_names, read_cameras, write_views
from raydepth.demo import torus_knot
from raydepth.errors import DeviceError, MissingPackageError
from raydepth.export import KINDS, checked_scale
from raydepth.files import write_whole
from raydepth.info import describe
from raydepth.loading import load_mesh
from raydepth.mesh import NORMALIZATIONS, Mesh
from raydepth.peers import PEERS
from raydepth.placements import PLACEMENTS
from raydepth.render import DEVICES, chosen_device
from raydepth.stores import STORES, store_of
from raydepth.version import __version__

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

# What goes wrong with input, packages, devices, memory and disks; the rest is raydepth's fault.
FAILURES = (ValueError, DeviceError, MissingPackageError, MemoryError, OSError)


class WrongUse(ValueError):
    """Arguments that make no sense, found before any work was begun."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for failed work, 2 for wrong use."""
    # Names of files may hold what the terminal's encoding does not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads the output has had enough, as `head` does. What is left goes nowhere, or
        # Python would complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(arguments: Sequence[str] | None) -> int:
    args = _parser().parse_args(arguments)
    try:
        with announce_compilation(_say):
            return args.command(args)
    except KeyboardInterrupt:
        _say("interrupted; what is on disk is whole")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except FAILURES as error:
        _say(f"error: {_message(error)}")
        return WRONG_USE if isinstance(error, WrongUse) else FAILED


def _render(args: argparse.Namespace) -> int:
    try:
        cameras = _cameras(args)
        names = output_names(args.meshes)
        checked_scale(args.values_per_unit)
    except (ValueError, OverflowError, OSError) as error:
        raise WrongUse(_message(error)) from None
    chosen_device(args.device)
    store_of(args.format)
    _make_folder(args.out)
    compile_kernels()
    n_failed = 0
    with _progress(len(cameras) * len(args.meshes)) as bar:
        for n_done, (path, name) in enumerate(zip(args.meshes, names, strict=True), start=1):
            try:
                mesh = load_mesh(path, normalize=args.normalize)
                written = write_views(
                    mesh,
                    cameras,
                    args.out / name,
                    kind=args.kind,
                    file_format=args.format,
                    values_per_unit=args.values_per_unit,
                    device=args.device,
                    progress=bar.update,
                )
            except FAILURES as error:
                n_failed += 1
                _say(f"error: {_message(error, path)}")
            else:
                _report(mesh, written)
            bar.update(n_done * len(cameras) - bar.n)  # views of a mesh that failed are over, too
    if n_failed and len(names) > 1:
        _say(f"{n_failed} of {len(names)} meshes failed")
    return FAILED if n_failed else 0


def _demo(args: argparse.Namespace) -> int:
    _make_folder(args.out)
    compile_kernels()
    mesh = torus_knot()
    cameras = cameras_module.fibonacci(12)
    with _progress(len(cameras)) as bar:
        written = write_views(mesh, cameras, args.out / mesh.name, progress=bar.update)
    _report(mesh, written)
    return 0


def _info(args: argparse.Namespace) -> int:
    lines = describe(args.file)
    width = max(len(what) for what, _ in lines) + 2
    for what, value in lines:
        _tell(f"{what:{width}}{value}")
    return 0


def _bench(args: argparse.Namespace) -> int:
    if args.json and (args.json.is_dir() or not args.json.parent.is_dir()):
        raise WrongUse(f"--json {args.json}: expected a file in a folder that exists")
    with _progress(len(args.meshes) * len(args.sizes), "image size") as bar:
        report = bench_module.bench(
            args.meshes,
            sizes=args.sizes,
            repeats=args.repeats,
            against=args.against,
            progress=bar.update,
        )
    if args.json:
        write_whole({args.json: (json.dumps(report, indent=1) + "\n").encode()})
    for line in bench_tables.lines(report):
        _tell(line)
    return 0


def _cameras(args: argparse.Namespace) -> Cameras:
    """The cameras that --views asks for, by placement or by file."""
    given = {"--radius": args.radius, "--fov": args.fov, "--size": args.size}
    if args.views.lower().endswith(".json"):
        for option, value in given.items():
            if value is not None:
                raise ValueError(f"{option} is given, but {args.views} has its own")
        return read_cameras(Path(args.views))
    return cameras_module.from_spec(
        args.views,
        radius=1.5 if args.radius is None else args.radius,
        fov_deg=40.0 if args.fov is None else args.fov,
        size=512 if args.size is None else args.size,
    )


def _make_folder(out: Path) -> None:
    """The folder for results, made before any work so that a bad one is said at once."""
    if out.exists() and not out.is_dir():
        raise WrongUse(f"{out} is a file; expected a folder for the results")
    out.mkdir(parents=True, exist_ok=True)


def _report(mesh: Mesh, written: Written) -> None:
    """Say what was done with one mesh."""
    rate = written.n_rays / max(written.render_seconds, 1e-9) / 1e6
    _tell(
        f"{mesh.name}: {_counted(len(mesh.faces), 'face')}, {_counted(written.n_views, 'view')}, "
        f"{written.n_hits / written.n_rays:.0%} of {written.n_rays:,} rays hit, "
        f"{rate:.1f} M rays/s on {written.device} -> {written.place}"
    )
    for note in mesh.notes:
        _tell(f"  {note}")
    if written.n_hits == 0:
        _tell("  no view shows it; --normalize sphere puts a mesh at the origin, 1 unit in size")


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _message(error: Exception, path: Path | None = None) -> str:
    """An error as one line that names the file."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return message if path is None or str(path) in message else f"{path}: {message}"


def _progress(n: int, unit: str = "view") -> tqdm:
    """A bar on standard error, if that is a terminal and the work longer than a moment."""
    return tqdm(total=n, unit=unit, disable=None, leave=False, delay=1)


def _tell(line: str) -> None:
    """One line of the result, at once, also into a pipe."""
    tqdm.write(line)
    sys.stdout.flush()


def _say(line: str) -> None:
    """One line about the work, on standard error, above any progress bar."""
    tqdm.write(f"raydepth: {line}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: error: {message} ({self.prog} --help says more)\n")


def _size(text: str) -> int | tuple[int, int]:
    """`512` or `640x480`."""
    width, x, height = text.lower().partition("x")
    if not width.isdecimal() or (x and not height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected 512 or 640x480")
    return (int(width), int(height)) if x else int(width)


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _sizes(text: str) -> list[int]:
    """`256,512`"""
    return [_whole_number(size) for size in text.split(",")]


def _peers(text: str) -> list[str]:
    """`open3d,warp`"""
    names = text.lower().split(",")
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PEERS)}")
    return list(dict.fromkeys(names))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="raydepth", description="Exact metric depth maps of meshes.")
    parser.add_argument("--version", action="version", version=f"raydepth {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    render = commands.add_parser(
        "render",
        help="depth maps of mesh files",
        description="Render depth maps of mesh files: OUT/<mesh>/000.png ..., views.json and "
        "preview.png for each mesh.",
    )
    render.add_argument("meshes", nargs="+", type=Path, metavar="MESH", help="mesh files")
    render.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    render.add_argument(
        "--normalize",
        choices=NORMALIZATIONS,
        default="none",
        help="sphere: radius 0.5 around the origin; cube: longest side 1 (default: none)",
    )
    render.add_argument(
        "--views",
        default="fibonacci:24",
        metavar="SPEC",
        help=f"placement ({', '.join(PLACEMENTS)}) such as fibonacci:24, "
        "ring:12,elevation=30,up=y, random:9,seed=4, or a views.json (default: fibonacci:24)",
    )
    render.add_argument(
        "--radius", type=float, help="distance of the cameras from the origin (default: 1.5 units)"
    )
    render.add_argument(
        "--fov", type=float, help="degrees across the image's longer side (default: 40)"
    )
    render.add_argument("--size", type=_size, help="pixels: 512 or 640x480 (default: 512)")
    render.add_argument(
        "--kind",
        choices=KINDS,
        default="z",
        help="z: along the camera's axis; ray: from the camera's centre (default: z)",
    )
    render.add_argument(
        "--format",
        choices=[name for name, store in STORES.items() if store.meshes_per_unit == 1],
        default="png16",
        help="of the files (default: png16)",
    )
    render.add_argument(
        "--values-per-unit",
        type=float,
        default=10000,
        metavar="N",
        help="scale of png16, the same for all images (default: 10000)",
    )
    render.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to render (default: auto)"
    )
    render.set_defaults(command=_render)

    demo = commands.add_parser(
        "demo", help="the main job on a shape made in code", description="Render a torus knot."
    )
    demo.add_argument(
        "-o", "--out", type=Path, default=Path("raydepth-demo"),
        help="folder for the results (default: raydepth-demo)",
    )  # fmt: skip
    demo.set_defaults(command=_demo)

    info = commands.add_parser(
        "info",
        help="what a mesh or a depth file holds",
        description="Say what a mesh file or a depth file holds.",
    )
    info.add_argument("file", type=Path, metavar="FILE")
    info.set_defaults(command=_info)

    bench = commands.add_parser(
        "bench",
        help="how fast this machine is, also beside other renderers",
        description="Time every stage on generated meshes or on yours, and rays per second beside "
        "other renderers, on the same rays, taking turns. Takes minutes.",
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
        help=f"other renderers, of {','.join(PEERS)}: those that are installed take part",
    )
    bench.add_argument(
        "--sizes",
        type=_sizes,
        default=list(bench_module.SIZES),
        metavar="PIXELS",
        help=f"of the square images (default: {','.join(map(str, bench_module.SIZES))})",
    )
    bench.add_argument(
        "--repeats",
        type=_whole_number,
        default=bench_module.REPEATS,
        metavar="N",
        help=f"turns that a median is taken of, at least (default: {bench_module.REPEATS})",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    bench.set_defaults(command=_bench)
    return parser
