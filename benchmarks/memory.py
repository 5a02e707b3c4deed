"""Check that memory stays flat over thousands of meshes.

    python benchmarks/memory.py [--meshes FOLDER] [--times 11]

The script renders a folder several times (as that many folders of links to it). Four times a second
it reads the memory of the command and all its processes: the sum of their private pages and of
their shares of shared pages (PSS). It writes the largest sum within each thousand meshes to
benchmarks/results/memory.json. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from dataset import SHARED, SIZE, SUFFIXES, VIEWS, generated  # noqa: E402

PER = 1000


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--meshes", type=Path, help=f"default: {SHARED.name}, or generated ones")
    arguments.add_argument("--times", type=int, default=11)
    arguments.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/memory.json")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="raydepth-") as scratch:
        report = measure(args, Path(scratch))
    args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


def measure(args: argparse.Namespace, scratch: Path) -> dict:
    folder = args.meshes or (SHARED if SHARED.is_dir() else generated(scratch / "generated"))
    meshes = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    for time_ in range(args.times):
        for mesh in meshes:
            link = scratch / "meshes" / f"{time_:02}" / mesh.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(mesh)
    command = [
        sys.executable, "-m", "raydepth", "render", str(scratch / "meshes"),
        "-o", str(scratch / "out"), "--views", f"fibonacci:{VIEWS}", "--size", str(SIZE),
        "--normalize", "sphere", "--no-preview", "--log-json",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    work = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    largest: list[int] = []
    n_done = 0

    def watch() -> None:
        while work.poll() is None:
            thousand = n_done // PER
            largest.extend([0] * (thousand + 1 - len(largest)))
            largest[thousand] = max(largest[thousand], memory_of(work.pid))
            time.sleep(0.25)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert work.stdout is not None
    for line in work.stdout:
        n_done += json.loads(line).get("event") == "mesh"
    watcher.join()
    whole = largest[: n_done // PER]
    return {
        "meshes": n_done,
        "views": VIEWS,
        "size": SIZE,
        "processors": len(os.sched_getaffinity(0)),
        "most_mib_within_each_thousand": [round(n / 2**20, 1) for n in whole],
        "last_to_first": round(whole[-1] / whole[0], 3),
    }


def memory_of(pid: int) -> int:
    """Return the bytes of memory of a process and of all processes that it has started."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) << 10
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                total += memory_of(int(child))
    except OSError:
        pass  # the process has just ended
    return total


if __name__ == "__main__":
    main()
