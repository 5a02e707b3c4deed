"""The steps of the device's own builder: the work of thread `i` in each step.

It builds a linear BVH: faces are sorted along a space-filling curve, and the sorted codes give all
nodes of the hierarchy at once (Karras, "Maximizing Parallelism in the Construction of BVHs,
Octrees, and k-d Trees", 2012). The build takes about a hundred short steps without atomics or
barriers, so that each step also runs, and is tested, on the CPU. build.py runs them in order.

A box is eight float32: minimum, 0, negated maximum, 0, so that joining two is one minimum. The
boxes of nodes come from a tree of boxes over the sorted faces, in which each level joins pairs of
the level below. A node covers a range of faces, and its box is joined from a few boxes of that
tree.

The local frame, the lexicographic order of corners and the faces that are left out are those of
local_frame.py, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from raydepth.cuda.device_code.intrinsics import (
    add,
    as_float,
    get,
    load_float64,
    load_int64,
    mul,
    put,
    reload_float32,
    reload_int32,
    stack_int32,
    store_float32,
    store_float64,
    store_int32,
    sub,
)
from raydepth.cuda.device_code.layout import COUNT_BITS, PAD

f4 = np.float32

# The build's table, int64 and float64 words. Addresses:
WORLD, FACES = 0, 1  # as given: (n_vertices, 3) float64 or float32, (n_faces, 3) int32
VERTICES, CORNERS = 2, 3  # local frame, float64; corners in lexicographic order, int32
CODES = 4  # two of (n_faces,) int64, sorted from one to the other
ORDER = 6  # two of (n_faces,) int32
COUNTS = 8  # scans of digit counts, int32, level after level
BOXES = 9  # levels of boxes, (.., 8) float32; level 0 is in sorted order
FACE_BOXES = 10  # (n_faces, 8) float32
RANGES = 11  # (n_nodes, 4) int32: first and last face of the range, its split, 0
NODES, TRIANGLES = 12, 13  # layout.py
PARTIALS = 14  # (N_PARTIALS, 8) float64
# Numbers:
N_VERTICES, N_FACES, N_LIVE, IS_FLOAT32, BITS = 15, 16, 17, 18, 19
CENTRE, SCALE = 20, 23
BOX_LEVELS = 24  # where each level of boxes begins, 32 of them
WORDS = 56

# Threads that share the reading of all faces; each reads every N_PARTIALS-th.
N_PARTIALS = 1 << 14
# Faces, or counts, that one thread handles.
RUN = 64
DIGIT_BITS = 4
N_DIGITS = 1 << DIGIT_BITS
LAST_CODE = np.int64(2**62)  # of faces without an area; other codes are smaller


@register_jitable
def _address(build, word):
    return np.uint64(load_int64(build, word))


@register_jitable
def _corner(build, vertex, axis):
    """Return a coordinate as given, in float64."""
    if load_int64(build, IS_FLOAT32) != 0:
        return np.float64(reload_float32(_address(build, WORLD), 3 * vertex + axis))
    return load_float64(_address(build, WORLD), 3 * vertex + axis)


@register_jitable
def bounds(build, i):
    """Find part i of the bounds of all faces, and count their indices that are out of range."""
    n_faces, n_vertices = load_int64(build, N_FACES), load_int64(build, N_VERTICES)
    faces, partials = _address(build, FACES), _address(build, PARTIALS)
    low_x = low_y = low_z = np.inf
    high_x = high_y = high_z = -np.inf
    n_bad = 0.0
    at = 3 * np.int64(i)
    while at < 3 * n_faces:
        for corner in range(3):
            vertex = np.int64(reload_int32(faces, at + corner))
            if vertex < 0 or vertex >= n_vertices:
                n_bad += 1.0
                continue
            x, y, z = (
                _corner(build, vertex, 0),
                _corner(build, vertex, 1),
                _corner(build, vertex, 2),
            )
            # Not "less": NaN must not be lost.
            low_x = low_x if x >= low_x else x
            low_y = low_y if y >= low_y else y
            low_z = low_z if z >= low_z else z
            high_x = high_x if x <= high_x else x
            high_y = high_y if y <= high_y else y
            high_z = high_z if z <= high_z else z
        at += 3 * N_PARTIALS
    to = 8 * np.int64(i)
    store_float64(partials, to, low_x)
    store_float64(partials, to + 1, low_y)
    store_float64(partials, to + 2, low_z)
    store_float64(partials, to + 3, high_x)
    store_float64(partials, to + 4, high_y)
    store_float64(partials, to + 5, high_z)
    store_float64(partials, to + 6, n_bad)


@register_jitable
def localize(build, i):
    """Transform vertex i to the local frame."""
    vertices, scale = _address(build, VERTICES), load_float64(build, SCALE)
    for axis in range(3):
        x = sub(_corner(build, i, axis), load_float64(build, CENTRE + axis))
        # Adding 0 turns -0 into 0, as in local_frame.py.
        store_float64(vertices, 3 * i + axis, add(mul(x, scale), 0.0))


@register_jitable
def _before(vertices, i, j):
    """Return whether vertex i comes before vertex j in lexicographic order."""
    for axis in range(3):
        x, y = load_float64(vertices, 3 * i + axis), load_float64(vertices, 3 * j + axis)
        if x != y:
            return x < y
    return False


@register_jitable
def _has_area(vertices, i, j, k):
    ax, ay, az = (
        load_float64(vertices, 3 * i), load_float64(vertices, 3 * i + 1),
        load_float64(vertices, 3 * i + 2),
    )  # fmt: skip
    ux = sub(load_float64(vertices, 3 * j), ax)
    uy = sub(load_float64(vertices, 3 * j + 1), ay)
    uz = sub(load_float64(vertices, 3 * j + 2), az)
    vx = sub(load_float64(vertices, 3 * k), ax)
    vy = sub(load_float64(vertices, 3 * k + 1), ay)
    vz = sub(load_float64(vertices, 3 * k + 2), az)
    return mul(uy, vz) != mul(uz, vy) or mul(uz, vx) != mul(ux, vz) or mul(ux, vy) != mul(uy, vx)


@register_jitable
def _round_down(x):
    y = f4(x)
    if np.float64(y) > x:
        y = f4(y - f4(abs(y) * f4(2.0**-23) + f4(2.0**-126)))
    return y


@register_jitable
def _spread(x):
    """Move each bit b of 21 bits to bit 3b."""
    x = np.int64(x)
    x = (x | x << 32) & 0x1F00000000FFFF
    x = (x | x << 16) & 0x1F0000FF0000FF
    x = (x | x << 8) & 0x100F00F00F00F00F
    x = (x | x << 4) & 0x10C30C30C30C30C3
    return (x | x << 2) & 0x1249249249249249


@register_jitable
def encode(build, i):
    """Sort the corners of face i, find its box and its code on the curve."""
    faces, corners = _address(build, FACES), _address(build, CORNERS)
    vertices, boxes = _address(build, VERTICES), _address(build, FACE_BOXES)
    a = np.int64(reload_int32(faces, 3 * i))
    b = np.int64(reload_int32(faces, 3 * i + 1))
    c = np.int64(reload_int32(faces, 3 * i + 2))
    # The place of each corner is the number of corners before it; equal ones stay in order.
    ba, ca, cb = _before(vertices, b, a), _before(vertices, c, a), _before(vertices, c, b)
    place_a = np.int64(ba) + np.int64(ca)
    place_b = np.int64(1) - np.int64(ba) + np.int64(cb)
    store_int32(corners, 3 * i + place_a, np.int32(a))
    store_int32(corners, 3 * i + place_b, np.int32(b))
    store_int32(corners, 3 * i + 3 - place_a - place_b, np.int32(c))

    bits = load_int64(build, BITS)
    cells = np.float64(np.int64(1) << bits)
    code = np.int64(0)
    for axis in range(3):
        x = load_float64(vertices, 3 * a + axis)
        y = load_float64(vertices, 3 * b + axis)
        z = load_float64(vertices, 3 * c + axis)
        low, high = _round_down(min(min(x, y), z)), _round_down(-max(max(x, y), z))
        store_float32(boxes, 8 * i + axis, low)
        store_float32(boxes, 8 * i + 4 + axis, high)
        # The cell of the grid in which the middle of the box, -1 to 1, lies.
        cell = np.int64((0.25 * (np.float64(low) - np.float64(high)) + 0.5) * cells)
        cell = min(max(cell, np.int64(0)), (np.int64(1) << bits) - 1)
        code |= _spread(cell) << (2 - axis)
    store_float32(boxes, 8 * i + 3, f4(0.0))
    store_float32(boxes, 8 * i + 7, f4(0.0))
    if not _has_area(vertices, a, b, c):
        code = LAST_CODE
    _store_code(_address(build, CODES), i, code)
    store_int32(_address(build, ORDER), i, np.int32(i))


@register_jitable
def _store_code(codes, i, code):
    store_int32(codes, 2 * i, np.int32(code & 0xFFFFFFFF))
    store_int32(codes, 2 * i + 1, np.int32(code >> 32))


@register_jitable
def _load_code(codes, i):
    low = np.int64(np.uint32(reload_int32(codes, 2 * i)))
    return low | np.int64(reload_int32(codes, 2 * i + 1)) << 32


@register_jitable
def count_digits(build, i, shift, source):
    """Count how often each digit occurs in run i of the codes.

    The counts of all runs are stored digit by digit, so that their scan gives the place to which
    each run's digits go.
    """
    n = load_int64(build, N_FACES)
    n_runs = (n + RUN - 1) // RUN
    codes, counts = _address(build, CODES + source), _address(build, COUNTS)
    seen = stack_int32(N_DIGITS)
    for digit in range(N_DIGITS):
        put(seen, digit, np.int32(0))
    for at in range(RUN * i, min(RUN * i + RUN, n)):
        digit = (_load_code(codes, at) >> shift) & (N_DIGITS - 1)
        put(seen, digit, np.int32(get(seen, digit) + 1))
    for digit in range(N_DIGITS):
        store_int32(counts, digit * n_runs + i, get(seen, digit))


@register_jitable
def sum_counts(build, i, begin, n, to):
    """Sum run i of the n counts at `begin` into entry i at `to`."""
    counts = _address(build, COUNTS)
    total = np.int32(0)
    for at in range(begin + RUN * i, begin + min(RUN * i + RUN, n)):
        total = np.int32(total + reload_int32(counts, at))
    store_int32(counts, to + i, total)


@register_jitable
def scan_counts(build, i, begin, n, above):
    """Replace each count of run i by the sum of the counts before it.

    Entry i at `above` is the sum of all runs before run i. If `above` < 0, there is only one run.
    """
    counts = _address(build, COUNTS)
    total = reload_int32(counts, above + i) if above >= 0 else np.int32(0)
    for at in range(begin + RUN * i, begin + min(RUN * i + RUN, n)):
        count = reload_int32(counts, at)
        store_int32(counts, at, total)
        total = np.int32(total + count)


@register_jitable
def move_digits(build, i, shift, source):
    """Move run i of codes and faces to the places of their digits; equal ones stay in order."""
    n = load_int64(build, N_FACES)
    n_runs = (n + RUN - 1) // RUN
    counts = _address(build, COUNTS)
    codes, order = _address(build, CODES + source), _address(build, ORDER + source)
    to_codes, to_order = _address(build, CODES + 1 - source), _address(build, ORDER + 1 - source)
    next_of = stack_int32(N_DIGITS)
    for digit in range(N_DIGITS):
        put(next_of, digit, reload_int32(counts, digit * n_runs + i))
    for at in range(RUN * i, min(RUN * i + RUN, n)):
        code = _load_code(codes, at)
        digit = (code >> shift) & (N_DIGITS - 1)
        to = get(next_of, digit)
        put(next_of, digit, np.int32(to + 1))
        _store_code(to_codes, np.int64(to), code)
        store_int32(to_order, np.int64(to), reload_int32(order, at))


@register_jitable
def count_live(build, i, source):
    """Count part i of the faces that have an area."""
    n = load_int64(build, N_FACES)
    codes = _address(build, CODES + source)
    n_live = 0.0
    at = np.int64(i)
    while at < n:
        if _load_code(codes, at) < LAST_CODE:
            n_live += 1.0
        at += N_PARTIALS
    store_float64(_address(build, PARTIALS), 8 * np.int64(i), n_live)


@register_jitable
def place(build, i, source):
    """Write the i-th face in sorted order to its slot, and its box to the level of faces."""
    face = np.int64(reload_int32(_address(build, ORDER + source), i))
    triangles, corners = _address(build, TRIANGLES), _address(build, CORNERS)
    vertices, boxes = _address(build, VERTICES), _address(build, BOXES)
    face_boxes = _address(build, FACE_BOXES)
    for corner in range(3):
        vertex = np.int64(reload_int32(corners, 3 * face + corner))
        to = 12 * i + 4 * corner
        for axis in range(3):
            store_float32(triangles, to + axis, f4(load_float64(vertices, 3 * vertex + axis)))
        store_float32(triangles, to + 3, as_float(np.int32(face if corner == 0 else 0)))
    for column in range(8):
        store_float32(boxes, 8 * i + column, reload_float32(face_boxes, 8 * face + column))


@register_jitable
def join(build, i, below, n_below, to):
    """Join two of the n_below boxes at `below` to box i at `to`; positions are in boxes."""
    boxes = _address(build, BOXES)
    first = below + 2 * i
    second = first + 1 if 2 * i + 1 < n_below else first
    for column in range(8):
        a = reload_float32(boxes, 8 * first + column)
        b = reload_float32(boxes, 8 * second + column)
        store_float32(boxes, 8 * (to + i) + column, a if a < b else b)


@register_jitable
def _length(x):
    """Return the number of bits of x >= 0."""
    n = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if x >= np.int64(1) << step:
            x >>= step
            n += step
    return n + np.int64(x > 0)


@register_jitable
def common_prefix(codes, i, j, n):
    """Return the number of leading bits that the codes of sorted faces i and j share.

    Faces with equal codes are compared by index, too. If there is no face j, the result is -1.
    """
    if j < 0 or j >= n:
        return np.int64(-1)
    a, b = _load_code(codes, i), _load_code(codes, j)
    if a == b:
        return np.int64(128) - _length(i ^ j)
    return np.int64(64) - _length(a ^ b)


@register_jitable
def split(build, i, source):
    """Find the range of faces below node i, and its split. Source: Karras 2012, figure 4."""
    n = load_int64(build, N_LIVE)
    codes = _address(build, CODES + source)
    # One end of the range is i; it extends towards the neighbour that shares more bits with i.
    forward = common_prefix(codes, i, i + 1, n) > common_prefix(codes, i, i - 1, n)
    d = np.int64(1) if forward else np.int64(-1)
    least = common_prefix(codes, i, i - d, n)
    longest = np.int64(2)
    while common_prefix(codes, i, i + longest * d, n) > least:
        longest *= 2
    length = np.int64(0)
    step = longest >> 1
    while step > 0:
        if common_prefix(codes, i, i + (length + step) * d, n) > least:
            length += step
        step >>= 1
    j = i + length * d
    shared = common_prefix(codes, i, j, n)
    to = np.int64(0)
    step = length
    while step > 1:
        step = (step + 1) >> 1
        if common_prefix(codes, i, i + (to + step) * d, n) > shared:
            to += step
    middle = i + to * d + min(d, np.int64(0))
    ranges = _address(build, RANGES)
    store_int32(ranges, 4 * i, np.int32(min(i, j)))
    store_int32(ranges, 4 * i + 1, np.int32(max(i, j)))
    store_int32(ranges, 4 * i + 2, np.int32(middle))


@register_jitable
def _box_of(build, first, last, column):
    """Return a column of the box of sorted faces first to last."""
    boxes = _address(build, BOXES)
    least = f4(np.inf)
    level = np.int64(0)
    while first <= last:
        begin = load_int64(build, BOX_LEVELS + level)
        # A box at an end of the range whose pair reaches out of the range is taken by itself.
        if first & 1:
            x = reload_float32(boxes, 8 * (begin + first) + column)
            least = x if x < least else least
            first += 1
        if not last & 1:
            x = reload_float32(boxes, 8 * (begin + last) + column)
            least = x if x < least else least
            last -= 1
        first >>= 1
        last >>= 1
        level += 1
    return least


@register_jitable
def _write_child(build, i, side, first, last, node, leaf_size):
    """Write a child of node i: the box of its faces, and a leaf if they are few, else `node`."""
    nodes = _address(build, NODES)
    at = 16 * i + 8 * side
    for axis in range(3):
        low = _box_of(build, first, last, np.int64(axis))
        high = -_box_of(build, first, last, np.int64(axis + 4))
        centre = f4(f4(0.5) * f4(low + high))
        up, down = f4(high - centre), f4(centre - low)
        store_float32(nodes, at + axis, centre)
        store_float32(nodes, at + 4 + axis, f4((up if up > down else down) + PAD))
    n_faces = last - first + 1
    link = np.int32(node)
    if n_faces <= leaf_size:
        link = np.int32(~((first << COUNT_BITS) | n_faces))
    store_float32(nodes, at + 3, as_float(link))
    store_float32(nodes, at + 7, as_float(link))


@register_jitable
def write_node(build, i, leaf_size):
    """Write node i as layout.py has it. Subtrees of at most `leaf_size` faces become leaves."""
    n = load_int64(build, N_LIVE)
    if n <= leaf_size:
        # The tree is one leaf, which is both children of its node.
        _write_child(build, i, 0, np.int64(0), n - 1, np.int64(0), leaf_size)
        _write_child(build, i, 1, np.int64(0), n - 1, np.int64(0), leaf_size)
        return
    ranges = _address(build, RANGES)
    first = np.int64(reload_int32(ranges, 4 * i))
    last = np.int64(reload_int32(ranges, 4 * i + 1))
    middle = np.int64(reload_int32(ranges, 4 * i + 2))
    _write_child(build, i, 0, first, middle, middle, leaf_size)
    _write_child(build, i, 1, middle + 1, last, middle + 1, leaf_size)


STEPS = (
    "bounds", "localize", "encode", "count_digits", "sum_counts", "scan_counts", "move_digits",
    "count_live", "place", "join", "split", "write_node",
)  # fmt: skip


@register_jitable
def run_step(build, step, i, a, b, c):
    """Run step number `step` of STEPS for thread i."""
    if step == 0:
        bounds(build, i)
    elif step == 1:
        localize(build, i)
    elif step == 2:
        encode(build, i)
    elif step == 3:
        count_digits(build, i, a, b)
    elif step == 4:
        sum_counts(build, i, a, b, c)
    elif step == 5:
        scan_counts(build, i, a, b, c)
    elif step == 6:
        move_digits(build, i, a, b)
    elif step == 7:
        count_live(build, i, a)
    elif step == 8:
        place(build, i, a)
    elif step == 9:
        join(build, i, a, b, c)
    elif step == 10:
        split(build, i, a)
    else:
        write_node(build, i, a)
