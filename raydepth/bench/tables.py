"""Format the report of `bench` as lines of text: tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

RAYDEPTH = "raydepth"
DOUBTED = "!"


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines of the whole report, as `python -m raydepth bench` prints them."""
    return [
        *_heading(report),
        "",
        "Per mesh, in milliseconds: median (first call)",
        *_table(_mesh_rows(report)),
        *_build_summary(report),
        "",
        "Per image, in milliseconds: median (first call); render is visibility and resolve to z",
        *_table(_image_rows(report)),
        *_comparison(report),
        *(_agreement(report, name) for name in report["renderers"] if name != RAYDEPTH),
        *report["missing"].values(),
    ]


def ratio(cell: dict[str, Any], others: Sequence[str]) -> float | None:
    """Return raydepth's rays per second on the CPU over the best other renderer's, in one cell.

    Renderers whose depth does not agree do not count; None if no other renderer is left.
    """
    rate = cell["mrays_per_s"]
    believed = [rate[name] for name in others if cell["agreement"][name]["agrees"]]
    return rate[RAYDEPTH] / max(believed) if believed else None


def _heading(report: dict[str, Any]) -> list[str]:
    machine, start_up, views = report["machine"], report["start_up"], report["views"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = "" if machine["load"] is None else f"; load {machine['load']:.1f} before"
    return [
        f"{machine['cpu']}, {machine['threads']} of {machine['processors']} threads, "
        f"{machine['system']}, {versions}{load}",
        f"{views['n']} Fibonacci views at radius {views['radius']}, field of view "
        f"{views['fov_deg']:g} degrees, meshes in the sphere of radius 0.5; medians of at least "
        f"{report['repeats']}",
        f"A whole process on the CPU, {start_up['mesh']} from file to one PNG of "
        f"{start_up['size']}x{start_up['size']}: {start_up['first']:.1f} s the first time "
        f"(compiling), {start_up['later']:.1f} s later",
    ]


def _mesh_rows(report: dict[str, Any]) -> list[list[str]]:
    builders = [
        name for name in report["renderers"] if all(name in s["build"] for s in report["scenes"])
    ]
    names = [report["renderers"][name]["title"] for name in builders]
    titles = ["build", *(f"build, {name}" for name in names[1:])]
    rows = [["mesh", "triangles", "load", *titles]]
    for scene in report["scenes"]:
        builds = [_first_and_steady(scene["build"][name]) for name in builders]
        rows.append(
            [scene["mesh"], f"{scene['triangles']:,}", _first_and_steady(scene["load"]), *builds]
        )
    return rows


def _build_summary(report: dict[str, Any]) -> list[str]:
    found = []
    for scene in report["scenes"]:
        others = [scene["build"][n]["median"] for n in _others(report) if n in scene["build"]]
        if others:
            found.append((min(others) / scene["build"][RAYDEPTH]["median"], scene["mesh"]))
    return _summary("build: time of the best other renderer / raydepth's", found)


def _image_rows(report: dict[str, Any]) -> list[list[str]]:
    devices = [name for name in report["renderers"] if name.startswith(RAYDEPTH)]
    rows = [["mesh", "size", "triangles/pixel"]]
    for name in devices:
        of_device = name.removeprefix(RAYDEPTH)
        rows[0] += [f"render{of_device}", f"Mrays/s{of_device}"]
    rows[0] += ["encode", "write"]
    n_views = report["views"]["n"]
    for scene in report["scenes"]:
        for cell in scene["cells"]:
            row = [scene["mesh"], f"{cell['size']}", f"{cell['triangles_per_pixel']:.3g}"]
            for name in devices:
                row.append(_first_and_steady(cell["render"][name], n_views))
                row.append(_rate(cell["mrays_per_s"][name]))
            row += [_first_and_steady(cell[stage], n_views) for stage in ("encode", "write")]
            rows.append(row)
    return rows


def _comparison(report: dict[str, Any]) -> list[str]:
    others = _others(report)
    if not others:
        return []
    rows = [["mesh", "size", *(_title(report, name) for name in (RAYDEPTH, *others))]]
    rows[0].append("raydepth / best other")
    ratios = []
    for scene in report["scenes"]:
        for cell in scene["cells"]:
            row = [scene["mesh"], f"{cell['size']}", _rate(cell["mrays_per_s"][RAYDEPTH])]
            for name in others:
                believed = cell["agreement"][name]["agrees"]
                row.append(_rate(cell["mrays_per_s"][name]) + ("" if believed else DOUBTED))
            value = ratio(cell, others)
            rows.append([*row, "-" if value is None else f"{value:.2f}"])
            if value is not None:
                ratios.append((value, f"{scene['mesh']} at {cell['size']}"))
    return [
        "",
        "Million rays per second; the other renderers give only the distance",
        *_table(rows),
        *_summary("rays per second: raydepth / the best other renderer", ratios),
    ]


def _summary(what: str, found: list[tuple[float, str]]) -> list[str]:
    if not found:
        return []
    mean = math.exp(sum(math.log(ratio) for ratio, _ in found) / len(found))
    smallest, where = min(found)
    return [f"{what}: geometric mean {mean:.2f}, smallest {smallest:.2f} ({where})"]


def _agreement(report: dict[str, Any], name: str) -> str:
    """Say in one line how the depth of another renderer compares."""
    cells = [
        (scene["mesh"], cell["size"], cell["agreement"][name])
        for scene in report["scenes"]
        for cell in scene["cells"]
    ]
    different, wrong, hits = (
        sum(counts[key] for *_, counts in cells) for key in ("different", "wrong", "hits")
    )
    doubted = [f"{mesh} at {size}" for mesh, size, counts in cells if not counts["agrees"]]
    renderer = report["renderers"][name]
    verdict = f"{DOUBTED} DISAGREES on {', '.join(doubted)}" if doubted else "agrees"
    return (
        f"{renderer['title']} {renderer['version']}: {verdict}; {different:,} of {hits:,} pixels "
        f"differ, {wrong:,} of them away from outlines"
    )


def _others(report: dict[str, Any]) -> list[str]:
    return [name for name in report["renderers"] if not name.startswith(RAYDEPTH)]


def _title(report: dict[str, Any], name: str) -> str:
    renderer = report["renderers"][name]
    few = renderer["threads"] < report["machine"]["threads"]
    return f"{renderer['title']} ({renderer['threads']} thread)" if few else renderer["title"]


def _first_and_steady(times: dict[str, Any], n: int = 1) -> str:
    return f"{_ms(times['median'] / n)} ({_ms(times['first'] / n)})"


def _ms(seconds: float) -> str:
    """Return seconds as milliseconds with three digits."""
    ms = seconds * 1e3
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def _rate(mrays_per_s: float) -> str:
    return f"{mrays_per_s:,.0f}" if mrays_per_s >= 100 else f"{mrays_per_s:.1f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as a Markdown table, the first column to the left and numbers to the right."""
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    text = [[row[0].ljust(widths[0]), *_right(row[1:], widths[1:])] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (text[0], rule, *text[1:])]


def _right(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
