"""The tile kernel: all rays of a 16x16 tile together, for perspective and orthographic cameras.

All rays of such a view share an origin or a direction. So two properties of a face are affine in
the coordinates (x, y) of a pixel: the side of each edge that the pixel lies on (edge functions),
and the *nearness* of the face there. Nearness is 1 / distance for perspective cameras (Olano and
Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997) and a constant minus the
distance for orthographic ones. A tile walks the eight-wide hierarchy (wide.py) front to back and
tests eight children, eight faces or sixteen pixels at a time, in float32.

Float32 only *saves work*; it never changes the result, because each test has a bound on its
rounding error. A face that surely covers a pixel and is surely nearer is taken. A face that surely
does not is skipped. Every case in between goes to `kernels.hit_distance` in float64. The result is,
bit for bit, the one of calling `hit_distance` for every face. A wider bound would only be slower.

The cost per pixel stays low where faces are smaller than pixels, because every entry on the stack
has a rectangle of pixels whose centres its projection can cover. A subtree that covers no pixel
centre is dropped. A subtree of few pixels is dropped once these see something nearer. So a tile
turns into single rays by itself.

Coordinates within a tile: x and y in pixels from the tile's centre, so that lane c of row r is at
(c - 7.5, r - 7.5). A rectangle is four bytes: first and last column, first and last row.
"""

from __future__ import annotations

import numpy as np

from raydepth.accel.nodes import (
    LEAF,
    NODE,
    WIDTH,
    centres,
    coordinates,
    face_at,
    half_extents,
    lanes_in_use,
    leaf_of,
    link_at,
)
from raydepth.kernels import hit_distance, pixel_ray, shear
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    bits,
    fma,
    greatest,
    integers,
    lanes_of,
    load,
    lowest_bit,
    pointer,
    prefetch,
    select,
    splat,
    stack_float32,
    stack_float64,
    stack_int32,
    store,
    truncate,
    vmax,
    vmin,
)
from raydepth.trace import view_frame

f4 = np.float32

LINE = 16  # float32 of a cache line
TILE = 16
# The size of the ring of leaves that wait for their data, and the most leaves that wait in it. They
# wait only if the mesh's leaves have more than BIG bytes: a smaller mesh is in the processor's
# caches, and there waiting would only delay the culling.
RING = 8
PATIENCE = 4
BIG = 1 << 23
# Each of at most bvh.MAX_DEPTH levels adds seven entries; the root has eight.
STACK = 512
ULP = f4(2.0**-24)

# The names of the counters of `visibility`.
WORK = ("nodes", "leaves", "faces", "exact tests")

# The view, as the kernel sees it: 18 float32. Rows of four map a point in the local frame to X, Y
# (pixels from the tile's centre, times the distance if PERSPECTIVE) and S, its distance (for an
# orthographic camera that is far away, its distance from a nearer plane).
X, Y, S = 0, 4, 8
PERSPECTIVE = 12  # 1 or 0
FARTHEST = 13  # orthographic: nearness is this minus S
ERROR = 14  # bounds on the rounding errors of X, Y and S
NEAREST = 17  # closer than this to the camera's plane, float32 is not used
VIEW = 18

# The numbers computed for the eight faces of a leaf: rows of eight float32. Edge functions are
# scaled so that the bound on their error is +-1; each is a * x + b * y + c.
EDGES = (0, 3 * WIDTH, 6 * WIDTH)
NEARNESS = 9 * WIDTH
SURELY = 12 * WIDTH  # a gain in nearness above this is sure
MAYBE = 13 * WIDTH  # with a gain below this, a face is surely not nearer
OUTSIDE = 14 * WIDTH  # an edge function below this is surely negative
SETUP = 15 * WIDTH

# The sum of two errors of nearness, which float32 knows to 2^-11 of itself (see _set_up_faces).
SURE = f4(2.0**-10)
# Bounds on nearness are raised by this factor before they are compared with a pixel's nearness.
NEARER = f4(1.0 + 2.0**-9)


@jit(forceinline=True)
def _affine(x, y, z, view, row):
    constant = splat(view[row + 3], WIDTH)
    return fma(x, view[row], fma(y, view[row + 1], fma(z, view[row + 2], constant)))


@jit(forceinline=True)
def _extent(x, y, z, view, row, error):
    """Half the range of `_affine` over boxes of half extents x, y, z, plus its rounding error."""
    x_part = fma(x, abs(view[row]), splat(error, WIDTH))
    return fma(z, abs(view[row + 2]), fma(y, abs(view[row + 1]), x_part))


@jit(forceinline=True)
def _first_lane(x):
    """The first lane at or after x, 0 to 17; in doubt the lane before it."""
    # ceil(x + 7.5) as 17 minus a truncated number that is not negative.
    return splat(17, WIDTH) - truncate(vmin(vmax(f4(9.0) - x, f4(0.0)), f4(17.0)) + f4(0.50001))


@jit(forceinline=True)
def _last_lane(x):
    """The last lane at or before x, -1 to 16; in doubt the lane after it."""
    # floor(x + 7.5), one too large until the end, so that truncation sees no negative number.
    return truncate(vmin(vmax(x + f4(8.5), f4(0.0)), f4(17.0)) + f4(0.00001)) - splat(1, WIDTH)


@jit(forceinline=True)
def _clip(x_low, x_high, y_low, y_high, unbounded, inside, rectangles):
    """Store the rectangles of pixels within these ranges and `inside`; return which lanes have any.

    Where `unbounded` is true, the rectangle is `inside` itself.
    """
    column_0 = splat(inside & 255, WIDTH)
    column_1 = splat((inside >> 8) & 255, WIDTH)
    row_0 = splat((inside >> 16) & 255, WIDTH)
    row_1 = splat((inside >> 24) & 255, WIDTH)
    first_column, last_column = _first_lane(x_low), _last_lane(x_high)
    first_row, last_row = _first_lane(y_low), _last_lane(y_high)
    first_column = select(unbounded | (first_column < column_0), column_0, first_column)
    last_column = select(unbounded | (last_column > column_1), column_1, last_column)
    first_row = select(unbounded | (first_row < row_0), row_0, first_row)
    last_row = select(unbounded | (last_row > row_1), row_1, last_row)
    columns = first_column + last_column * splat(1 << 8, WIDTH)
    rows = first_row + last_row * splat(1 << 8, WIDTH)
    store(rectangles, 0, columns + rows * splat(1 << 16, WIDTH))
    return (first_column <= last_column) & (first_row <= last_row)


@jit(forceinline=True)
def _visit_children(nodes, node, view, inside, nearness, rectangles):
    """Fill the rectangles and the greatest nearness of a node's eight children.

    Returns the bits of the children to visit.
    """
    x, y, z = centres(nodes, node)
    half_x, half_y, half_z = half_extents(nodes, node)
    # One of these is 1 and the other 0, so one formula serves both kinds of camera.
    perspective = view[PERSPECTIVE]
    flat = f4(1.0) - perspective
    distance = _affine(x, y, z, view, S)
    half_distance = _extent(half_x, half_y, half_z, view, S, view[ERROR + 2])
    near, far = distance - half_distance, distance + half_distance
    too_near = near <= view[NEAREST]
    # The bounds of X and Y over the box, each divided by the distance, nearest or farthest, that
    # makes the range widest.
    by_near = f4(1.0) / fma(near, perspective, splat(flat, WIDTH))
    by_far = f4(1.0) / fma(far, perspective, splat(flat, WIDTH))
    x_middle = _affine(x, y, z, view, X)
    x_half = _extent(half_x, half_y, half_z, view, X, view[ERROR])
    y_middle = _affine(x, y, z, view, Y)
    y_half = _extent(half_x, half_y, half_z, view, Y, view[ERROR + 1])
    x_low, x_high = x_middle - x_half, x_middle + x_half
    y_low, y_high = y_middle - y_half, y_middle + y_half
    zero = f4(0.0)
    # The rounding of the divisions, within the 17 pixels around the tile that matter.
    slack = f4(1e-5)
    covers = _clip(
        x_low * select(x_low >= zero, by_far, by_near) - slack,
        x_high * select(x_high >= zero, by_near, by_far) + slack,
        y_low * select(y_low >= zero, by_far, by_near) - slack,
        y_high * select(y_high >= zero, by_near, by_far) + slack,
        too_near, inside, rectangles,
    )  # fmt: skip
    most = fma(by_near, perspective, (view[FARTHEST] - near) * flat) * NEARER
    store(nearness, 0, select(too_near, f4(np.inf), most))
    return bits(covers & (far > zero))


@jit(forceinline=True)
def _project(leaves, leaf, corner, view):
    """Return a vertex of each face in the image (x, y), its distance, and the scale of X and Y."""
    x = coordinates(leaves, leaf, corner, 0)
    y = coordinates(leaves, leaf, corner, 1)
    z = coordinates(leaves, leaf, corner, 2)
    distance = _affine(x, y, z, view, S)
    flat = splat(f4(1.0) - view[PERSPECTIVE], WIDTH)
    scale = f4(1.0) / fma(distance, view[PERSPECTIVE], flat)
    return _affine(x, y, z, view, X) * scale, _affine(x, y, z, view, Y) * scale, distance, scale


@jit(forceinline=True)
def _set_up_faces(leaves, leaf, view, inside, setup, rectangles):
    """Project eight faces and compute their edge functions and nearness.

    Returns the bits of the faces that may cover a pixel of `inside` and, from bit WIDTH on, of the
    faces that are wholly in front of the camera. The other faces have no valid edge functions.
    """
    perspective = view[PERSPECTIVE]
    flat = f4(1.0) - perspective
    ax, ay, a_distance, a_scale = _project(leaves, leaf, 0, view)
    bx, by, b_distance, b_scale = _project(leaves, leaf, 1, view)
    cx, cy, c_distance, c_scale = _project(leaves, leaf, 2, view)

    zero = f4(0.0)
    x_low, x_high = vmin(vmin(ax, bx), cx), vmax(vmax(ax, bx), cx)
    y_low, y_high = vmin(vmin(ay, by), cy), vmax(vmax(ay, by), cy)
    near = vmin(vmin(a_distance, b_distance), c_distance)
    far = vmax(vmax(a_distance, b_distance), c_distance)
    too_near = near <= view[NEAREST]
    # The error of a projected vertex in pixels: the errors of X, Y and S carried through x = X / S,
    # and two more roundings.
    reach = vmax(x_high, zero - x_low) + vmax(y_high, zero - y_low)
    error_xy = view[ERROR] if view[ERROR] > view[ERROR + 1] else view[ERROR + 1]
    carried = fma(reach, view[ERROR + 2] * perspective, splat(error_xy, WIDTH))
    error = fma(carried, vmax(vmax(a_scale, b_scale), c_scale), reach * (f4(2.0) * ULP))
    covers = _clip(
        x_low - error, x_high + error, y_low - error, y_high + error, too_near, inside, rectangles
    )
    found = bits(covers & (far + view[ERROR + 2] > zero))
    if found == 0:
        return found

    # The edge functions are (b - p) x (c - p) and so on. Each is taken through a vertex, so that
    # large terms cancel in the coefficients. For a pixel p within the face's bounds, a vertex is at
    # most `size` away. Vertices that are off by `error` change an edge function by at most
    # 2 * error * size, and evaluating it rounds at most 12 times by ULP * size * (reach + 16).
    size = (x_high - x_low) + (y_high - y_low) + f4(2.0)
    bound = size * fma(error, f4(2.5), (reach + f4(16.0)) * (f4(12.0) * ULP))
    # Division by the bound makes every error at most 1, and the sign of the area makes the inside
    # positive for both windings.
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    scale = select(area >= zero, splat(f4(1.0), WIDTH), f4(-1.0)) / bound
    area = vmax(area, zero - area)
    a_dx, a_dy = (by - cy) * scale, (cx - bx) * scale
    b_dx, b_dy = (cy - ay) * scale, (ax - cx) * scale
    c_dx, c_dy = (ay - by) * scale, (bx - ax) * scale
    store(setup, EDGES[0], a_dx)
    store(setup, EDGES[0] + WIDTH, a_dy)
    store(setup, EDGES[0] + 2 * WIDTH, zero - (a_dx * bx + a_dy * by))
    store(setup, EDGES[1], b_dx)
    store(setup, EDGES[1] + WIDTH, b_dy)
    store(setup, EDGES[1] + 2 * WIDTH, zero - (b_dx * cx + b_dy * cy))
    store(setup, EDGES[2], c_dx)
    store(setup, EDGES[2] + WIDTH, c_dy)
    store(setup, EDGES[2] + 2 * WIDTH, zero - (c_dx * ax + c_dy * ay))

    # Nearness is the mean of the vertices' nearness, weighted by the edge functions over the area.
    # So its error is at most 4 * bound / area of its range, and 2^-13 of itself from the vertices'
    # distances (view[NEAREST] ensures that). For `sound` faces it is known to 2^-11.
    a_near = fma(a_scale, perspective, (view[FARTHEST] - a_distance) * flat)
    b_near = fma(b_scale, perspective, (view[FARTHEST] - b_distance) * flat)
    c_near = fma(c_scale, perspective, (view[FARTHEST] - c_distance) * flat)
    most = vmax(vmax(a_near, b_near), c_near)
    least = vmin(vmin(a_near, b_near), c_near)
    sound = (most - least) * bound * f4(4.0) < least * area * f4(2.0**-12)
    weight = bound / area
    dx = (a_dx * a_near + b_dx * b_near + c_dx * c_near) * weight
    dy = (a_dy * a_near + b_dy * b_near + c_dy * c_near) * weight
    # The other faces are seen nearly edge on: it is only sure which pixels they do not cover. The
    # sum of the edge functions is the area. If it is above 4, its sign is right. If not, the true
    # area is below 7, and so is each edge function of a pixel inside, for either winding.
    store(setup, NEARNESS, select(sound, dx, f4(0.0)))
    store(setup, NEARNESS + WIDTH, select(sound, dy, f4(0.0)))
    store(setup, NEARNESS + 2 * WIDTH, select(sound, a_near - (dx * ax + dy * ay), most * NEARER))
    tolerance = most * SURE
    store(setup, SURELY, select(sound, tolerance, f4(np.inf)))
    store(setup, MAYBE, select(sound, zero - tolerance, zero))
    store(setup, OUTSIDE, select(sound, splat(f4(-1.0), WIDTH), f4(-8.0)))
    return found | bits(near > view[NEAREST]) << WIDTH


@jit(forceinline=True)
def _is_open(pixel_nearness, rectangle, nearness):
    """True if a pixel of the rectangle does not yet see anything as near as `nearness`."""
    first_column, last_column = rectangle & 255, (rectangle >> 8) & 255
    first_row, last_row = (rectangle >> 16) & 255, (rectangle >> 24) & 255
    if last_column - first_column < 3:
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                if pixel_nearness[TILE * row + column] < nearness:
                    return True
        return False
    # All sixteen columns at once: open pixels beside the rectangle cost work, but do no harm.
    for row in range(first_row, last_row + 1):
        if bits(load(pixel_nearness, TILE * row, 16) < nearness) != 0:
            return True
    return False


@jit
def _test_exactly(
    vertices, faces, face, basis, column, row, pixel, seen, nearness, view, farthest, ray
):
    """Let `hit_distance` decide whether the pixel sees this face instead of the one it saw."""
    origin, direction = ray
    pixel_ray(basis, column, row, origin, direction)
    kx, ky, kz, sx, sy = shear(direction)
    t = hit_distance(vertices, faces, face, origin, direction, kx, ky, kz, sx, sy)
    if t == np.inf:
        return
    # The nearness of the face seen so far is only float32, so its distance is computed again.
    before = np.int64(seen[pixel])
    if before >= 0:
        t_before = hit_distance(vertices, faces, before, origin, direction, kx, ky, kz, sx, sy)
        if t > t_before or (t == t_before and face > before):
            return
    seen[pixel] = face
    nearness[pixel] = f4(1.0 / t) if view[PERSPECTIVE] != f4(0.0) else f4(farthest - t)


@jit(forceinline=True)
def _cover(
    lane, setup, face, rectangle, seen, nearness, x,
    vertices, faces, basis, x0, y0, view, farthest, ray, doubts,
):  # fmt: skip
    """Take a face for the pixels that it surely covers; test doubtful ones exactly.

    Returns the number of exact tests.
    """
    first_column, last_column = rectangle & 255, (rectangle >> 8) & 255
    first_row, last_row = (rectangle >> 16) & 255, (rectangle >> 24) & 255
    # The three edge functions and the nearness at y = 0, and their change from row to row.
    a = fma(x, setup[EDGES[0] + lane], splat(setup[EDGES[0] + 2 * WIDTH + lane], 16))
    b = fma(x, setup[EDGES[1] + lane], splat(setup[EDGES[1] + 2 * WIDTH + lane], 16))
    c = fma(x, setup[EDGES[2] + lane], splat(setup[EDGES[2] + 2 * WIDTH + lane], 16))
    near = fma(x, setup[NEARNESS + lane], splat(setup[NEARNESS + 2 * WIDTH + lane], 16))
    a_step = splat(setup[EDGES[0] + WIDTH + lane], 16)
    b_step = splat(setup[EDGES[1] + WIDTH + lane], 16)
    c_step = splat(setup[EDGES[2] + WIDTH + lane], 16)
    near_step = splat(setup[NEARNESS + WIDTH + lane], 16)
    outside = setup[OUTSIDE + lane]
    gain_surely = setup[SURELY + lane]
    gain_maybe = setup[MAYBE + lane]
    # The bounds on errors hold within the face's own rectangle, so other columns are masked out.
    columns = lanes_of((2 << last_column) - (1 << first_column), 16)
    some_doubt = np.int64(0)
    for row in range(first_row, last_row + 1):
        y = f4(row) - f4(7.5)
        inside = vmin(vmin(fma(a_step, y, a), fma(b_step, y, b)), fma(c_step, y, c))
        here = fma(near_step, y, near)
        before = load(nearness, TILE * row, 16)
        seen_before = load(seen, TILE * row, 16)
        gain = here - before
        surely = (inside > f4(1.0)) & (gain > gain_surely) & columns
        maybe = (inside > outside) & (gain > gain_maybe) & columns
        # Not select(surely, new, old): that becomes a masked store, from which the next face's load
        # of the same row cannot be forwarded.
        store(nearness, TILE * row, greatest(before, select(surely, here, f4(0.0))))
        store(seen, TILE * row, seen_before + select(surely, splat(face, 16) - seen_before, 0))
        unsure = bits(maybe) & ~bits(surely)
        doubts[row] = np.int32(unsure)
        some_doubt |= unsure
    if some_doubt == 0:
        return 0
    # The exact tests come after the loop, so that the loop keeps its vectors in registers.
    n_exact = 0
    for row in range(first_row, last_row + 1):
        doubtful = np.int64(doubts[row])
        while doubtful != 0:
            column = lowest_bit(doubtful)
            doubtful &= doubtful - 1
            n_exact += 1
            _test_exactly(
                vertices, faces, face, basis, x0 + column, y0 + row, TILE * row + column,
                seen, nearness, view, farthest, ray,
            )  # fmt: skip
    return n_exact


@jit
def _set_view(projection, x0, y0, view):
    """Fill `view` for the tile whose first pixel is (x0, y0)."""
    perspective = projection[view_frame.PERSPECTIVE]
    for i in range(4):
        # The tile's centre becomes the origin while numbers are float64: the result is small and
        # exact.
        constant = 1.0 if i == 3 else 0.0
        w = perspective * projection[view_frame.S + i] + (1.0 - perspective) * constant
        view[X + i] = f4(projection[view_frame.X + i] - (x0 + 0.5 * TILE) * w)
        view[Y + i] = f4(projection[view_frame.Y + i] - (y0 + 0.5 * TILE) * w)
        view[S + i] = f4(projection[view_frame.S + i])
    view[PERSPECTIVE] = f4(perspective)
    view[FARTHEST] = f4(projection[view_frame.S + 3] + view_frame.REACH)
    for row in range(3):
        # Coordinates are at most 1. The roundings are those of the coefficient, of the coordinate
        # and of three fused additions.
        size = f4(0.0)
        for i in range(4):
            size += abs(view[4 * row + i])
        view[ERROR + row] = f4(6.0) * ULP * size
    # At larger distances, S is known to 2^-13 of itself.
    view[NEAREST] = f4(8192.0) * view[ERROR + 2]


@jit
def _render_tile(
    nodes,
    leaves,
    vertices,
    faces,
    basis,
    projection,
    x0,
    y0,
    height,
    width,
    x,
    patience,
    ray,
    seen,
    work,
):
    """Find the face that each pixel of one tile sees: fill `seen` (256 int32), -1 for a miss."""
    nearness = stack_float32(256)
    stack_link = stack_int32(STACK)
    stack_nearness = stack_float32(STACK)
    stack_rectangle = stack_int32(STACK)
    child_nearness = stack_float32(WIDTH)
    rectangles = stack_int32(WIDTH)
    setup = stack_float32(SETUP)
    doubts = stack_int32(16)
    links, leaf_faces = integers(nodes), integers(leaves)
    view = stack_float32(VIEW)
    _set_view(projection, x0, y0, view)
    farthest = projection[view_frame.FARTHEST]
    for row in range(TILE):
        store(nearness, TILE * row, splat(f4(0.0), 16))
        store(seen, TILE * row, splat(-1, 16))
    if x0 + TILE > width or y0 + TILE > height:
        # Pixels beyond the image see something infinitely near, so that no work is done for them.
        for row in range(TILE):
            for column in range(TILE):
                if x0 + column >= width or y0 + row >= height:
                    nearness[TILE * row + column] = f4(np.inf)

    stack_link[0] = np.int32(0)
    stack_nearness[0] = f4(np.inf)
    stack_rectangle[0] = np.int32((TILE - 1) << 8 | (TILE - 1) << 24)
    stack_size = 1
    # Leaves whose data has been prefetched; first in, first out.
    ring_link = stack_int32(RING)
    ring_nearness = stack_float32(RING)
    ring_rectangle = stack_int32(RING)
    asked = tested = 0
    while True:
        if stack_size > 0:
            stack_size -= 1
            link = np.int64(stack_link[stack_size])
            inside = np.int64(stack_rectangle[stack_size])
            # Since this entry was pushed, its pixels may have seen something nearer.
            if not _is_open(nearness, inside, stack_nearness[stack_size]):
                continue
            if link >= 0:
                work[0] += 1
                todo = _visit_children(nodes, link, view, inside, child_nearness, rectangles)
                base = stack_size
                while todo != 0:
                    lane = lowest_bit(todo)
                    todo &= todo - 1
                    child = link_at(links, link, lane)
                    # Prefetch the child, so that its data has arrived when it leaves the stack.
                    if child >= 0:
                        for line in range(NODE // LINE):
                            prefetch(nodes, NODE * child + LINE * line)
                    elif patience == 0:
                        for line in range(LEAF // LINE):
                            prefetch(leaves, LEAF * leaf_of(child) + LINE * line)
                    # Insertion sort: the nearest child on top.
                    near = child_nearness[lane]
                    at = stack_size
                    while at > base and stack_nearness[at - 1] > near:
                        stack_link[at] = stack_link[at - 1]
                        stack_nearness[at] = stack_nearness[at - 1]
                        stack_rectangle[at] = stack_rectangle[at - 1]
                        at -= 1
                    stack_link[at] = np.int32(child)
                    stack_nearness[at] = near
                    stack_rectangle[at] = rectangles[lane]
                    stack_size += 1
                continue
            # A leaf of a big mesh waits for its data, while the walk goes on.
            if patience > 0:
                for line in range(LEAF // LINE):
                    prefetch(leaves, LEAF * leaf_of(link) + LINE * line)
                ring_link[asked % RING] = np.int32(link)
                ring_nearness[asked % RING] = stack_nearness[stack_size]
                ring_rectangle[asked % RING] = np.int32(inside)
                asked += 1
                if asked - tested <= patience:
                    continue
        elif asked == tested:
            break
        if patience > 0:
            link = np.int64(ring_link[tested % RING])
            inside = np.int64(ring_rectangle[tested % RING])
            tested += 1
            # While the leaf waited, its pixels may have seen something nearer.
            if not _is_open(nearness, inside, ring_nearness[(tested - 1) % RING]):
                continue
        work[1] += 1
        leaf = leaf_of(link)
        found = _set_up_faces(leaves, leaf, view, inside, setup, rectangles)
        in_front = found >> WIDTH
        todo = found & lanes_in_use(link)
        while todo != 0:
            lane = lowest_bit(todo)
            todo &= todo - 1
            face = face_at(leaf_faces, leaf, lane)
            rectangle = np.int64(rectangles[lane])
            work[2] += 1
            if (in_front >> lane) & 1:
                work[3] += _cover(
                    lane, setup, face, rectangle, seen, nearness, x,
                    vertices, faces, basis, x0, y0, view, farthest, ray, doubts,
                )  # fmt: skip
                continue
            # The face reaches through the camera's plane, where float32 cannot decide: all its
            # pixels are tested exactly, except those beyond the image.
            for row in range((rectangle >> 16) & 255, ((rectangle >> 24) & 255) + 1):
                for column in range(rectangle & 255, ((rectangle >> 8) & 255) + 1):
                    pixel = TILE * row + column
                    if nearness[pixel] < f4(np.inf):
                        work[3] += 1
                        _test_exactly(
                            vertices, faces, face, basis, x0 + column, y0 + row, pixel,
                            seen, nearness, view, farthest, ray,
                        )  # fmt: skip


@jit
def visibility(
    nodes, leaves, vertices, faces, basis, projection, first_row, last_row, triangle_id, work
):
    """Fill rows `first_row` to `last_row` of one view's `triangle_id`.

    Parameters
    ----------
    nodes, leaves : see wide.py
    vertices : (n_vertices, 3) float64, local frame
    faces : (n_faces, 3) int32
    basis : (6, 3) float64
        The view's ray basis in the local frame.
    projection : (14,) float64
        The inverse of `basis`, see view_frame.py.
    first_row : int
        A multiple of TILE.
    triangle_id : (height, width) int32
        A miss is -1.
    work : (4,) int64
        The counters named in `WORK`; this call adds to them.
    """
    height, width = triangle_id.shape
    patience = PATIENCE if leaves.nbytes > BIG else 0
    origin = stack_float64(3)
    direction = stack_float64(3)
    seen = stack_int32(256)
    lanes = stack_float32(16)
    for lane in range(TILE):
        lanes[lane] = f4(lane) - f4(7.5)
    for y0 in range(first_row, last_row, TILE):
        for x0 in range(0, width, TILE):
            _render_tile(
                pointer(nodes), pointer(leaves), pointer(vertices), pointer(faces),
                pointer(basis), pointer(projection), x0, y0, height, width,
                load(lanes, 0, 16), patience, (origin, direction), seen, pointer(work),
            )  # fmt: skip
            for row in range(y0, min(y0 + TILE, last_row)):
                if x0 + TILE <= width:
                    whole = load(seen, TILE * (row - y0), TILE)
                    store(pointer(triangle_id), row * width + x0, whole)
                else:
                    for column in range(x0, width):
                        triangle_id[row, column] = seen[TILE * (row - y0) + column - x0]
