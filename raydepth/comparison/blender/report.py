"""The comparison with Blender as data and as one page of HTML that needs no other file.

In a section, all images of a kind share one colour scale, so that views can be compared.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from raydepth.comparison.blender.reference import Section
from raydepth.comparison.differences import agrees
from raydepth.pictures.contact_sheet import MISS_COLOUR, viridis
from raydepth.version import __version__

FORMAT_NAME = "raydepth-comparison"
FORMAT_VERSION = 1

# Colours from "raydepth is nearer" through "equal" to "Blender is nearer": blue, white, orange.
NEARER, EQUAL, FARTHER = (33, 102, 172), (247, 247, 247), (217, 95, 2)
# The difference's colour scale ends at this percentile of |error|, so that one pixel does not grey
# out all others.
DIFFERENCE_PERCENTILE = 99.9

# The most marks that one image gets; the numbers beside it are complete.
MAX_MARKS = 200
MARKS = {
    "only_depth": ("only raydepth hits", "#e7298a"),
    "only_reference": ("only Blender hits", "#00b4d8"),
    "beyond": ("beyond the bound", "#ffb000"),
}

# Histogram bins, in ulps: one for equal depths, and one between each two of these edges.
EDGES = (0.0, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, np.inf)
BIN_NAMES = ("0", "1", "2", "3–4", "5–8", "9–16", "17–32", "33–64", "65 +")


class Report:
    """The comparisons of any number of meshes, kept as numbers and pictures, not as depth maps."""

    def __init__(self) -> None:
        self.agrees = True
        self._data: list[dict[str, Any]] = []
        self._pages: list[str] = []

    def __len__(self) -> int:
        return len(self._data)

    def add(self, section: Section) -> None:
        """Add the comparison of one mesh in one mode."""
        self.agrees &= section.agrees
        self._pages.append(_section(section))
        self._data.append(
            {
                "mesh": section.mesh.to_json(),
                "mode": section.mode,
                "kind": section.kind,
                "blender": section.blender,
                "blender_pass": section.pass_kind,
                "c": section.c,
                "width": section.depth.shape[2],
                "height": section.depth.shape[1],
                "agrees": section.agrees,
                "verdict": section.verdict,
                "total": section.total,
                "second_opinion": section.second_opinion,
                "views": section.views,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as plain JSON data."""
        return {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "raydepth_version": __version__,
            "agrees": self.agrees,
            "sections": self._data,
        }

    def to_html(self) -> str:
        """Return the page: images are embedded, and there are no scripts and no other files."""
        names = " and ".join(dict.fromkeys(data["mesh"]["name"] for data in self._data))
        versions = ", ".join(dict.fromkeys(data["blender"] for data in self._data))
        return PAGE.format(
            names=html.escape(names),
            style=STYLE,
            state="agree" if self.agrees else "differ",
            verdict="They agree" if self.agrees else "They differ",
            raydepth=__version__,
            blender=html.escape(versions),
            table=_summary_table(self._data),
            sections="".join(self._pages),
        )


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>raydepth and Blender: {names}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>raydepth and Blender</h1>
<p class="verdict {state}">{verdict}</p>
<p>raydepth {raydepth} beside Cycles in Blender {blender}: the same triangles, the same cameras, one
ray through each pixel's centre.</p>
{table}
<p class="note">Counts are pixels outside the band and, in brackets, inside it. The <b>band</b> are
pixels whose centre lies within 0.001 pixel of a triangle's outline, where either answer may be
right. The <b>bound</b> on an error is c &middot; 2<sup>&minus;24</sup> &middot; depth / |cos| of
the angle between ray and surface normal: c&nbsp;=&nbsp;4 in mode <i>camera</i> (vertices taken to
the camera's frame in float64 and rounded once), c&nbsp;=&nbsp;16 in mode <i>pose</i> (the mesh
where it is, against the camera that Blender reads back). An <b>ulp</b> is one step of a float32
number. Wherever the two differ a float64 test of all triangles says who is right.</p>
</header>
{sections}
</body>
</html>
"""


def _summary_table(sections: Sequence[dict[str, Any]]) -> str:
    head = (
        "mesh", "mode", "views", "hit by both", "only raydepth", "only Blender", "beyond bound",
        "largest error / bound", "error, ulps: median / 99 % / max",
        "error, units: median / 99 % / max",
    )  # fmt: skip
    rows = []
    for data in sections:
        total = data["total"]
        rows.append(
            (
                data["mesh"]["name"],
                f"{data['mode']}, c = {data['c']:g}",
                f"{len(data['views'])}",
                f"{total['hit_by_both']:,}",
                _in_and_out(total["only_raydepth"]),
                _in_and_out(total["only_reference"]),
                _in_and_out(total["beyond_bound"]),
                f"{total['worst_error_over_bound']:.2f}",
                _spread(total["error_ulps"], ".1f"),
                _spread(total["error_units"], ".2g"),
            )
        )
    cells = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    names = "".join(f"<th>{name}</th>" for name in head)
    return f'<div class="wide"><table><tr>{names}</tr>{"".join(cells)}</table></div>'


def _section(section: Section) -> str:
    near, far = _range(section)
    limit = _difference_limit(section)
    height, width = section.depth.shape[1:]
    views = "".join(_view(section, view, near, far, limit) for view in range(len(section.views)))
    measured = {"z": "planar", "ray": "Euclidean"}[section.pass_kind]
    opinion = ""
    if section.second_opinion is not None:
        opinion = _opinion(section.second_opinion)
    return f"""<section>
<h2>{html.escape(section.mesh.name)}, mode {section.mode}</h2>
<p><b>{html.escape(section.verdict[0].upper() + section.verdict[1:])}.</b>
{len(section.mesh.faces):,} faces, {len(section.views)} views of {width}x{height}, {section.kind}
depth; Blender's depth pass was measured to be {measured}.</p>
{opinion}
<div class="legends">
{_legend(section.kind + " depth, units", near, far, lambda t: viridis(1.0 - t))}
{_legend("raydepth − Blender, units", -limit, limit, _diverging)}
</div>
{views}
</section>
"""


def _view(section: Section, view: int, near: float, far: float, limit: float) -> str:
    numbers = section.views[view]
    depth, reference = section.depth[view], section.reference[view]
    found = section.found[view]
    marks = _marks(found, depth.shape)
    images = (
        ("raydepth", _depth_image(depth, near, far), ""),
        ("Blender", _depth_image(reference, near, far), ""),
        ("difference", _difference_image(found.error, limit), marks),
    )
    figures = "".join(
        f'<figure><div class="image"><img src="{_data_uri(pixels)}" alt="{name}, view {view}">'
        f"{overlay}</div><figcaption>{name}</figcaption></figure>"
        for name, pixels, overlay in images
    )
    state = "" if agrees(numbers) else ' class="differ"'
    return f"""<article>
<h3{state}>View {view}</h3>
<div class="figures">{figures}
<figure>{_histogram(found.ulps[found.both])}
<figcaption>pixels by error in ulps</figcaption></figure>
</div>
<p class="numbers">{numbers["hit_by_both"]:,} pixels hit by both &middot; only raydepth
{_in_and_out(numbers["only_raydepth"])} &middot; only Blender
{_in_and_out(numbers["only_reference"])} &middot; beyond the bound
{_in_and_out(numbers["beyond_bound"])} &middot; error in ulps: median / 99&nbsp;% / max
{_spread(numbers["error_ulps"], ".1f")}</p>
</article>
"""


def _opinion(numbers: dict[str, Any]) -> str:
    return (
        "<p>Second opinion, Blender's BVHTree (geometry alone, not part of the verdict): "
        f"only raydepth {_in_and_out(numbers['only_raydepth'])}, "
        f"only BVHTree {_in_and_out(numbers['only_reference'])}, error in units: median / 99&nbsp;%"
        f" / max {_spread(numbers['error_units'], '.2g')}.</p>"
    )


def _in_and_out(count: dict[str, int]) -> str:
    return f"{count['outside_band']:,} ({count['inside_band']:,})"


def _spread(values: dict[str, float | None], form: str) -> str:
    return " / ".join("–" if v is None else format(v, form) for v in values.values())


# --- images ---------------------------------------------------------------------------------------


def _range(section: Section) -> tuple[float, float]:
    """Return the nearest and farthest depth of both renderers, set apart where they are equal."""
    depths = [a[np.isfinite(a)] for a in (section.depth, section.reference)]
    hits = np.concatenate(depths)
    if not len(hits):
        return 0.0, 1.0
    near, far = float(hits.min()), float(hits.max())
    return (near, far) if near < far else (near * 0.9, far * 1.1)


def _difference_limit(section: Section) -> float:
    error = np.abs(section.found.error[section.found.both])
    limit = float(np.percentile(error, DIFFERENCE_PERCENTILE)) if len(error) else 0.0
    # Where all but a few depths are equal, the limit is one rounding of the farthest depth.
    return limit or 2.0**-24 * _range(section)[1]


def _depth_image(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    hit = np.isfinite(depth)
    share = (far - np.where(hit, depth, far).astype(np.float64)) / (far - near)
    return np.where(hit[..., None], np.rint(viridis(share)), MISS_COLOUR).astype(np.uint8)


def _difference_image(error: np.ndarray, limit: float) -> np.ndarray:
    both = ~np.isnan(error)
    share = np.clip(np.where(both, error, 0.0) / limit, -1.0, 1.0) / 2.0 + 0.5
    return np.where(both[..., None], np.rint(_diverging(share)), MISS_COLOUR).astype(np.uint8)


def _diverging(share: np.ndarray) -> np.ndarray:
    """Return (..., 3) colours for shares from 0 to 1; at 0.5 both renderers are equal."""
    colours = np.array([NEARER, EQUAL, FARTHER], dtype=np.float64)
    return np.stack([np.interp(share, (0.0, 0.5, 1.0), colours[:, c]) for c in range(3)], axis=-1)


def _data_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    # A one-dimensional scale in 256 colours looks almost the same and takes a third of the bytes.
    Image.fromarray(pixels).quantize(256).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _marks(found: Any, shape: tuple[int, ...]) -> str:
    """Return circles around single pixels, which are too small to see otherwise."""
    height, width = shape
    radius = max(width, height) / 64
    circles = []
    for name, (_, colour) in MARKS.items():
        for row, column in np.argwhere(getattr(found, name))[:MAX_MARKS]:
            circles.append(
                f'<circle cx="{column + 0.5:g}" cy="{row + 0.5:g}" r="{radius:g}" '
                f'stroke="{colour}"/>'
            )
    if not circles:
        return ""
    return (
        f'<svg viewBox="0 0 {width} {height}" fill="none" stroke-width="{radius / 4:g}">'
        + "".join(circles)
        + "</svg>"
    )


def _legend(title: str, low: float, high: float, colours: Any) -> str:
    stops = ", ".join(
        "rgb({:.0f} {:.0f} {:.0f})".format(*colours(np.asarray(t))) for t in np.linspace(0, 1, 9)
    )
    middle = (low + high) / 2
    labels = "".join(f"<span>{value:.4g}</span>" for value in (low, middle, high))
    marks = ""
    if low < 0:
        marks = '<div class="marks">' + "".join(
            f'<span><i style="border-color:{colour}"></i>{text}</span>'
            for text, colour in MARKS.values()
        )
        marks += "</div>"
    return (
        f'<div class="legend"><div>{html.escape(title)}</div>'
        f'<div class="bar" style="background:linear-gradient(to right, {stops})"></div>'
        f'<div class="ticks">{labels}</div>{marks}</div>'
    )


def _histogram(ulps: np.ndarray) -> str:
    """Return a histogram of bars on a logarithmic scale, with their counts."""
    counts = [int(np.count_nonzero(ulps == 0.0))]
    for low, high in pairwise(EDGES):
        counts.append(int(np.count_nonzero((ulps > low) & (ulps <= high))))
    tallest = np.log10(max(counts) + 1.0) or 1.0
    bars = []
    for i, (name, count) in enumerate(zip(BIN_NAMES, counts, strict=True)):
        length = 150.0 * np.log10(count + 1.0) / tallest
        y = 10 + 24 * i
        bars.append(
            f'<text x="52" y="{y + 13}" text-anchor="end">{name}</text>'
            f'<rect x="58" y="{y}" width="{length:.1f}" height="18" rx="2"/>'
            f'<text x="{64 + length:.1f}" y="{y + 13}">{count:,}</text>'
        )
    return f'<svg class="histogram" viewBox="0 0 280 {20 + 24 * len(counts)}">{"".join(bars)}</svg>'


STYLE = """
:root { --back: #ffffff; --fore: #1c1d20; --dim: #5b5e66; --line: #d9dbe0; --card: #f5f6f8;
  --good: #1a7f4b; --bad: #b3261e; --bar: #41688c; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16171a; --fore: #e4e5e8; --dim: #a0a3ab; --line: #34363c; --card: #1f2125;
    --good: #4cc38a; --bad: #ff8a80; --bar: #6f9dc6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 16px; background: var(--back);
  color: var(--fore); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.2rem; margin: 32px 0 4px; }
h3 { font-size: 1rem; margin: 0 0 8px; }
h3.differ::after { content: " differs"; color: var(--bad); }
.verdict { font-size: 1.2rem; font-weight: 600; margin: 4px 0; }
.agree { color: var(--good); } .differ { color: var(--bad); }
.note, figcaption, .numbers { color: var(--dim); font-size: 0.87rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: bottom; white-space: nowrap; }
th { font-weight: 600; white-space: normal; min-width: 5em; }
article { background: var(--card); border-radius: 8px; padding: 12px; margin: 12px 0; }
.figures { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); }
figure { margin: 0; }
.image { position: relative; line-height: 0; }
.image img { width: 100%; border-radius: 4px; image-rendering: pixelated; }
.image svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.histogram { width: 100%; } .histogram rect { fill: var(--bar); }
.histogram text { fill: var(--fore); font-size: 12px; }
.numbers { margin: 8px 0 0; }
.legends { display: flex; flex-wrap: wrap; gap: 12px 32px; margin: 8px 0; font-size: 0.87rem; }
.legend { flex: 1 1 260px; max-width: 480px; }
.bar { height: 14px; border-radius: 3px; }
.ticks { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.marks { display: flex; flex-wrap: wrap; gap: 4px 14px; color: var(--dim); }
.marks i { display: inline-block; width: 11px; height: 11px; border: 3px solid; border-radius: 50%;
  margin-right: 5px; vertical-align: -1px; }
"""
