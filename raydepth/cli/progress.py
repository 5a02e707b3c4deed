"""Reports of a run's progress: text and a bar for people, JSON lines for machines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from raydepth.camera.camera import Cameras
from raydepth.dataset.settings import Settings
from raydepth.runs.plan import Plan
from raydepth.runs.run import Report
from raydepth.runs.tasks import Outcome
from raydepth.storage.forms import store_of

# Up to this many meshes get a line each, in the order of the inputs; people read few lines.
MOST_REPORTED = 16

# Seconds between two JSON lines that report a run's progress.
INTERVAL = 10.0

Say = Callable[[str], Any]


class Words:
    """Reports of a run's meshes as text, and a progress bar that is kept up to date.

    Parameters
    ----------
    out : Path
        Folder of the results.
    tell : callable
        Takes a line of the result.
    say : callable
        Takes a line about what went wrong.
    bar : tqdm
    """

    def __init__(self, out: Path, *, tell: Say, say: Say, bar: tqdm) -> None:
        self._out = out
        self._tell = tell
        self._say = say
        self._bar = bar
        self._n_done = 0
        self._n_failed = 0
        self._waiting: dict[str, Outcome] = {}
        self._order: list[str] = []

    def plan(self, plan: Plan) -> None:
        """Take the plan of the run before the work starts."""
        self._plan = plan
        self._few = plan.n_meshes <= MOST_REPORTED
        self._n_failed = len(plan.known_failures)
        self._bar.total = plan.n_todo * len(plan.settings.cameras)
        self._bar.unit = "view"
        self._order = [task.path for unit in plan.units for task in unit.tasks]
        if self._few:
            for name in plan.there:
                self._tell(f"{name}: already there")
            for failure in plan.known_failures:
                self._say(f"error: {failure.path}: {failure.reason} (in an earlier run)")
        self._show()

    def views(self, n_views: int) -> None:
        """Count newly finished views."""
        self._bar.update(n_views)

    def mesh(self, outcome: Outcome) -> None:
        """Report the outcome of one mesh."""
        self._n_done += 1
        if outcome.failure:
            self._n_failed += 1
            # The views of a failed mesh count as finished, too.
            self._bar.update(self._n_done * len(self._plan.settings.cameras) - self._bar.n)
        self._show()
        if not self._few:
            self._report(outcome)
            return
        self._waiting[outcome.task.path] = outcome
        while self._order and self._order[0] in self._waiting:
            self._report(self._waiting.pop(self._order.pop(0)))

    def end(self, report: Report) -> None:
        """Report the result of the run."""
        if not self._few:
            self._tell(_summary(report, self._out))
        n_failed = len(report.failures)
        if n_failed and report.n_meshes > 1:
            line = f"{n_failed} of {report.n_meshes:,} meshes failed"
            n_known = len(self._plan.known_failures)
            if n_known:
                line += f", {n_known} of them in an earlier run (--retry-failed tries them again)"
            self._say(line if self._few else f"{line}: see {self._out / 'failures.jsonl'}")

    def _show(self) -> None:
        state = f"meshes {self._n_done}/{self._plan.n_todo}"
        if self._n_failed:
            state += f", {self._n_failed} failed"
        self._bar.set_postfix_str(state, refresh=False)

    def _report(self, outcome: Outcome) -> None:
        if outcome.failure:
            self._say(f"error: {outcome.failure.path}: {outcome.failure.reason}")
        elif self._few:
            for line in mesh_lines(outcome, self._plan.settings, self._out):
                self._tell(line)


class JsonLines:
    """The same reports as JSON, one object a line; its "event" is start, mesh, progress or end.

    Parameters
    ----------
    tell : callable
        Takes a line.
    """

    def __init__(self, tell: Say) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._start = time.perf_counter()
        self._last = self._start
        self._n_meshes = self._n_views = self._n_failed = 0

    def plan(self, plan: Plan) -> None:
        """Take the plan of the run and report it before the work starts."""
        self._n_todo = plan.n_todo
        self._n_views_todo = plan.n_todo * len(plan.settings.cameras)
        self._write(
            "start",
            meshes=plan.n_meshes,
            there=len(plan.there),
            failed_before=len(plan.known_failures),
            meshes_todo=plan.n_todo,
            views_todo=self._n_views_todo,
        )

    def views(self, n_views: int) -> None:
        """Count newly finished views; report progress every `INTERVAL` seconds."""
        with self._lock:
            self._n_views += n_views
            now = time.perf_counter()
            if now - self._last < INTERVAL:
                return
            self._last = now
            rate = self._n_views / (now - self._start)
        self._write(
            "progress",
            meshes=self._n_meshes,
            views=self._n_views,
            failed=self._n_failed,
            views_per_second=round(rate, 2),
            seconds_left=round((self._n_views_todo - self._n_views) / rate, 1),
        )

    def mesh(self, outcome: Outcome) -> None:
        """Report the outcome of one mesh."""
        self._n_meshes += 1
        failure = outcome.failure
        self._n_failed += failure is not None
        self._write(
            "mesh",
            name=outcome.task.name,
            path=outcome.task.path,
            stage=failure.stage if failure else None,
            reason=failure.reason if failure else None,
            hits=outcome.n_hits,
            seconds={stage: round(spent, 6) for stage, spent in outcome.seconds.items()},
        )

    def end(self, report: Report) -> None:
        """Report the result of the run."""
        self._write(
            "end",
            meshes=report.n_meshes,
            rendered=report.n_rendered,
            there=report.n_there,
            failed=len(report.failures),
            seconds=round(report.seconds, 3),
            stage_seconds={stage: round(s, 3) for stage, s in report.stage_seconds.items()},
        )

    def _write(self, event: str, **data: Any) -> None:
        self._tell(json.dumps({"event": event, **data}))


def mesh_lines(outcome: Outcome, settings: Settings, out: Path) -> list[str]:
    """Return the lines about one rendered mesh: what was done, and what loading noted."""
    cameras: Cameras = settings.cameras
    n_rays = len(cameras) * cameras.width * cameras.height
    rate = n_rays / max(outcome.seconds["render"], 1e-9) / 1e6
    place = store_of(settings.file_format).place(out, outcome.task.name, index=outcome.unit_index)
    lines = [
        f"{Path(outcome.task.path).stem}: {counted(outcome.n_faces, 'face')}, "
        f"{counted(len(cameras), 'view')}, {outcome.n_hits / n_rays:.0%} of {n_rays:,} rays hit, "
        f"{rate:.1f} M rays/s on {settings.device} -> {place}"
    ]
    lines += [f"  {note}" for note in outcome.notes]
    if outcome.n_hits == 0:
        lines.append(NOTHING_SEEN)
    return lines


NOTHING_SEEN = (
    "  no view shows this mesh; --normalize sphere moves it to the origin and scales it to 1 unit"
)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: "1 face", "1,234 faces"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _summary(report: Report, out: Path) -> str:
    parts = [f"{report.n_meshes:,} meshes: {report.n_rendered:,} rendered"]
    if report.n_there:
        parts.append(f"{report.n_there:,} already there")
    if report.failures:
        parts.append(f"{len(report.failures):,} failed")
    line = ", ".join(parts) + f" -> {out}"
    if report.n_rendered:
        rate = report.n_rendered / report.seconds
        total = sum(report.stage_seconds.values())
        shares = ", ".join(f"{k} {v / total:.0%}" for k, v in report.stage_seconds.items())
        line += (
            f"; {counted(report.n_views, 'view')} each, {report.seconds:.1f} s, "
            f"{rate:.1f} meshes/s ({shares})"
        )
    return line
