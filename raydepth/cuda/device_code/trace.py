"""Find the face that a ray meets first, in float32 that decides only what it is sure of.

The result is the one that testing every face with `kernels.hit_distance` would give. Float32 spares
most of these tests: each of its own tests has a bound on its rounding error, derived here and in
beams.py, and a face that lies within the bound goes to `exact.hit_distance`.

In the comments below, u is 2^-24, half a unit in the last place of 1.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from raydepth.cuda.device_code import beams
from raydepth.cuda.device_code.beams import EDGE_M
from raydepth.cuda.device_code.exact import (
    address_in,
    hit_distance,
    pick,
    pixel_ray,
    signed_distance,
)
from raydepth.cuda.device_code.intrinsics import (
    as_int,
    fma,
    get,
    load_float4,
    opaque,
    put,
    reciprocal,
    stack_int32,
)
from raydepth.cuda.device_code.jobs import BEAMS, FACES, NODES, TRIANGLES, VERTICES
from raydepth.cuda.device_code.layout import COUNT_BITS, STACK

f4 = np.float32

# Float32 gives no distance to a face whose area is less than this many times the bound on the error
# of its edge functions.
SOUND = f4(12.0)
# The error of a distance: weights that are each off by B move it by 3B * range / (area - 3B), which
# is <= 4B * range / area; the vertices' distances are off by 16u, and sums of numbers up to 4.5
# round by another 25u.
WEIGHT_ERROR = f4(5.0)
DISTANCE_ERROR = f4(2.0**-18.5)
# A distance found in float64 is off, as float32, by one rounding of a number up to 4.5.
ROUNDED = f4(2.0**-20)

STACK_WORDS = 2 * STACK
COUNT_MASK = (1 << COUNT_BITS) - 1
NO_FACE = np.int32(-1)
DONE = np.int32(-(2**31))
SIGN = np.uint32(2**31)


@register_jitable
def _larger(a, b):
    return a if a > b else b


@register_jitable
def _smaller(a, b):
    return a if a < b else b


@register_jitable
def enter(cx, cy, cz, hx, hy, hz, ix, iy, iz, nx, ny, nz, best):
    """Return the distances at which a ray enters and leaves a box, as the bits of floats.

    The box has centre c and half extent h. i is the direction's reciprocal, and n is -o * i with
    the origin o. The ray meets the box if `enters <= leaves`: the bits of non-negative floats are
    ordered as the floats are, and a negative distance has negative bits. `layout.PAD` covers the
    rounding.
    """
    ax, ay, az = abs(ix), abs(iy), abs(iz)
    tx = fma(cx, ix, nx)
    ty = fma(cy, iy, ny)
    tz = fma(cz, iz, nz)
    enters = _larger(as_int(fma(-hx, ax, tx)), as_int(fma(-hy, ay, ty)))
    enters = _larger(_larger(enters, as_int(fma(-hz, az, tz))), np.int32(0))
    leaves = _smaller(as_int(fma(hx, ax, tx)), as_int(fma(hy, ay, ty)))
    leaves = _smaller(_smaller(leaves, as_int(fma(hz, az, tz))), best)
    return enters, leaves


@register_jitable
def sheared(x, y, z, px, py, pz, pc):
    return fma(x, px, fma(y, py, fma(z, pz, pc)))


# The verdicts of `judge`.
MISSED, MET, DOUBTFUL = 0, 1, 2


@register_jitable
def judge(ax, ay, bx, by, cx, cy, slack, least):
    """Tell whether a ray surely misses or meets a face, given the face's sheared vertices.

    The ray is the axis of the sheared frame. Bits of floats are compared in place of floats, so
    that one instruction compares three: read as signed integers, the largest is the most positive
    float; read as unsigned integers, it is the most negative one.

    Returns the verdict, the edge functions u, v, w, and the bound on their errors.
    """
    size = abs(ax) + abs(ay) + abs(bx) + abs(by) + abs(cx) + abs(cy)
    bound = fma(size, fma(size, EDGE_M, slack), least)
    u = fma(cx, by, -(cy * bx))
    v = fma(ax, cy, -(ay * cx))
    w = fma(bx, ay, -(by * ax))
    i, j, k, above = as_int(u), as_int(v), as_int(w), as_int(bound)
    x, y, z, below = np.uint32(i), np.uint32(j), np.uint32(k), np.uint32(above) | SIGN
    verdict = DOUBTFUL
    if _larger(_larger(i, j), k) > above and _larger(_larger(x, y), z) > below:
        verdict = MISSED
    elif _smaller(_smaller(i, j), k) > above or _smaller(_smaller(x, y), z) > below:
        verdict = MET
    return verdict, u, v, w, bound


@register_jitable
def distance_range(u, v, w, bound, a, b, c):
    """Return the least and the greatest distance of a face that is surely met.

    a, b and c are the distances of its vertices. Also returned is whether the range is known.
    """
    area = u + v + w
    inverse = reciprocal(area)
    along_b, along_c = b - a, c - a
    distance = a + (v * along_b + w * along_c) * inverse
    error = fma(WEIGHT_ERROR * bound * abs(inverse), abs(along_b) + abs(along_c), DISTANCE_ERROR)
    return distance - error, distance + error, abs(area) > SOUND * bound


@register_jitable
def _push(stack, top, link, enters):
    top = np.int32(top + 1)
    put(stack, 2 * top, link)
    put(stack, 2 * top + 1, enters)
    return top


@register_jitable
def _pop(stack, top, best_far):
    """Pop the next link that the ray enters before the best face; DONE is always entered, at 0."""
    link = get(stack, 2 * top)
    enters = get(stack, 2 * top + 1)
    top = np.int32(top - 1)
    while enters > as_int(best_far):
        link = get(stack, 2 * top)
        enters = get(stack, 2 * top + 1)
        top = np.int32(top - 1)
    return link, top


@register_jitable
def nearest_face(jobs, job, beam, lane, column, row):
    """Return the face that a pixel's ray meets first, or -1; of equally near ones the lowest index.

    The beam is one that float32 can trace. When float32 is in doubt about a face, the loop is left
    with `doubt` set, float64 decides, and the ray is set up again. So the two parts never hold
    registers at the same time.
    """
    nodes, triangles = address_in(jobs, job, NODES), address_in(jobs, job, TRIANGLES)
    best = NO_FACE
    best_near = best_far = f4(np.inf)
    stack = stack_int32(STACK_WORDS)
    put(stack, 0, DONE)
    put(stack, 1, np.int32(0))
    link = beams.link_of(address_in(jobs, job, BEAMS), beam)
    top = _push(stack, np.int32(0), link, np.int32(0))
    slot = end = np.int32(0)
    while True:
        p, q, r, (ix, iy, iz), (nx, ny, nz), slack, least, behind = beams.ray(
            address_in(jobs, job, BEAMS), beam, opaque(lane)
        )
        (px, py, pz, pc), (qx, qy, qz, qc), (rx, ry, rz, rc) = p, q, r

        doubt = NO_FACE
        while True:
            while slot < end:
                at = 3 * np.int64(slot)
                x0, y0, z0, number = load_float4(triangles, at)
                x1, y1, z1, _ = load_float4(triangles, at + 1)
                x2, y2, z2, _ = load_float4(triangles, at + 2)
                slot = np.int32(slot + 1)
                verdict, u, v, w, bound = judge(
                    sheared(x0, y0, z0, px, py, pz, pc), sheared(x0, y0, z0, qx, qy, qz, qc),
                    sheared(x1, y1, z1, px, py, pz, pc), sheared(x1, y1, z1, qx, qy, qz, qc),
                    sheared(x2, y2, z2, px, py, pz, pc), sheared(x2, y2, z2, qx, qy, qz, qc),
                    slack, least,
                )  # fmt: skip
                if verdict == MISSED:
                    continue
                doubt = as_int(number)
                if verdict == MET:
                    near, far, known = distance_range(
                        u, v, w, bound,
                        sheared(x0, y0, z0, rx, ry, rz, rc),
                        sheared(x1, y1, z1, rx, ry, rz, rc),
                        sheared(x2, y2, z2, rx, ry, rz, rc),
                    )  # fmt: skip
                    if known and far < best_near and near > behind:
                        best, best_near, best_far = doubt, near, far
                        doubt = NO_FACE
                    elif known and (near > best_far or far < behind):
                        doubt = NO_FACE
                if doubt >= 0:
                    break
            if doubt >= 0:
                break
            link, top = _pop(stack, top, best_far)
            while link >= 0:
                at = 4 * np.int64(link)
                cx, cy, cz, first = load_float4(nodes, at)
                hx, hy, hz, _ = load_float4(nodes, at + 1)
                enters_0, leaves_0 = enter(
                    cx, cy, cz, hx, hy, hz, ix, iy, iz, nx, ny, nz, as_int(best_far)
                )
                cx, cy, cz, second = load_float4(nodes, at + 2)
                hx, hy, hz, _ = load_float4(nodes, at + 3)
                enters_1, leaves_1 = enter(
                    cx, cy, cz, hx, hy, hz, ix, iy, iz, nx, ny, nz, as_int(best_far)
                )
                meets_0, meets_1 = enters_0 <= leaves_0, enters_1 <= leaves_1
                # Near child first.
                swap = meets_1 and (not meets_0 or enters_1 < enters_0)
                link = as_int(second) if swap else as_int(first)
                if meets_0 and meets_1:
                    later = as_int(first) if swap else as_int(second)
                    top = _push(stack, top, later, enters_0 if swap else enters_1)
                elif not (meets_0 or meets_1):
                    link, top = _pop(stack, top, best_far)
            if link == DONE:
                break
            slot = np.int32(~link >> COUNT_BITS)
            end = np.int32(slot + (~link & COUNT_MASK))
        if doubt < 0:
            return best

        ox, oy, oz, dx, dy, dz = pixel_ray(jobs, job, opaque(column), row)
        vertices, faces = address_in(jobs, job, VERTICES), address_in(jobs, job, FACES)
        t = hit_distance(vertices, faces, np.int64(doubt), ox, oy, oz, dx, dy, dz)
        if t < np.inf:
            t_best = np.inf
            if best >= 0:
                t_best = hit_distance(vertices, faces, np.int64(best), ox, oy, oz, dx, dy, dz)
            if t < t_best or (t == t_best and doubt < best):
                best = doubt
                axis, start = beams.start_of(address_in(jobs, job, BEAMS), beam)
                distance = f4((t - start) * abs(pick(axis, dx, dy, dz)))
                best_near, best_far = distance - ROUNDED, distance + ROUNDED


@register_jitable
def _slab(c, h, o, d, enters, leaves):
    """Cut (enters, leaves) of a ray to the part between planes c - h and c + h, in float64."""
    if d == 0.0:
        return (enters, leaves) if abs(c - o) <= h else (np.inf, -np.inf)
    a, b = (c - h - o) / d, (c + h - o) / d
    near, far = (a, b) if d > 0.0 else (b, a)
    return (near if near > enters else enters), (far if far < leaves else leaves)


@register_jitable
def _enter_exactly(nodes, at, ox, oy, oz, dx, dy, dz, slack, best):
    cx, cy, cz, link = load_float4(nodes, at)
    hx, hy, hz, _ = load_float4(nodes, at + 1)
    enters, leaves = _slab(np.float64(cx), np.float64(hx) + slack, ox, dx, 0.0, best)
    enters, leaves = _slab(np.float64(cy), np.float64(hy) + slack, oy, dy, enters, leaves)
    enters, leaves = _slab(np.float64(cz), np.float64(hz) + slack, oz, dz, enters, leaves)
    return as_int(link), enters <= leaves


@register_jitable
def walk_exactly(nodes, triangles, vertices, faces, ox, oy, oz, dx, dy, dz, t_min):
    """Do what `nearest_face` does for any origin and direction, in float64 throughout; slower.

    Faces nearer than `t_min` do not count. Returns the face and its distance, in lengths of the
    direction; -1 and +inf if there is none.
    """
    best, best_t = NO_FACE, np.inf
    # Distances are off by a few 2^-53 of themselves, and so by a few 2^-53 of the origin's distance
    # to the box.
    slack = 2.0**-48 * max(max(abs(ox), abs(oy)), abs(oz))
    stack = stack_int32(STACK)
    put(stack, 0, DONE)
    top = np.int32(0)
    link = np.int32(0) if dx != 0.0 or dy != 0.0 or dz != 0.0 else DONE
    while link != DONE:
        if link >= 0:
            at = 4 * np.int64(link)
            first, meets = _enter_exactly(nodes, at, ox, oy, oz, dx, dy, dz, slack, best_t)
            if meets:
                top = np.int32(top + 1)
                put(stack, top, first)
            second, meets = _enter_exactly(nodes, at + 2, ox, oy, oz, dx, dy, dz, slack, best_t)
            if meets:
                top = np.int32(top + 1)
                put(stack, top, second)
        else:
            slot = np.int64(~link >> COUNT_BITS)
            end = slot + np.int64(~link & COUNT_MASK)
            while slot < end:
                _, _, _, number = load_float4(triangles, 3 * slot)
                slot += 1
                face = as_int(number)
                t = signed_distance(vertices, faces, np.int64(face), ox, oy, oz, dx, dy, dz)
                closer = t < best_t or (t == best_t and face < best and best >= 0)
                if closer and t >= t_min:
                    best, best_t = face, t
        link = get(stack, top)
        top = np.int32(top - 1)
    return best, best_t
