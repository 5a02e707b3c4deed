"""The command line: arguments to library calls. `python -m raydepth --help`."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from raydepth import bench as bench_module
from raydepth import bench_tables, blender, crosscheck, spawning
from raydepth import cameras as cameras_module
from raydepth.batch import ENGINES, MOST_PREVIEWED, dataset_entries, render_dataset
from raydepth.camera import Cameras
from raydepth.camera_files import FORMATS as CAMERA_FORMATS
from raydepth.camera_files import write_cameras
from raydepth.camera_files.matrices import AXES, DIRECTIONS
from raydepth.camera_files.words import cameras_from_words, is_file
from raydepth.compiling import announce_compilation, compile_kernels
from raydepth.dataset import Written, write_views
from raydepth.demo import torus_knot
from raydepth.errors import BlenderError, DeviceError, MissingPackageError, one_line
from raydepth.export import checked_scale
from raydepth.files import write_whole
from raydepth.info import describe
from raydepth.inputs import find_meshes, output_names, read_list
from raydepth.loading import FORMATS, load_mesh
from raydepth.mesh import NORMALIZATIONS, Mesh
from raydepth.outputs import KINDS, OUTPUTS, depth_and_others
from raydepth.parallel import default_threads
from raydepth.peers import PEERS
from raydepth.placements.words import help_text
from raydepth.plot import plot_png
from raydepth.progress import JsonLines, Words, counted
from raydepth.rendering import DEVICES, chosen_device
from raydepth.settings import Settings
from raydepth.shards import Shard
from raydepth.stores import LAYOUTS, STORES, scale_or_default, store_of
from raydepth.tasks import TIMEOUT
from raydepth.verify import N_SAMPLES, verify_dataset
from raydepth.version import __version__

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

# What goes wrong with input, packages, devices, memory and disks; the rest is raydepth's fault.
FAILURES = (ValueError, BlenderError, DeviceError, MissingPackageError, MemoryError, OSError)

NORMALIZE = "sphere: radius 0.5 around the origin; cube: longest side 1"
RENDERED_VIEWS, COMPARED_VIEWS = "fibonacci:24", "fibonacci:12"


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
        _say(f"error: {one_line(error)}")
        return WRONG_USE if isinstance(error, WrongUse) else FAILED


def _render(args: argparse.Namespace) -> int:
    try:
        _refuse_options_of_others(args)
        cameras = _cameras(args, RENDERED_VIEWS)
        given = [*args.meshes, *(_listed(args.list) if args.list else [])]
        scenes = [Path(path) for path in given if _is_scene(Path(path))]
        meshes = [path for path in given if not _is_scene(Path(path))]
        paths = find_meshes(meshes, FORMATS) if meshes or not scenes else []
        names = output_names([*paths, *scenes])
        if args.layout and args.format:
            raise ValueError(
                f"--layout {args.layout} and --format {args.format} exclude each other"
            )
        args.format = args.layout or args.format or "png16"
        scale = checked_scale(scale_or_default(args.values_per_unit, args.format))
        kind, others = depth_and_others(args.kind, args.outputs)
        if paths:
            Settings(
                cameras,
                kind=kind,
                file_format=args.format,
                values_per_unit=scale,
                outputs=others,
                hits=args.hits,
            )
        shard = Shard.parse(args.shard, os.environ) if args.shard else None
        if shard and args.overwrite:
            raise ValueError(
                "--overwrite and --shard exclude each other: jobs would remove each other's work"
            )
    except (ValueError, OverflowError, OSError) as error:
        raise WrongUse(one_line(error)) from None
    chosen_device(args.device)
    store_of(args.format)
    _make_folder(args.out)
    if args.engine == "local" and not spawning.can_fork():
        for _ in range(1, min(len(paths), default_threads())):  # one is there, see __main__.py
            spawning.spawn_early()
    if scenes:
        compile_kernels(args.device)
    n_failed = _render_meshes(args, paths, cameras, shard) if paths else 0
    for scene, name in zip(scenes, names[len(paths) :], strict=True):
        n_failed += not _render_scene(args, scene, name)
    if scenes and n_failed and len(names) > 1:
        _say(f"{n_failed} of {len(names)} files failed")
    return FAILED if n_failed else 0


def _render_meshes(
    args: argparse.Namespace, paths: list[Path], cameras: Cameras, shard: Shard | None
) -> int:
    """Render meshes to a data set; returns how many of them are not in it."""
    with _progress(0) as bar:
        progress: Words | JsonLines
        if args.log_json:
            progress = JsonLines(_tell)
        else:
            progress = Words(args.out, tell=_tell, say=_say, bar=bar)
        report = render_dataset(
            paths,
            args.out,
            cameras,
            normalize=args.normalize,
            kind=args.kind,
            file_format=args.format,
            values_per_unit=args.values_per_unit,
            device=args.device,
            previews=args.preview,
            outputs=args.outputs,
            hits=args.hits,
            timeout=args.timeout or TIMEOUT,
            memory=None if args.memory is None else int(args.memory * 2**30),
            shard=shard,
            overwrite=args.overwrite,
            retry_failed=args.retry_failed,
            engine=args.engine,
            ray_address=args.ray_address,
            on_plan=progress.plan,
            on_views=progress.views,
            on_mesh=progress.mesh,
            on_word=_say,
        )
    progress.end(report)
    return len(report.failures)


def _render_scene(args: argparse.Namespace, path: Path, name: str) -> bool:
    """Render a .blend as its own cameras see it; whether that worked."""
    try:
        with _progress(0) as bar:
            scene = blender.load_scene(
                path,
                camera=args.camera,
                frames=args.frames,
                blender=args.blender,
                timeout=args.timeout or blender.TIMEOUT,
            )
            bar.total = scene.n_views
            kind, others = depth_and_others(args.kind, args.outputs)
            for shot in scene:
                written = write_views(
                    shot.mesh,
                    shot.cameras,
                    args.out / name / shot.label,
                    kind=kind,
                    file_format=args.format,
                    values_per_unit=args.values_per_unit,
                    device=args.device,
                    outputs=others,
                    hits=args.hits,
                    labels=shot.view_labels(),
                    progress=bar.update,
                )
                _report(shot.mesh, written)
    except FAILURES as error:
        _say(f"error: {_message(error, path)}")
        return False
    return True


def _listed(name: str) -> list[Path]:
    """The paths in the list that --list names."""
    if name == "-":
        return read_list(sys.stdin.buffer.read(), "standard input")
    return read_list(Path(name).read_bytes(), name)


def _is_scene(path: Path) -> bool:
    return path.suffix.lower() == blender.SUFFIX


def _verify(args: argparse.Namespace) -> int:
    try:
        _, entries = dataset_entries(args.out)
    except (ValueError, OSError) as error:
        raise WrongUse(one_line(error)) from None
    compile_kernels()
    with _progress(len(entries), "mesh") as bar:
        found = verify_dataset(args.out, n_samples=args.samples, on_mesh=bar.update)
    for problem in found.problems:
        _tell(f"{problem.what}: {problem.name}: {problem.reason}")
    line = (
        f"{found.n_meshes:,} {'mesh' if found.n_meshes == 1 else 'meshes'}, "
        f"{counted(found.n_views, 'view')}, {counted(found.n_pixels, 'pixel')} traced again: "
    )
    by_kind = Counter(problem.what for problem in found.problems)
    line += ", ".join(f"{n} {what}" for what, n in sorted(by_kind.items())) or "all as it should be"
    if found.n_failed:
        line += f"; {found.n_failed} failed when it was rendered (failures.jsonl)"
    if found.n_without_source:
        line += (
            f"; the file of {found.n_without_source} is gone or changed, so that none was traced"
        )
    _tell(line)
    return FAILED if found.problems else 0


def _write_cameras(args: argparse.Namespace) -> int:
    try:
        if args.out is None and args.plot is None:
            raise ValueError("nothing to do; expected -o FILE, --plot PICTURE or both")
        cameras = _cameras(args, "")
        if args.plot is not None:
            if args.plot.suffix.lower() != ".png":
                raise ValueError(f"--plot {args.plot}: expected a name that ends in .png")
            if args.plot.is_dir() or not args.plot.parent.is_dir():
                raise ValueError(f"--plot {args.plot}: expected a file in a folder that exists")
            picture = plot_png(cameras, size=args.plot_size)
        if args.out is not None:
            write_cameras(
                args.out, cameras, format=args.format, axes=args.axes, direction=args.direction
            )
    except (ValueError, OverflowError, FileNotFoundError) as error:
        raise WrongUse(one_line(error)) from None
    if args.plot is not None:
        write_whole({args.plot: picture})
    places = " and ".join(str(path) for path in (args.out, args.plot) if path is not None)
    _tell(
        f"{counted(len(cameras), cameras.model + ' view')} of {cameras.width}x{cameras.height} "
        f"-> {places}"
    )
    return 0


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


def _compare_blender(args: argparse.Namespace) -> int:
    try:
        cameras = _cameras(args, COMPARED_VIEWS)
    except (ValueError, OverflowError, OSError) as error:
        raise WrongUse(one_line(error)) from None
    for option, path in (("-o", args.out), ("--json", args.json)):
        if path and (path.is_dir() or not path.parent.is_dir()):
            raise WrongUse(f"{option} {path}: expected a file in a folder that exists")
    program = blender.find_blender(args.blender)
    compile_kernels()
    report, n_failed = crosscheck.Report(), 0
    modes = crosscheck.MODES if args.mode is None else (args.mode,)
    from_file = args.views is not None and is_file(args.views)
    normalize = args.normalize or ("none" if from_file else "sphere")
    with _progress(len(args.meshes) * len(modes), "comparison") as bar:
        for path in args.meshes:
            try:
                mesh = load_mesh(path, normalize=normalize)
                for mode in modes:
                    section = crosscheck.compare_with_blender(
                        mesh,
                        cameras,
                        program,
                        mode=mode,
                        kind=args.kind,
                        timeout=args.timeout or blender.TIMEOUT,
                        second_opinion=args.second_opinion,
                    )
                    report.add(section)
                    for line in section.lines():
                        _tell(line)
                    bar.update()
            except FAILURES as error:
                n_failed += 1
                _say(f"error: {_message(error, path)}")
    contents = {}
    if len(report):
        if args.out:
            contents[args.out] = report.to_html().encode()
        if args.json:
            contents[args.json] = (json.dumps(report.to_json(), indent=1) + "\n").encode()
    if contents:
        write_whole(contents)
    return 0 if report.agrees and not n_failed else FAILED


def _refuse_options_of_others(args: argparse.Namespace) -> None:
    """Refuse what has no meaning for the files given: a .blend has cameras, a mesh has none."""
    scenes = [path for path in args.meshes if _is_scene(Path(path))]
    if scenes:
        for option in ("views", "radius", "fov", "size"):
            if getattr(args, option) is not None:
                raise ValueError(f"--{option} is given, but {scenes[0]} has its own cameras")
        for option in ("shard", "overwrite", "retry_failed", "log_json"):
            if getattr(args, option):
                word = option.replace("_", "-")
                raise ValueError(f"--{word} is given, but {scenes[0]} is not part of a data set")
        if args.normalize != "none":
            raise ValueError(
                f"--normalize {args.normalize} is given, but the cameras of {scenes[0]} stand "
                "where its meshes are"
            )
    else:
        for option in ("camera", "frames", "blender"):
            if getattr(args, option) is not None:
                raise ValueError(f"--{option} is given, but no {blender.SUFFIX} file")


def _cameras(args: argparse.Namespace, default: str) -> Cameras:
    """The cameras that --views asks for, by placement or by file."""
    try:
        cameras = cameras_from_words(
            default if args.views is None else args.views,
            radius=args.radius,
            fov_deg=args.fov,
            size=args.size,
        )
    except ValueError as error:
        message = str(error)
        for word, option in (("radius", "--radius"), ("fov_deg", "--fov"), ("size", "--size")):
            message = message.replace(f"{word} is given", f"{option} is given")
        raise ValueError(message) from None
    if hasattr(args, "kind"):
        cameras.check_kinds((args.kind,))
    return cameras


def _make_folder(out: Path) -> None:
    """The folder for results, made before any work so that a bad one is said at once."""
    if out.exists() and not out.is_dir():
        raise WrongUse(f"{out} is a file; expected a folder for the results")
    out.mkdir(parents=True, exist_ok=True)


def _report(mesh: Mesh, written: Written) -> None:
    """Say what was done with one mesh."""
    rate = written.n_rays / max(written.render_seconds, 1e-9) / 1e6
    _tell(
        f"{mesh.name}: {counted(len(mesh.faces), 'face')}, {counted(written.n_views, 'view')}, "
        f"{written.n_hits / written.n_rays:.0%} of {written.n_rays:,} rays hit, "
        f"{rate:.1f} M rays/s on {written.device} -> {written.place}"
    )
    for note in mesh.notes:
        _tell(f"  {note}")
    clipped = [view for view in written.views if _clips(view)]
    if clipped:
        _tell(
            f"  Blender's clipping, which hides a part of {counted(len(clipped), 'view')} "
            f"there (the first is {clipped[0]['file']}), is not applied"
        )


def _clips(view: dict[str, Any]) -> bool:
    """Whether Blender would not show all that a view from a .blend shows."""
    limits = view.get("blender")
    if limits is None or not view["hits"]:
        return False
    return view["nearest"] < limits["clip_start"] or view["farthest"] > limits["clip_end"]


def _message(error: Exception, path: Path) -> str:
    """An error as one line that names the file."""
    message = one_line(error)
    return message if str(path) in message else f"{path}: {message}"


def _progress(n: int, unit: str = "view") -> tqdm:
    """A bar on standard error, if that is a terminal and the work longer than a moment."""
    # No thread that looks after the bar: a process with threads should not be forked.
    tqdm.monitor_interval = 0
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


class _Views(argparse.Action):
    """Keeps what --views was given; `help` prints what it takes, and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if values == "help":
            _tell(help_text())
            parser.exit()
        setattr(namespace, self.dest, values)


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


def _frames(text: str) -> list[int] | str:
    """`12`, `1:24` with both ends, or `keys`."""
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
            f"{text!r} are no frames; expected 12, 1:24 or {blender.KEYFRAMES}"
        ) from None
    return numbers


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} are no seconds above 0")
    return seconds


def _gibibytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GiB above 0")
    return number


def _sizes(text: str) -> list[int]:
    """`256,512`"""
    return [_whole_number(size) for size in text.split(",")]


def _names(text: str) -> list[str]:
    """`z,normal,instance`"""
    return [name.strip() for name in text.lower().split(",")]


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
        "preview.png for each mesh. A .blend is rendered as its own cameras see it, with the help "
        "of Blender; where its geometry moves, each state has a folder named by its first frame.",
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
        help='meshes in a list, one path a line, or the column "path" of a CSV file; - is '
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
        help="of the files (default: png16)",
    )
    render.add_argument(
        "--layout",
        choices=list(LAYOUTS),
        help="16-bit PNGs and the files beside them that programs for these data sets read",
    )
    render.add_argument(
        "--outputs",
        type=_names,
        default=[],
        metavar="NAMES",
        help="what to write besides depth, such as z,normal,instance: "
        + ", ".join(name for name in OUTPUTS if name not in KINDS),
    )
    render.add_argument(
        "--hits",
        type=_whole_number,
        default=4,
        metavar="N",
        help="how many hits of a ray the output hits has (default: 4)",
    )
    render.add_argument(
        "--values-per-unit",
        type=float,
        metavar="N",
        help="scale of 16-bit images, the same for all (default: 10000; 5000 for tum)",
    )
    render.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to render (default: auto)"
    )
    render.add_argument(
        "--preview",
        action=argparse.BooleanOptionalAction,
        help=f"a contact sheet for each mesh (default: for up to {MOST_PREVIEWED} meshes)",
    )
    render.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"give up a mesh that takes longer to load, or to render (default: {TIMEOUT:g}), or "
        f"Blender (default: {blender.TIMEOUT:g})",
    )
    sets = render.add_argument_group("for many meshes")
    sets.add_argument(
        "--overwrite", action="store_true", help="remove the data set in OUT, and begin anew"
    )
    sets.add_argument(
        "--retry-failed", action="store_true", help="try meshes again that failed before"
    )
    sets.add_argument(
        "--memory",
        type=_gibibytes,
        metavar="GIB",
        help="refuse a mesh that takes more to load (default: a quarter of the machine's)",
    )
    sets.add_argument(
        "--shard",
        metavar="I/N",
        help="render part I, counted from 0, of N parts of about the same size; slurm takes both "
        "from SLURM's variables",
    )
    sets.add_argument(
        "--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster"
    )
    sets.add_argument(
        "--ray-address", metavar="ADDRESS", help="of the Ray cluster (default: what Ray finds)"
    )
    sets.add_argument(
        "--log-json", action="store_true", help="JSON lines on standard output instead of words"
    )
    scenes = render.add_argument_group("for .blend files")
    scenes.add_argument("--camera", metavar="NAME", help="one of its cameras (default: all)")
    scenes.add_argument(
        "--frames",
        type=_frames,
        metavar="A:B",
        help=f"frames A to B, one frame, or {blender.KEYFRAMES}: those at which a camera has "
        "keyframes (default: the one it was saved at)",
    )
    _add_blender(scenes)
    render.set_defaults(command=_render)

    compare = commands.add_parser(
        "compare",
        help="raydepth beside Blender on the same mesh and cameras",
        description="Render with another program, too, and compare.",
    ).add_subparsers(required=True, metavar="PROGRAM")
    beside_blender = compare.add_parser(
        "blender",
        help="Blender's Cycles",
        description="Render meshes with raydepth and with Blender's Cycles and compare the depth "
        "maps pixel by pixel. The exit code is 0 if they agree: no pixel that only one of the two "
        "hits and no error beyond the bound, but within 0.001 pixel of an outline.",
    )
    beside_blender.add_argument("meshes", nargs="+", type=Path, metavar="MESH", help="mesh files")
    beside_blender.add_argument(
        "-o", "--out", type=Path, metavar="REPORT", help="write an HTML page with all pictures"
    )
    beside_blender.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    beside_blender.add_argument(
        "--mode",
        choices=crosscheck.MODES,
        help="camera: in each camera's frame, where float32 is best; pose: the mesh where it is, "
        "against the camera that Blender reads back (default: both)",
    )
    beside_blender.add_argument(
        "--second-opinion",
        action="store_true",
        help="also cast the rays through Blender's BVHTree; some seconds a view",
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
        help=f"stop Blender after them (default: {blender.TIMEOUT:g})",
    )
    beside_blender.set_defaults(command=_compare_blender)

    verify = commands.add_parser(
        "verify",
        help="whether a data set on disk is whole and right",
        description="Read every file of a data set, compare it with its metadata and hashes, and "
        "trace some pixels of each mesh again in float64. Exit code 1 if anything is missing, "
        "damaged or wrong.",
    )
    verify.add_argument("out", type=Path, metavar="OUT", help="folder of the data set")
    verify.add_argument(
        "--samples",
        type=_whole_number,
        default=N_SAMPLES,
        metavar="N",
        help=f"pixels of each mesh to trace again (default: {N_SAMPLES})",
    )
    verify.set_defaults(command=_verify)

    cameras = commands.add_parser(
        "cameras",
        help="write cameras for another program, or draw them",
        description="Write cameras of a placement or of a file for another program, and draw them "
        "around the sphere on which they stand.",
    )
    cameras.add_argument(
        "views",
        metavar="SPEC",
        action=_Views,
        help="placement such as fibonacci:24, or a file of cameras; help prints all",
    )
    cameras.add_argument(
        "-o", "--out", type=Path, metavar="FILE",
        help="cameras.json, transforms.json, scene_camera.json, poses.npy, or a folder (colmap)",
    )  # fmt: skip
    cameras.add_argument("--plot", type=Path, metavar="PNG", help="a picture of them")
    cameras.add_argument(
        "--plot-size", type=_whole_number, default=640, metavar="PIXELS",
        help="of the square picture (default: 640)",
    )  # fmt: skip
    cameras.add_argument(
        "--format", choices=list(CAMERA_FORMATS), help="of the file (default: by its name)"
    )
    cameras.add_argument("--axes", choices=AXES, help="of npy (default: opencv)")
    cameras.add_argument(
        "--direction", choices=DIRECTIONS, help="of npy (default: world_from_camera)"
    )
    _add_lens(cameras)
    cameras.set_defaults(command=_write_cameras)

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


def _add_views(parser: argparse.ArgumentParser, default: str) -> None:
    """The options that say where the cameras stand and what depth means."""
    parser.add_argument(
        "--views",
        metavar="SPEC",
        action=_Views,
        help="placement such as fibonacci:24, ring:12,elevation=30,up=y, or a file of cameras; "
        f"help prints all (default: {default})",
    )
    _add_lens(parser)
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="z",
        help="z: along the camera's axis; ray: from the camera's centre (default: z)",
    )


def _add_lens(parser: argparse.ArgumentParser) -> None:
    """The options that a placement leaves open."""
    parser.add_argument(
        "--radius", type=float, help="distance of the cameras from the origin (default: 1.5 units)"
    )
    parser.add_argument(
        "--fov", type=float, help="degrees across the image's longer side (default: 40)"
    )
    parser.add_argument("--size", type=_size, help="pixels: 512 or 640x480 (default: 512)")


def _add_blender(parser: argparse._ActionsContainer) -> None:
    """The option that says which Blender."""
    parser.add_argument(
        "--blender",
        type=Path,
        metavar="PATH",
        help="a blender executable or a Python that has bpy (default: RAYDEPTH_BLENDER, or the "
        "first on the PATH)",
    )
