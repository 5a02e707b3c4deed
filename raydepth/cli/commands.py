"""The commands of `python -m raydepth`, which turn arguments into library calls."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from raydepth import blender
from raydepth import cameras as cameras_module
from raydepth.bench import bench as bench_module
from raydepth.bench import tables
from raydepth.camera.camera import Cameras
from raydepth.camera.files.formats import write_cameras
from raydepth.cli.arguments import COMPARED_VIEWS, RENDERED_VIEWS, WRONG_USE, parser
from raydepth.cli.info import describe
from raydepth.cli.progress import JsonLines, Words, counted
from raydepth.cli.views import cameras_from_words, is_file
from raydepth.codecs.uint16 import checked_scale
from raydepth.comparison import blender as crosscheck
from raydepth.dataset.compilation import compile_everything, compile_kernels
from raydepth.dataset.inputs import find_meshes, output_names, read_list
from raydepth.dataset.reader import dataset_entries
from raydepth.dataset.settings import Settings
from raydepth.dataset.shards import Shard
from raydepth.dataset.write_mesh import Written, write_views
from raydepth.errors import BlenderError, DeviceError, MissingPackageError, one_line
from raydepth.mesh.load import FORMATS, load_mesh
from raydepth.mesh.mesh import Mesh
from raydepth.mesh.shapes import torus_knot
from raydepth.outputs.table import depth_and_others
from raydepth.pictures.camera_plot import plot_png
from raydepth.rendering.devices import chosen_device
from raydepth.runs import spawning
from raydepth.runs.run import render_dataset
from raydepth.runs.tasks import TIMEOUT
from raydepth.runs.verify import verify_dataset
from raydepth.simd.jit import announce_compilation
from raydepth.storage.forms import scale_or_default, store_of
from raydepth.system.atomic_files import write_whole
from raydepth.system.parallel import default_threads

FAILED = 1
INTERRUPTED = 130

# Errors of input, packages, devices, memory and disks. Any other exception is a bug in raydepth.
FAILURES = (ValueError, BlenderError, DeviceError, MissingPackageError, MemoryError, OSError)


class WrongUse(ValueError):
    """Invalid arguments, found before any work has started."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    The code is 0, 1 for failed work, 2 for wrong use, or 130 after an interrupt.
    """
    # File names may hold characters that the terminal's encoding lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed the pipe, as `head` does. Discard the remaining
        # output, or Python would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(arguments: Sequence[str] | None) -> int:
    args = parser().parse_args(arguments)
    try:
        with announce_compilation(_say), warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
            return COMMANDS[args.command](args)
    except KeyboardInterrupt:
        _say("interrupted; files already written are complete")
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
        args.kind, args.outputs = depth_and_others(args.kind, args.outputs)
        if paths:
            Settings(
                cameras,
                kind=args.kind,
                file_format=args.format,
                values_per_unit=scale,
                outputs=args.outputs,
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
    if args.engine == "local":
        spawning.start_early(min(len(paths), default_threads()))
    n_failed = _render_meshes(args, paths, cameras, shard) if paths else 0
    for scene, name in zip(scenes, names[len(paths) :], strict=True):
        n_failed += not _render_scene(args, scene, name)
    if scenes and n_failed and len(names) > 1:
        _say(f"{n_failed} of {len(names)} files failed")
    return FAILED if n_failed else 0


def _render_meshes(
    args: argparse.Namespace, paths: list[Path], cameras: Cameras, shard: Shard | None
) -> int:
    """Render meshes to a data set; return how many of them failed and are not in it."""
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
    """Render a .blend as its own cameras see it; return whether that worked."""
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
            compile_kernels(args.device, (args.kind, *args.outputs))
            for shot in scene:
                written = write_views(
                    shot.mesh,
                    shot.cameras,
                    args.out / name / shot.label,
                    kind=args.kind,
                    file_format=args.format,
                    values_per_unit=args.values_per_unit,
                    device=args.device,
                    outputs=args.outputs,
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
        line += f"; {found.n_failed} failed when the data set was rendered (failures.jsonl)"
    if found.n_without_source:
        line += (
            f"; {found.n_without_source} not traced, because the mesh file is gone or has changed"
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


def _compile(args: argparse.Namespace) -> int:
    chosen_device(args.device)
    start = time.perf_counter()
    compile_everything(args.device)
    _tell(f"everything is compiled ({time.perf_counter() - start:.0f} s)")
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
    for line in tables.lines(report):
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
    report, n_failed = crosscheck.Report(), 0
    modes = crosscheck.MODES if args.mode is None else (args.mode,)
    from_file = args.views is not None and is_file(args.views)
    normalize = args.normalize or ("none" if from_file else "sphere")
    with _progress(len(args.meshes) * len(modes), "comparison") as bar:
        for path in args.meshes:
            try:
                mesh = load_mesh(path, normalize=normalize)
                compile_kernels()
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
    """Refuse options that do not fit the given files: a .blend has cameras, a mesh has none."""
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
                raise ValueError(f"--{option} is given, but no {blender.SUFFIX} file is")


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
    """Create the folder for results before any work, so that a bad path is reported at once."""
    if out.exists() and not out.is_dir():
        raise WrongUse(f"{out} is a file; expected a folder for the results")
    out.mkdir(parents=True, exist_ok=True)


def _report(mesh: Mesh, written: Written) -> None:
    """Print what was done with one mesh."""
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
            "  Blender's clipping is not applied; in Blender it hides a part of "
            f"{counted(len(clipped), 'view')} (the first is {clipped[0]['file']})"
        )


def _clips(view: dict[str, Any]) -> bool:
    """True if Blender's clipping would hide a part of a view from a .blend."""
    limits = view.get("blender")
    if limits is None or not view["hits"]:
        return False
    return view["nearest"] < limits["clip_start"] or view["farthest"] > limits["clip_end"]


def _message(error: Exception, path: Path) -> str:
    """Return an error as one line that names the file."""
    message = one_line(error)
    return message if str(path) in message else f"{path}: {message}"


def _progress(n: int, unit: str = "view") -> tqdm:
    """A progress bar on standard error, shown on a terminal only and after the first second."""
    # Switch off tqdm's monitor thread: a process with threads should not be forked.
    tqdm.monitor_interval = 0
    return tqdm(total=n, unit=unit, disable=None, leave=False, delay=1)


def _tell(line: str) -> None:
    """Print one line of the result at once, also into a pipe."""
    tqdm.write(line)
    sys.stdout.flush()


def _say(line: str) -> None:
    """Print one line about the work to standard error, above any progress bar."""
    tqdm.write(f"raydepth: {line}", file=sys.stderr)


COMMANDS = {
    "render": _render,
    "compare blender": _compare_blender,
    "verify": _verify,
    "cameras": _write_cameras,
    "compile": _compile,
    "demo": _demo,
    "info": _info,
    "bench": _bench,
}
