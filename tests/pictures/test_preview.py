"""The contact sheet: one scale for all views, misses never mistaken for depth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from raydepth.pictures import contact_sheet as sheets
from raydepth.pictures.contact_sheet import ContactSheet, contact_sheet


def sphere(height, width, distance=1.5, radius=0.5):
    """z depth of a sphere in the middle of an orthographic view 1.2 units wide."""
    y, x = np.mgrid[:height, :width] + 0.5
    unit = 1.2 / max(height, width)
    chord = radius**2 - ((x - width / 2) * unit) ** 2 - ((y - height / 2) * unit) ** 2
    with np.errstate(invalid="ignore"):
        return np.where(chord > 0, distance - np.sqrt(chord), np.inf).astype(np.float32)


def cells(image, n_columns, size, left=sheets.MARGIN):
    """The cells of a sheet, row by row, each (size, size, 3)."""
    step = size + sheets.GAP
    n_rows = (image.shape[0] - 2 * sheets.MARGIN - sheets.LEGEND_HEIGHT + sheets.GAP) // step
    return [
        image[y : y + size, x : x + size]
        for y in sheets.MARGIN + step * np.arange(n_rows)
        for x in left + step * np.arange(n_columns)
    ]


def legend_bar(image):
    """One row of the legend's bar, (n, 3), near end first."""
    y = image.shape[0] - sheets.MARGIN - 22 - sheets.BAR_HEIGHT // 2
    return image[y, sheets.MARGIN : -sheets.MARGIN]


def is_colour(pixels, colour):
    return (np.asarray(pixels) == colour).all(axis=-1)


def test_sheet_is_an_rgb_picture_with_a_cell_per_view():
    image = contact_sheet(np.stack([sphere(64, 64)] * 6), kind="z")
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    all_cells = cells(image, 3, 256)
    assert len(all_cells) == 6
    for cell in all_cells:
        # Misses at the edge, the near colour in the middle.
        assert is_colour(cell[-1, [0, -1]], sheets.MISS_COLOUR).all()
        np.testing.assert_array_equal(cell[128, 128], sheets.VIRIDIS[-1])


def test_one_colour_scale_holds_for_all_views():
    depths = [np.full((32, 32), z) for z in (1.0, 2.0, 3.0)]
    image = contact_sheet(depths, kind="z")
    near, middle, far = (cell[128, 128] for cell in cells(image, 3, 256))
    bar = legend_bar(image)
    np.testing.assert_array_equal(near, sheets.VIRIDIS[-1])
    np.testing.assert_array_equal(far, sheets.VIRIDIS[0])
    assert np.abs(middle.astype(int) - bar[len(bar) // 2]).max() <= 2
    np.testing.assert_array_equal(bar[[0, -1]], [near, far])
    # The same depth among other views has another colour only because the scale is another.
    alone = contact_sheet(depths[:2], kind="z")
    np.testing.assert_array_equal(cells(alone, 2, 256)[1][128, 128], far)


def test_range_fixes_the_scale_and_beyond_it_the_ends_colours_stay():
    depths = [np.full((32, 32), z) for z in (0.5, 2.0, 9.0)]
    image = contact_sheet(depths, kind="z", range=(1.0, 3.0))
    near, middle, far = (cell[128, 128] for cell in cells(image, 3, 256))
    bar = legend_bar(image)
    np.testing.assert_array_equal([near, far], bar[[0, -1]])
    assert np.abs(middle.astype(int) - bar[len(bar) // 2]).max() <= 2


def test_near_is_brighter_than_far_everywhere_on_the_scale():
    bar = legend_bar(contact_sheet(sphere(64, 64)[None], kind="z")).astype(np.float64)
    luminance = bar @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) <= 1.0).all()  # one step of rounding
    assert luminance[0] - luminance[-1] > 150


def test_no_colour_of_the_scale_is_near_the_colour_of_a_miss():
    scale = sheets.viridis(np.linspace(0, 1, 1000))
    assert np.abs(scale - sheets.MISS_COLOUR).max(axis=1).min() > 25


@pytest.mark.parametrize("miss", [np.inf, np.nan, 0.0, -1.0])
def test_misses_do_not_enter_depths_or_range(miss):
    # Downsampled four times; the half-covered pixels at the edge keep the depth of the hits.
    depth = np.full((1024, 1024), 2.0)
    depth[:, 510:] = miss
    sheet = ContactSheet(2, kind="z")
    sheet.add(0, depth)
    sheet.add(1, np.full((1024, 1024), 3.0))
    mean, coverage = sheet._thumbnails[0]
    np.testing.assert_array_equal(mean[:, :128], 2.0)
    np.testing.assert_array_equal(coverage[:, 126:129], np.tile([1.0, 0.5, 0.0], (256, 1)))
    first = cells(sheet.image(), 2, 256)[0]
    np.testing.assert_array_equal(first[128, 126], sheets.VIRIDIS[-1])
    np.testing.assert_array_equal(first[128, 128], sheets.MISS_COLOUR)
    blended = (sheets.VIRIDIS[-1] + sheets.MISS_COLOUR) / 2
    np.testing.assert_allclose(first[128, 127], blended, atol=0.5)


@pytest.mark.parametrize(("height", "width"), [(500, 700), (257, 256), (300, 1000)])
def test_thumbnail_is_the_mean_of_blocks_that_share_out_all_pixels(height, width):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 2, (height, width))
    depth[rng.random(depth.shape) < 0.5] = np.inf
    _, size = sheets._layout(1, height, width)
    assert max(size) == 256
    mean, coverage = sheets._thumbnail(depth, np.isfinite(depth), size)
    assert mean.shape == coverage.shape == size
    rows, columns = (
        np.arange(n + 1) * full // n for n, full in zip(size, depth.shape, strict=True)
    )
    for i, j in [(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 3, size[1] // 2)]:
        block = depth[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        hits = block[np.isfinite(block)]
        assert mean[i, j] == pytest.approx(hits.mean() if hits.size else 0.0)
        assert coverage[i, j] == pytest.approx(hits.size / block.size)


def test_small_images_are_enlarged_by_whole_pixels():
    depth = np.array([[1.0, 2.0], [np.inf, 3.0]])
    image = contact_sheet([depth], kind="z")
    (cell,) = cells(image, 1, 256, left=(image.shape[1] - 256) // 2)
    np.testing.assert_array_equal(cell[100, 100], sheets.VIRIDIS[-1])
    assert is_colour(cell[128:, :128], sheets.MISS_COLOUR).all()
    assert is_colour(cell[128:, 128:], sheets.VIRIDIS[0]).all()


@pytest.mark.parametrize(
    ("n_views", "size", "expected"),
    [(1, (64, 64), 1), (2, (64, 64), 2), (12, (64, 64), 4), (24, (64, 64), 6), (64, (64, 64), 8),
     (6, (480, 640), 3), (4, (8, 1000), 1), (4, (1000, 8), 4)],
)  # fmt: skip
def test_grid_is_near_square(n_views, size, expected):
    assert sheets._layout(n_views, *size)[0] == expected


def test_of_many_views_64_evenly_chosen_are_kept_and_all_count_for_the_range(monkeypatch):
    texts = texts_of(monkeypatch)
    sheet = ContactSheet(1000, kind="z")
    for index in range(1000):
        sheet.add(index, np.full((4, 4), 1.0 + index))
    assert len(sheet._thumbnails) == len(sheet.shown) == 64
    assert (sheet.shown[0], sheet.shown[-1]) == (0, 999)
    assert set(np.diff(sheet.shown)) <= {15, 16}
    sheet.image()
    assert "64 of 1000 views" in texts
    assert {"0", "999"} <= set(texts)
    assert sheet._scale_ends() == (1.0, 1000.0)


def texts_of(monkeypatch):
    """Everything that is drawn as text from here on."""
    from PIL import ImageDraw

    texts = []
    draw_text = ImageDraw.ImageDraw.text

    def text(self, xy, text, *args, **kwargs):
        texts.append(text)
        return draw_text(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


@pytest.mark.parametrize("kind", ["z", "ray"])
def test_legend_says_kind_units_views_and_round_depths(monkeypatch, kind):
    texts = texts_of(monkeypatch)
    contact_sheet([np.array([[1.03, 1.97]])] * 2, kind=kind)
    assert {f"{kind} depth, units", "2 views", "miss", "0", "1"} <= set(texts)
    assert {"1.2", "1.4", "1.6", "1.8"} <= set(texts)


def test_ticks_stand_where_their_depth_is():
    near, far = 0.93, 2.11
    image = contact_sheet([np.array([[near, far]])] * 4, kind="z")
    y = image.shape[0] - sheets.MARGIN - 22 + 3
    marked = np.flatnonzero(is_colour(image[y], sheets.TEXT_COLOUR)) - sheets.MARGIN
    length = image.shape[1] - 2 * sheets.MARGIN - 1
    depths = near + marked / length * (far - near)
    steps = np.diff(depths)
    np.testing.assert_allclose(depths, np.round(depths, 1), atol=(far - near) / length)
    np.testing.assert_allclose(steps, steps[0], atol=2 * (far - near) / length)
    assert len(marked) >= 3


@pytest.mark.parametrize(
    ("near", "far", "labels"),
    [
        (1.0, 2.0, ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]),
        (0.0, 100.0, ["0", "20", "40", "60", "80", "100"]),
        (1e-9, 2e-9, ["1.0e-09", "1.2e-09", "1.4e-09", "1.6e-09", "1.8e-09", "2.0e-09"]),
        (1e9, 2e9, ["1.0e+09", "1.2e+09", "1.4e+09", "1.6e+09", "1.8e+09", "2.0e+09"]),
        (9999.9, 10000.1, ["9999.90", "9999.95", "10000.00", "10000.05", "10000.10"]),
        (0.07, 0.16, ["0.08", "0.10", "0.12", "0.14", "0.16"]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_tell_neighbours_apart(near, far, labels):
    assert [label for _, label in sheets._ticks(near, far, 6)] == labels


@pytest.mark.parametrize("n_most", [3, 6, 9])
@pytest.mark.parametrize("seed", range(100))
def test_ticks_lie_in_the_range_and_differ(seed, n_most):
    rng = np.random.default_rng(seed)
    near = 10 ** rng.uniform(-12, 12)
    far = near * (1 + 10 ** rng.uniform(-6, 3))
    ticks = sheets._ticks(near, far, n_most)
    assert 1 <= len(ticks) <= n_most + 1
    assert len({label for _, label in ticks}) == len(ticks)
    for value, label in ticks:
        assert near * (1 - 1e-12) <= value <= far * (1 + 1e-12)
        assert float(label) == pytest.approx(value, rel=1e-9)


def test_labels_of_long_numbers_do_not_overlap(monkeypatch):
    from PIL import ImageDraw, ImageFont

    spans = []
    draw_text = ImageDraw.ImageDraw.text

    def text(self, xy, text, *args, **kwargs):
        if kwargs.get("anchor") == "ms":
            half = ImageFont.load_default(sheets.TEXT_SIZE).getlength(text) / 2
            spans.append((xy[0] - half, xy[0] + half))
        return draw_text(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    contact_sheet([np.array([[1e6, 1e6 + 1.1e-6]])], kind="z")
    assert len(spans) >= 2
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))


def test_titles_stand_in_place_of_numbers_and_are_cut_to_the_cell(monkeypatch):
    texts = texts_of(monkeypatch)
    contact_sheet([sphere(64, 64)] * 2, kind="z", titles=["front", "b" * 200])
    assert "front" in texts
    assert "1" not in texts
    (cut,) = [text for text in texts if text.startswith("bb")]
    assert cut.endswith("…")
    assert 10 < len(cut) < 60


def test_views_of_nothing_say_so(monkeypatch):
    texts = texts_of(monkeypatch)
    image = contact_sheet(np.full((3, 16, 16), np.inf), kind="z")
    assert "no hits" in texts
    assert is_colour(cells(image, 3, 256)[2][20:], sheets.MISS_COLOUR).all()


def test_one_empty_view_among_others():
    image = contact_sheet([np.full((16, 16), np.inf), np.full((16, 16), 2.0)], kind="z")
    assert is_colour(cells(image, 2, 256)[0][20:], sheets.MISS_COLOUR).all()


@pytest.mark.parametrize("value", [2.5, 1e-9, 1e9])
def test_one_depth_everywhere_gets_the_middle_of_a_scale_around_it(value, monkeypatch):
    texts = texts_of(monkeypatch)
    image = contact_sheet(np.full((2, 16, 16), value), kind="z")
    bar = legend_bar(image)
    pixel = cells(image, 2, 256)[0][128, 128]
    assert np.abs(pixel.astype(int) - bar[len(bar) // 2]).max() <= 2
    assert any(
        text not in ("0", "1") and is_number(text) and float(text) == value for text in texts
    )


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (300, 500), (17, 3)])
@pytest.mark.parametrize("n_views", [1, 5])
def test_any_shape_of_view(shape, n_views):
    image = contact_sheet(np.linspace(1, 2, n_views * shape[0] * shape[1]).reshape(n_views, *shape),
                          kind="z")  # fmt: skip
    assert image.shape[1] >= sheets.MIN_SHEET_WIDTH
    assert max(image.shape) < 2000
    # Something of the scale is there besides the legend.
    grid = image[: -sheets.LEGEND_HEIGHT - sheets.MARGIN].reshape(-1, 3).astype(int)
    assert (grid.max(axis=1) - grid.min(axis=1) > 60).any()


def test_class_and_function_and_generator_give_the_same_bytes():
    depths = [sphere(40, 60, distance) for distance in (1.5, 1.7, 2.0)]
    sheet = ContactSheet(3, kind="ray")
    for index in (2, 0, 1):
        sheet.add(index, depths[index])
    expected = contact_sheet(np.array(depths), kind="ray")
    np.testing.assert_array_equal(sheet.image(), expected)
    np.testing.assert_array_equal(contact_sheet((d for d in depths), kind="ray"), expected)


def test_input_is_not_modified():
    depth = sphere(300, 300)
    before = depth.tobytes()
    depth.flags.writeable = False
    contact_sheet([depth], kind="z")
    assert depth.tobytes() == before


def test_views_not_added_leave_their_cells_empty():
    sheet = ContactSheet(2, kind="z")
    sheet.add(1, sphere(64, 64))
    first, second = cells(sheet.image(), 2, 256)
    assert is_colour(first, sheets.SHEET_COLOUR).all()
    assert not is_colour(second, sheets.SHEET_COLOUR).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_views": 0}, "n_views is 0; expected at least 1"),
        ({"kind": "depth"}, "kind is 'depth'; expected 'z' or 'ray'"),
        ({"titles": ["a"]}, "1 titles for 2 views"),
        ({"range": (2.0, 1.0)}, r"range is \(2.0, 1.0\); expected \(near, far\), finite"),
        ({"range": (1.0, np.inf)}, "range is"),
        ({"range": (np.nan, 1.0)}, "range is"),
        ({"range": (1.0,)}, "range is"),
    ],
)
def test_wrong_argument_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        ContactSheet(**{"n_views": 2, "kind": "z", **arguments})


@pytest.mark.parametrize(
    ("index", "depth", "said"),
    [
        (2, sphere(4, 4), "index is 2; expected 0 to 1"),
        (-1, sphere(4, 4), "index is -1"),
        (1, sphere(4, 5), r"view 1 has shape \(4, 5\); expected \(4, 4\) like the others"),
        (1, np.ones((4, 4), dtype=np.uint16), "view 1 is uint16 of shape"),
        (1, np.ones((1, 4, 4)), r"shape \(1, 4, 4\); expected float of shape \(height, width\)"),
        (1, np.ones((0, 4)), r"shape \(0, 4\)"),
    ],
)
def test_wrong_view_is_refused(index, depth, said):
    sheet = ContactSheet(2, kind="z")
    sheet.add(0, sphere(4, 4))
    with pytest.raises(ValueError, match=said):
        sheet.add(index, depth)


def test_sheet_without_views_is_refused():
    with pytest.raises(ValueError, match="no view was added"):
        ContactSheet(2, kind="z").image()
    with pytest.raises(ValueError, match="n_views is 0"):
        contact_sheet([], kind="z")
