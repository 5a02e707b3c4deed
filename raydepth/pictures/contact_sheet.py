"""A contact sheet: all views of a run in one picture, to look at.

All views have the same colour scale. Near is bright, and a legend gives the scale in units. Do not
read depth from the colours: read it from the files that `export` writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raydepth.camera.kinds import checked_kind

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MAX_VIEWS = 64

# In pixels. With more columns cells are smaller, so that the sheet stays about SHEET_WIDTH wide.
SHEET_WIDTH = 1536
MIN_SHEET_WIDTH = 400
MIN_CELL, MAX_CELL = 96, 256
MIN_CELL_SIDE = 28
GAP = 6
MARGIN = 18
LEGEND_HEIGHT = 76
BAR_HEIGHT = 16
TEXT_SIZE = 15

# Sheets close to this ratio of width to height fit a page or a screen.
SHEET_ASPECT = 1.4
# High enough that 64 views are placed 8 by 8 and not in 7 rows of 10.
EMPTY_CELL_COST = 5.0

SHEET_COLOUR = (22, 23, 26)
MISS_COLOUR = (52, 54, 59)
TEXT_COLOUR = (226, 227, 230)

# Every 17th of the 256 colours of viridis, perceptually uniform and readable without colour vision
# (Stefan van der Walt and Nathaniel Smith, "A better default colormap for Matplotlib", SciPy 2015;
# released under CC0). From dark (far) to bright (near).
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 26, 108),
        (71, 47, 125),
        (65, 68, 135),
        (57, 86, 140),
        (49, 104, 142),
        (42, 120, 142),
        (35, 136, 142),
        (31, 152, 139),
        (34, 168, 132),
        (53, 183, 121),
        (84, 197, 104),
        (122, 209, 81),
        (165, 219, 54),
        (210, 226, 27),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


def contact_sheet(
    depths: Any,
    *,
    kind: str,
    titles: Sequence[str] | None = None,
    range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw all views in one picture with one colour scale and a legend in units.

    Parameters
    ----------
    depths : (n_views, height, width) float, or an iterable of (height, width) float
        In units; a value that is not finite and > 0 is a miss.
    kind : "z" or "ray"
        The kind of depth, for the legend.
    titles : n_views str, optional
        Shown instead of the numbers of the views.
    range : (near, far), optional
        Depths at the ends of the colour scale; depths beyond an end get its colour. By default the
        nearest and farthest depth of all views.

    Returns
    -------
    (sheet_height, sheet_width, 3) uint8
        Of more than 64 views it shows 64, evenly chosen, and the legend says so.

    Raises
    ------
    ValueError
        There are no views, the views have different sizes, or an argument is not as above.
    """
    views = depths if hasattr(depths, "__len__") else list(depths)
    sheet = ContactSheet(len(views), kind=kind, titles=titles, range=range)
    for index, depth in enumerate(views):
        sheet.add(index, depth)
    return sheet.image()


class ContactSheet:
    """A contact sheet that takes one view after the other and keeps only thumbnails.

    Parameters
    ----------
    n_views : int
        The number of all views.
    kind, titles, range
        As for `contact_sheet`.

    Attributes
    ----------
    shown : list of int
        The views that appear on the sheet. The others need not be added, but count for the range
        of the colour scale if they are.
    """

    def __init__(
        self,
        n_views: int,
        *,
        kind: str,
        titles: Sequence[str] | None = None,
        range: tuple[float, float] | None = None,
    ) -> None:
        if n_views < 1:
            raise ValueError(f"n_views is {n_views}; expected at least 1")
        checked_kind(kind)
        if titles is not None and len(titles) != n_views:
            raise ValueError(f"{len(titles)} titles for {n_views} views; expected one each")
        if range is not None and not (
            len(range) == 2 and -math.inf < range[0] < range[1] < math.inf
        ):
            raise ValueError(f"range is {range!r}; expected (near, far), finite, near < far")
        self.n_views = n_views
        self.kind = kind
        self.titles = titles
        self.range = range
        n_shown = min(n_views, MAX_VIEWS)
        self.shown = [round(i) for i in np.linspace(0, n_views - 1, n_shown).tolist()]
        self._near, self._far = math.inf, -math.inf
        self._size: tuple[int, int] | None = None
        self._thumbnails: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, index: int, depth: np.ndarray) -> None:
        """Add view `index`: (height, width) float; a value that is not finite and > 0 is a miss."""
        depth = np.asarray(depth)
        if not 0 <= index < self.n_views:
            raise ValueError(f"index is {index}; expected 0 to {self.n_views - 1}")
        if depth.dtype.kind != "f" or depth.ndim != 2 or depth.size == 0:
            raise ValueError(
                f"view {index} is {depth.dtype} of shape {depth.shape}; "
                "expected float of shape (height, width)"
            )
        if self._size is None:
            self._size = (depth.shape[0], depth.shape[1])
            self._columns, self._thumbnail_size = _layout(len(self.shown), *self._size)
        if depth.shape != self._size:
            raise ValueError(
                f"view {index} has shape {depth.shape}; expected {self._size} like the others"
            )
        hit = (depth > 0.0) & (depth < np.inf)
        self._near = min(self._near, float(np.min(depth, where=hit, initial=np.inf)))
        self._far = max(self._far, float(np.max(depth, where=hit, initial=-np.inf)))
        if index in self.shown:
            self._thumbnails[index] = _thumbnail(depth, hit, self._thumbnail_size)

    def image(self) -> np.ndarray:
        """Return the sheet of the views added so far, (sheet_height, sheet_width, 3) uint8."""
        from PIL import Image, ImageDraw

        if self._size is None:
            raise ValueError("no view was added; expected at least one")
        height, width = self._thumbnail_size
        cell_height, cell_width = max(height, MIN_CELL_SIDE), max(width, MIN_CELL_SIDE)
        n_rows = -(-len(self.shown) // self._columns)
        grid_width = self._columns * (cell_width + GAP) - GAP
        grid_height = n_rows * (cell_height + GAP) - GAP
        sheet_width = max(grid_width + 2 * MARGIN, MIN_SHEET_WIDTH)
        sheet_height = grid_height + 2 * MARGIN + LEGEND_HEIGHT
        pixels = np.empty((sheet_height, sheet_width, 3), dtype=np.uint8)
        pixels[:] = SHEET_COLOUR

        near, far = self._scale_ends()
        left = (sheet_width - grid_width) // 2
        corners = []
        for position, index in enumerate(self.shown):
            row, column = divmod(position, self._columns)
            y, x = MARGIN + row * (cell_height + GAP), left + column * (cell_width + GAP)
            if index not in self._thumbnails:
                continue
            pixels[y : y + cell_height, x : x + cell_width] = MISS_COLOUR
            # A thumbnail is thinner than its cell only if its image is extremely long.
            top, side = y + (cell_height - height) // 2, x + (cell_width - width) // 2
            depth, coverage = self._thumbnails[index]
            pixels[top : top + height, side : side + width] = _blend(depth, coverage, near, far)
            corners.append((index, x, y))

        bar_top = sheet_height - MARGIN - BAR_HEIGHT - 22
        bar = slice(MARGIN, sheet_width - MARGIN)
        if near <= far:
            ramp = np.linspace(1.0, 0.0, bar.stop - bar.start)
            pixels[bar_top : bar_top + BAR_HEIGHT, bar] = np.rint(viridis(ramp))

        picture = Image.fromarray(pixels)
        draw = ImageDraw.Draw(picture)
        for index, x, y in corners:
            self._draw_title(draw, index, x, y, cell_width)
        self._draw_legend(draw, bar, bar_top, near, far)
        return np.array(picture)

    def _scale_ends(self) -> tuple[float, float]:
        """Return the depths at the bright and the dark end; near > far if nothing was hit."""
        if self.range is not None:
            return float(self.range[0]), float(self.range[1])
        if self._near == self._far:
            # One depth everywhere: it gets the middle of a scale.
            return self._near * 0.9, self._far * 1.1
        return self._near, self._far

    def _draw_title(self, draw: ImageDraw, index: int, x: int, y: int, cell_width: int) -> None:
        from PIL import ImageFont

        size = 13 if cell_width >= 160 else 11
        font = ImageFont.load_default(size)
        title = str(index) if self.titles is None else str(self.titles[index])
        while len(title) > 1 and draw.textlength(title, font=font) > cell_width - 12:
            title = f"{title[:-2]}…"
        # An outline, because a title may lie on any colour of the scale.
        draw.text(
            (x + 6, y + 4), title, TEXT_COLOUR, font, stroke_width=1, stroke_fill=SHEET_COLOUR
        )

    def _draw_legend(
        self, draw: ImageDraw, bar: slice, bar_top: int, near: float, far: float
    ) -> None:
        from PIL import ImageFont

        font = ImageFont.load_default(TEXT_SIZE)
        above, below = bar_top - 8, bar_top + BAR_HEIGHT
        draw.text((bar.start, above), f"{self.kind} depth, units", TEXT_COLOUR, font, anchor="ls")
        n_shown = len(self.shown)
        count = f"{n_shown} of {self.n_views} views" if n_shown < self.n_views else ""
        if not count:
            count = "1 view" if n_shown == 1 else f"{n_shown} views"
        draw.text((bar.stop, above), count, TEXT_COLOUR, font, anchor="rs")
        swatch = bar.stop - draw.textlength(count, font=font) - 28
        draw.text((swatch, above), "miss", TEXT_COLOUR, font, anchor="rs")
        swatch -= draw.textlength("miss", font=font) + 8
        draw.rectangle((swatch - 14, above - 12, swatch, above + 1), fill=MISS_COLOUR)
        if near > far:
            draw.text(
                ((bar.start + bar.stop) / 2, below - 2), "no hits", TEXT_COLOUR, font, anchor="ms"
            )
            return
        length = bar.stop - bar.start - 1
        widest = max(draw.textlength(label, font=font) for _, label in _ticks(near, far, 3))
        n_ticks = max(3, min(9, int(length / (widest + 50))))
        free_from = 0.0
        for value, label in _ticks(near, far, n_ticks):
            x = bar.start + length * (value - near) / (far - near)
            draw.line((x, below, x, below + 4), fill=TEXT_COLOUR)
            half = draw.textlength(label, font=font) / 2
            x = min(max(x, bar.start + half), bar.stop - half)
            # Very long numbers leave room only for every other label.
            if x - half >= free_from:
                draw.text((x, below + 20), label, TEXT_COLOUR, font, anchor="ms")
                free_from = x + half + 10


def _layout(n_shown: int, height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Return the number of columns of the grid, and (height, width) of a thumbnail."""

    def cost(columns: int) -> float:
        n_rows = -(-n_shown // columns)
        aspect = columns * width / (n_rows * height)
        n_empty = columns * n_rows - n_shown
        return abs(math.log(aspect / SHEET_ASPECT)) + EMPTY_CELL_COST * n_empty / n_shown

    columns = min(range(1, n_shown + 1), key=cost)
    side = min(MAX_CELL, max(MIN_CELL, SHEET_WIDTH // columns))
    longer = max(height, width)
    if longer <= side:
        # Enlarged by a whole number, so that all pixels of a small image are equally large.
        enlarged = side // longer
        return columns, (height * enlarged, width * enlarged)
    return columns, (max(1, round(height * side / longer)), max(1, round(width * side / longer)))


def _thumbnail(
    depth: np.ndarray, hit: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean depth of the hits, and the share of hits, in each pixel of a thumbnail.

    Returns
    -------
    depth : (thumbnail_height, thumbnail_width) float64, 0 if nothing was hit
    coverage : same shape, float32 between 0 and 1
    """
    height, width = depth.shape
    if size[0] >= height and size[1] >= width:
        block = np.ones((size[0] // height, size[1] // width))
        filled = np.where(hit, depth, 0.0).astype(np.float64)
        return np.kron(filled, block), np.kron(hit, block).astype(np.float32)

    # Each pixel takes a block of whole pixels; blocks differ by one if the sizes do not divide.
    rows = np.arange(size[0]) * height // size[0]
    columns = np.arange(size[1]) * width // size[1]

    def block_sums(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)

    n_hits = block_sums(hit.astype(np.float64))
    n_pixels = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    sums = block_sums(np.where(hit, depth, 0.0).astype(np.float64))
    return sums / np.maximum(n_hits, 1.0), (n_hits / n_pixels).astype(np.float32)


def _blend(depth: np.ndarray, coverage: np.ndarray, near: float, far: float) -> np.ndarray:
    """Return (h, w, 3) uint8: the scale's colour over the colour of a miss, by coverage."""
    if near > far:
        near, far = 0.0, 1.0
    share = coverage[..., None].astype(np.float64)
    colour = viridis((far - depth) / (far - near))
    return np.rint(colour * share + np.array(MISS_COLOUR) * (1.0 - share)).astype(np.uint8)


def viridis(brightness: np.ndarray) -> np.ndarray:
    """Return (..., 3) float64 colours, 0 to 255, for 0 (dark) to 1 (bright), clamped to them."""
    anchors = np.linspace(0.0, 1.0, len(VIRIDIS))
    return np.stack([np.interp(brightness, anchors, VIRIDIS[:, c]) for c in range(3)], axis=-1)


def _ticks(near: float, far: float, n_most: int) -> list[tuple[float, str]]:
    """Return round values between near and far, with their labels.

    There are at most `n_most` steps. There is at least one value if `n_most` is 3 or more, because
    steps of 1, 2 and 5 are at most 2.5 times apart.
    """
    step = 10.0 ** math.floor(math.log10((far - near) / n_most))
    step = next(step * m for m in (1, 2, 5, 10) if (far - near) / (step * m) <= n_most)
    values = [i * step for i in range(math.ceil(near / step), math.floor(far / step) + 1)]
    # As many digits as are needed to tell neighbours apart.
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    largest = max(abs(near), abs(far))
    if 1e-4 <= largest < 1e7 and decimals <= 9:
        return [(value, f"{value:.{decimals}f}") for value in values]
    digits = max(0, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9))
    return [(value, f"{value:.{digits}e}") for value in values]
