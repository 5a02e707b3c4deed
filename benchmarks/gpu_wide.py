"""A kernel with a warp for a tile, for benchmarks/gpu.py to try.

The 32 lanes test the 32 children of a node, or as 32 pixels the faces of a leaf. All lanes walk
together, with one stack in shared memory. Boxes are tested against the tile's frustum (four planes
and the distance), faces as in raydepth's kernel. Votes and shuffles need a GPU, or the emulated one
of the tests.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, float32, int32, njit

from raydepth.cuda.device_code import beams, exact, threads, trace
from raydepth.cuda.device_code.intrinsics import (
    as_int,
    get,
    load_float4,
    load_float64,
    load_int32,
    put,
    reload_float32,
    stack_int32,
    store_int32,
)
from raydepth.cuda.device_code.jobs import (
    BEAMS,
    FACES,
    NODES,
    PROJECTION,
    TRIANGLE_ID,
    TRIANGLES,
    VERTICES,
    WORDS,
)
from raydepth.cuda.device_code.layout import COUNT_BITS

f4 = np.float32

WIDTH = 32
# Rows of a node, 32 float32 each: centre x, y, z, half extent x, y, z, link (int32 bits).
ROWS = 7
ENTRIES = 320
DOUBTS = 16
ALL = 0xFFFFFFFF


def collapse(nodes: np.ndarray) -> np.ndarray:
    """Return nodes (n, 7, 32) float32 of layout.py's binary tree, opening the largest first."""
    wide = np.zeros((len(nodes) // 4, ROWS, WIDTH), np.float32)
    return wide[: _collapse(nodes, nodes.view(np.int32), wide, wide.view(np.int32))].copy()


@njit
def _collapse(nodes, links, wide, wide_links):
    todo = np.empty((len(nodes) // 4, 2), np.int64)
    todo[0, 0] = todo[0, 1] = 0
    n_todo = n_wide = 1
    chosen = np.empty(WIDTH, np.int64)
    while n_todo > 0:
        n_todo -= 1
        to, node = todo[n_todo, 0], todo[n_todo, 1]
        chosen[0], chosen[1] = 2 * node, 2 * node + 1
        n = 2
        while n < WIDTH:
            best, largest = -1, np.float32(-1.0)
            for i in range(n):
                if links[2 * chosen[i], 3] >= 0:
                    h = nodes[2 * chosen[i] + 1]
                    area = h[0] * h[1] + h[1] * h[2] + h[2] * h[0]
                    if area > largest:
                        best, largest = i, area
            if best < 0:
                break
            inner = links[2 * chosen[best], 3]
            chosen[best], chosen[n] = 2 * inner, 2 * inner + 1
            n += 1
        for i in range(WIDTH):
            for axis in range(3):
                wide[to, axis, i] = nodes[2 * chosen[i], axis] if i < n else 0.0
                wide[to, 3 + axis, i] = nodes[2 * chosen[i] + 1, axis] if i < n else -np.inf
            if i < n:
                link = links[2 * chosen[i], 3]
                if link >= 0:
                    todo[n_todo, 0], todo[n_todo, 1] = n_wide, link
                    link = n_wide
                    n_todo += 1
                    n_wide += 1
                wide_links[to, 6, i] = link
    return n_wide


@cuda.jit(device=True)
def _plane(at, row, edge, sign):
    """Return the function sign * (row - edge * w) of a plane through the ray origins.

    The function is not negative on one side of the plane.
    """
    perspective = load_float64(at, 12)
    factor = sign * edge
    a = sign * load_float64(at, row) - factor * perspective * load_float64(at, 8)
    b = sign * load_float64(at, row + 1) - factor * perspective * load_float64(at, 9)
    c = sign * load_float64(at, row + 2) - factor * perspective * load_float64(at, 10)
    w = perspective * load_float64(at, 11) + (1.0 - perspective)
    return f4(a), f4(b), f4(c), f4(sign * load_float64(at, row + 3) - factor * w)


@cuda.jit(device=True)
def _reach(plane, cx, cy, cz, hx, hy, hz):
    """Return the largest value of a plane's function in a box, with its rounding error added."""
    a, b, c, d = plane
    slack = f4(8.0 * 2.0**-24) * (abs(a) + abs(b) + abs(c) + abs(d))
    middle = a * cx + b * cy + c * cz + d
    return middle + abs(a) * hx + abs(b) * hy + abs(c) * hz + slack


@cuda.jit(device=True)
def _least(a, b):
    return a if a < b else b


def find_visible_wide(jobs):
    job = np.int64(cuda.blockIdx.y)
    thread = np.int32(cuda.threadIdx.x)
    warp, lane = np.int32(thread >> 5), np.int32(thread & 31)
    column, row, pixel = threads.pixel_of(jobs, job, np.int32(cuda.blockIdx.x), thread)
    links = cuda.shared.array((4, ENTRIES), int32)
    entered = cuda.shared.array((4, ENTRIES), float32)
    nodes = exact.address_in(jobs, job, NODES)
    triangles = exact.address_in(jobs, job, TRIANGLES)

    # The tile's frustum, whose planes pass through the centres of its outermost pixels.
    at = np.uint64(jobs + np.uint64(8) * np.uint64(WORDS * job + PROJECTION))
    x0, y0 = np.float64(column - (lane & 7)) + 0.5, np.float64(row - (lane >> 3)) + 0.5
    left, right = _plane(at, 0, x0, 1.0), _plane(at, 0, x0 + 7.0, -1.0)
    upper, lower = _plane(at, 4, y0, 1.0), _plane(at, 4, y0 + 3.0, -1.0)
    # The negative of the distance: its largest value in a box is minus the least distance.
    offset = load_float64(at, 13) - 4.0
    nearer = (
        f4(-load_float64(at, 8)), f4(-load_float64(at, 9)), f4(-load_float64(at, 10)), f4(-offset)
    )  # fmt: skip

    beam = threads.beam_of(np.int32(cuda.blockIdx.x), thread)
    records = exact.address_in(jobs, job, BEAMS)
    kind = beams.kind_of(records, beam)
    if kind == beams.FLOAT64:
        return
    p, q, r, _, _, slack, least, behind = beams.ray(records, beam, lane)
    (px, py, pz, pc), (qx, qy, qz, qc), (rx, ry, rz, rc) = p, q, r
    ox, oy, oz, dx, dy, dz = exact.pixel_ray(jobs, job, column, row)
    axis, start = beams.start_of(records, beam)
    per, begin = f4(1.0 / abs(exact.pick(axis, dx, dy, dz))), f4(start)
    best = trace.NO_FACE
    best_near = best_far = f4(np.inf)
    # The distance along its ray up to which this lane's pixel can still see something.
    sees = f4(np.inf) if kind == beams.FLOAT32 and pixel >= 0 else f4(-np.inf)
    doubts = stack_int32(16)
    n_doubts = np.int32(0)

    if lane == 0:
        links[warp, 0] = 0
        entered[warp, 0] = f4(-np.inf)
    cuda.syncwarp()
    size = np.int32(1)
    while size > 0:
        size = np.int32(size - 1)
        link, enters = links[warp, size], entered[warp, size]
        cuda.syncwarp()
        if not cuda.any_sync(ALL, enters <= sees):
            continue
        if link >= 0:
            row_0 = np.int64(ROWS * WIDTH) * np.int64(link) + np.int64(lane)
            cx, cy = reload_float32(nodes, row_0), reload_float32(nodes, row_0 + WIDTH)
            cz, hx = (
                reload_float32(nodes, row_0 + 2 * WIDTH),
                reload_float32(nodes, row_0 + 3 * WIDTH),
            )
            hy, hz = (
                reload_float32(nodes, row_0 + 4 * WIDTH), reload_float32(nodes, row_0 + 5 * WIDTH)
            )  # fmt: skip
            child = load_int32(nodes, row_0 + 6 * WIDTH)
            inside = _least(
                _least(_reach(left, cx, cy, cz, hx, hy, hz), _reach(right, cx, cy, cz, hx, hy, hz)),
                _least(
                    _reach(upper, cx, cy, cz, hx, hy, hz), _reach(lower, cx, cy, cz, hx, hy, hz)
                ),
            )
            nearest = -_reach(nearer, cx, cy, cz, hx, hy, hz)
            # Numba returns a ballot as int32, whose sign bit would be extended.
            todo = np.uint32(cuda.ballot_sync(ALL, hx >= f4(0.0) and inside >= f4(0.0)))
            mine = np.uint32(1) << np.uint32(lane)
            # Push the farthest child first.
            while todo != 0:
                key = nearest if todo & mine else f4(-np.inf)
                for step in (16, 8, 4, 2, 1):
                    other = cuda.shfl_xor_sync(ALL, key, step)
                    key = other if other > key else key
                chosen = cuda.ballot_sync(ALL, todo & mine != 0 and nearest == key)
                first = cuda.ffs(chosen) - 1
                if lane == first:
                    links[warp, size] = child
                    entered[warp, size] = nearest
                size = np.int32(size + 1)
                todo ^= np.uint32(1) << np.uint32(first)
            cuda.syncwarp()
            continue
        slot = np.int64(~link >> COUNT_BITS)
        end = slot + np.int64(~link & trace.COUNT_MASK)
        while slot < end:
            ax, ay, az, number = load_float4(triangles, 3 * slot)
            bx, by, bz, _ = load_float4(triangles, 3 * slot + 1)
            ex, ey, ez, _ = load_float4(triangles, 3 * slot + 2)
            slot += 1
            sheared = trace.sheared
            verdict, u, v, w, bound = trace.judge(
                sheared(ax, ay, az, px, py, pz, pc), sheared(ax, ay, az, qx, qy, qz, qc),
                sheared(bx, by, bz, px, py, pz, pc), sheared(bx, by, bz, qx, qy, qz, qc),
                sheared(ex, ey, ez, px, py, pz, pc), sheared(ex, ey, ez, qx, qy, qz, qc),
                slack, least,
            )  # fmt: skip
            if verdict == trace.MISSED:
                continue
            near, far, known = trace.distance_range(
                u, v, w, bound,
                sheared(ax, ay, az, rx, ry, rz, rc),
                sheared(bx, by, bz, rx, ry, rz, rc),
                sheared(ex, ey, ez, rx, ry, rz, rc),
            )  # fmt: skip
            if verdict == trace.MET and known:
                if far < best_near and near > behind:
                    best, best_near, best_far = as_int(number), near, far
                    if sees > f4(-np.inf):
                        sees = (best_far * per + begin) * f4(1.0 + 2.0**-18)
                    continue
                if near > best_far or far < behind:
                    continue
            if n_doubts < DOUBTS:
                put(doubts, np.int64(n_doubts), as_int(number))
                n_doubts = np.int32(n_doubts + 1)
    if pixel < 0:
        return
    vertices, faces = exact.address_in(jobs, job, VERTICES), exact.address_in(jobs, job, FACES)
    t_best = np.inf
    if n_doubts > 0 and best >= 0:
        t_best = exact.hit_distance(vertices, faces, np.int64(best), ox, oy, oz, dx, dy, dz)
    for i in range(n_doubts):
        face = get(doubts, i)
        t = exact.hit_distance(vertices, faces, np.int64(face), ox, oy, oz, dx, dy, dz)
        if t < t_best or (t == t_best and t < np.inf and face < best):
            best, t_best = face, t
    store_int32(exact.address_in(jobs, job, TRIANGLE_ID), pixel, best)
