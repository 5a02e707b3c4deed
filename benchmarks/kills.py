"""Kill runs at random moments, run the same command again, and compare with an undisturbed run.

    python benchmarks/kills.py [--kills 200] [--meshes FOLDER] [--format png16] [--seed 0]

Each round starts a run on an empty data set and kills its process (SIGKILL; every third time, some
of its worker processes may be killed before). It then runs the same command again and compares
every file, byte for byte, with those of an undisturbed run. Two of the meshes are broken, so that
there are failures to record. The script ends with exit code 1 at the first difference.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "meshes" / "batch"
sys.path.insert(0, str(ROOT))
SUFFIXES = {".obj", ".stl", ".ply"}


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--meshes", type=Path, default=SHARED)
    arguments.add_argument("--n-meshes", type=int, default=60)
    arguments.add_argument("--format", default="png16")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--keep", type=Path, help="a folder for copies of data sets that differ")
    args = arguments.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="raydepth-") as scratch:
        os.chdir(scratch)
        found = sorted(p for p in args.meshes.rglob("*") if p.suffix.lower() in SUFFIXES)
        meshes = [str(path) for path in rng.sample(found, args.n_meshes)]
        Path("broken.obj").write_text("v 0 0\n")
        meshes[10:10] = ["broken.obj", "missing.stl"]
        Path("list.txt").write_text("\n".join(meshes))
        run("reference", args.format)  # compile once, untimed
        shutil.rmtree("reference")
        start = time.perf_counter()
        run("reference", args.format)
        seconds = time.perf_counter() - start
        expected = digest("reference")
        n_unfinished = 0
        for kill in range(args.kills):
            shutil.rmtree("out", ignore_errors=True)
            n_unfinished += killed("out", args.format, rng.uniform(0, seconds), kill, rng)
            code = run("out", args.format)
            if code != 1 or digest("out") != expected:
                here = digest("out")
                different = [
                    name for name in here | expected if here.get(name) != expected.get(name)
                ]
                print(f"kill {kill}: exit code {code}, files differ: {sorted(different)[:10]}")
                if args.keep:
                    for folder in ("out", "reference"):
                        shutil.copytree(folder, args.keep / folder)
                return 1
            if kill % 10 == 9:
                print(f"{kill + 1} kills, {n_unfinished} before the end: no difference", flush=True)
    return 0


def command(out: str, file_format: str) -> list[str]:
    return [
        sys.executable, "-m", "raydepth", "render", "--list", "list.txt", "-o", out,
        "--views", "fibonacci:4", "--size", "128", "--normalize", "sphere",
        "--format", file_format,
    ]  # fmt: skip


def run(out: str, file_format: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(out, file_format), env=environment, capture_output=True, check=False
    ).returncode


def killed(out: str, file_format: str, after: float, kill: int, rng: random.Random) -> bool:
    """Start a run and kill it; return whether it was still at work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    work = subprocess.Popen(
        command(out, file_format),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(after)
    if kill % 3 == 2:
        for worker in children(work.pid):
            if rng.random() < 0.5:
                os.kill(worker, signal.SIGKILL)
        time.sleep(rng.uniform(0, 0.3))
    unfinished = work.poll() is None
    work.kill()
    work.wait()
    return unfinished


def children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []


def digest(folder: str) -> dict[str, str]:
    """Return the hash of every file below a folder, hidden files included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    sys.exit(main())
