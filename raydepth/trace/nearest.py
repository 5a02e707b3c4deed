"""The nearest face along any ray, one ray at a time, on the eight-wide hierarchy (wide.py).

Like the tile kernel, it tests eight boxes or eight faces at a time in float32. This only saves
work: each face that is not surely missed goes to `kernels.hit_distance` in float64. The result is,
bit for bit, the one of calling `hit_distance` for every face.

In float32 a ray begins near the mesh, within 3.5 of the local origin, and the largest component of
its direction is 1 or -1. So all numbers are small, and the bounds on their errors are constants.
"""

from __future__ import annotations

import math

import numpy as np

from raydepth.accel.nodes import (
    WIDTH,
    centres,
    coordinates,
    face_at,
    half_extents,
    lanes_in_use,
    leaf_of,
    link_at,
)
from raydepth.kernels import axes_of, shear, signed_distance
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    bits,
    fma,
    integers,
    lowest_bit,
    magnitude,
    splat,
    stack_float32,
    stack_int32,
    store,
    vmax,
    vmin,
)

f4 = np.float32

# Each of at most bvh.MAX_DEPTH levels adds seven entries; the root has eight.
STACK = 512
ULP = 2.0**-24
# The mesh lies within this distance of the local origin.
RADIUS = math.sqrt(3.0) + 1e-6
# A component of the direction below 1 / STEEP moves a ray by less than float32's resolution.
STEEP = 1e30
# Where the rounding of a ray's position exceeds this, the local frame is too small to be hit by
# other than chance. A bound that lets every face pass; its square is a float32.
FAR = 1.0
ALL = f4(1e18)

# Bounds on errors, in lengths of the local frame. There a ray begins within 3.5 of the origin, so
# no difference of coordinates is above 4.5. For the place where a ray crosses a slab the roundings
# are, in ULP: of the ray's beginning 3.5, of the difference 4.5, of the reciprocal and the product
# 3 * 4.5, of the half extent 4, of adding it 6.
BOX_ERROR = 40.0 * ULP
# For a vertex in the frame in which the ray is the z axis they are: of the float32 vertex 1 ULP, of
# the ray's beginning 3.5, of the difference 4.5, of z 9 times a shear of at most 1, of the shear
# 4.5, of the sum 9.
POINT_ERROR = 32.0 * ULP


@jit(forceinline=True)
def _inverse(part):
    return f4(1.0) / f4(part) if abs(part) > 1.0 / STEEP else f4(STEEP)


@jit(forceinline=True)
def enter_children(nodes, node, start, inverse, margin, t_begin, t_end, entered):
    """Fill `entered`: the least t at which a ray may enter each of a node's eight children.

    Returns the bits of the children to visit.
    """
    # The slab test. Boxes grow by `margin`, so that rounding never loses a face; the half extent
    # -inf of an unused child fails the test.
    x, y, z = centres(nodes, node)
    half_x, half_y, half_z = half_extents(nodes, node)
    x, y, z = (x - start[0]) * inverse[0], (y - start[1]) * inverse[1], (z - start[2]) * inverse[2]
    half_x = (half_x + margin) * abs(inverse[0])
    half_y = (half_y + margin) * abs(inverse[1])
    half_z = (half_z + margin) * abs(inverse[2])
    near = vmax(vmax(x - half_x, y - half_y), vmax(z - half_z, splat(t_begin, WIDTH)))
    far = vmin(vmin(x + half_x, y + half_y), vmin(z + half_z, splat(t_end, WIDTH)))
    store(entered, 0, near)
    return bits(near <= far)


@jit(forceinline=True)
def _sheared(leaves, leaf, corner, start, axes, shears):
    """One vertex of each of eight faces, in the frame in which the ray is the z axis."""
    kx, ky, kz = axes
    z = coordinates(leaves, leaf, corner, kz) - start[kz]
    x = fma(z, shears[0], coordinates(leaves, leaf, corner, kx) - start[kx])
    y = fma(z, shears[1], coordinates(leaves, leaf, corner, ky) - start[ky])
    return x, y, z


@jit(forceinline=True)
def may_hit(leaves, leaf, start, axes, shears, forward, error, t_begin, t_end):
    """Return the bits of the leaf's faces that the ray may meet between `t_begin` and `t_end`."""
    ax, ay, az = _sheared(leaves, leaf, 0, start, axes, shears)
    bx, by, bz = _sheared(leaves, leaf, 1, start, axes, shears)
    cx, cy, cz = _sheared(leaves, leaf, 2, start, axes, shears)
    u = cx * by - cy * bx
    v = ax * cy - ay * cx
    w = bx * ay - by * ax
    size = vmax(
        vmax(vmax(magnitude(ax), magnitude(ay)), vmax(magnitude(bx), magnitude(by))),
        vmax(magnitude(cx), magnitude(cy)),
    )
    # The error of a difference of two products: their factors are off by `error`, and there are
    # three roundings.
    bound = size * fma(size, f4(4.0 * ULP), splat(f4(4.5) * error, WIDTH)) + f4(8.0) * error * error
    least = vmin(vmin(u, v), w)
    most = vmax(vmax(u, v), w)
    # A face is met from either side: no edge function is surely negative, or none surely positive.
    inside = (least >= f4(0.0) - bound) | (most <= bound)
    az, bz, cz = az * forward, bz * forward, cz * forward
    nearest = vmin(vmin(az, bz), cz)
    farthest = vmax(vmax(az, bz), cz)
    return bits(inside & (nearest <= t_end + error) & (farthest >= t_begin - error))


@jit(forceinline=True)
def in_float32(origin, direction, t_min, start, inverse):
    """Convert a ray to float32 for the functions above; check that it comes near the mesh.

    Fills `start` and `inverse`, three float32 each. Returns, in this order: True if the ray comes
    near the mesh, the three axes, two shears, the direction's sign along the last axis, the bounds
    on errors of boxes and of points, `begin`, `length`, and the t in float32 at which to begin.
    A t of the ray itself is `t * length - begin` in float32.
    """
    axes = axes_of(direction)
    kx, ky, kz = axes
    length = abs(direction[kz])
    if length == 0.0:
        none = f4(0.0)
        return False, axes, (none, none), none, none, none, 0.0, length, none
    dx, dy, dz = direction[0] / length, direction[1] / length, direction[2] / length
    ox, oy, oz = origin[0], origin[1], origin[2]
    squared = dx * dx + dy * dy + dz * dz
    closest = -(ox * dx + oy * dy + oz * dz) / squared
    # The rounding of float64 matters when the ray comes from far away.
    rounding = 2.0**-48 * (abs(ox) + abs(oy) + abs(oz))
    reach = RADIUS + rounding
    x, y, z = ox + closest * dx, oy + closest * dy, oz + closest * dz
    near = x * x + y * y + z * z <= reach * reach and closest >= -reach
    if not rounding <= FAR:
        # Float64 cannot tell where the ray passes the mesh, and float32 would overflow. So nothing
        # is surely missed: every face is tested in float64.
        start[0], start[1], start[2] = f4(0.0), f4(0.0), f4(0.0)
        inverse[0], inverse[1], inverse[2] = _inverse(dx), _inverse(dy), _inverse(dz)
        shears = (f4(-direction[kx] / direction[kz]), f4(-direction[ky] / direction[kz]))
        return True, axes, shears, f4(1.0), ALL, ALL, 0.0, length, f4(0.0) - ALL
    # A ray from far away is moved forward to where the mesh may begin, so that float32 suffices.
    begin = max(0.0, closest - reach)
    start[0], start[1], start[2] = f4(ox + begin * dx), f4(oy + begin * dy), f4(oz + begin * dz)
    inverse[0], inverse[1], inverse[2] = _inverse(dx), _inverse(dy), _inverse(dz)
    forward = f4(1.0) if direction[kz] > 0.0 else f4(-1.0)
    shears = (f4(-direction[kx] / direction[kz]), f4(-direction[ky] / direction[kz]))
    margin, error = f4(BOX_ERROR + rounding), f4(POINT_ERROR + rounding)
    t_begin = f4(max(t_min * length - begin, 0.0)) - error
    return near, axes, shears, forward, margin, error, begin, length, t_begin


@jit(forceinline=True)
def put_in_order(stack_link, stack_t, base, stack_size, link, t):
    """Insert a child into the stack from `base` on, the nearest on top; return the new size."""
    at = stack_size
    while at > base and stack_t[at - 1] < t:
        stack_link[at] = stack_link[at - 1]
        stack_t[at] = stack_t[at - 1]
        at -= 1
    stack_link[at] = np.int32(link)
    stack_t[at] = t
    return stack_size + 1


@jit
def nearest_face(nodes, leaves, vertices, faces, origin, direction, t_min):
    """Return the face that a ray meets first and its distance; -1 and +inf for a miss.

    The distance is in lengths of the direction. Of faces at the same distance, the one of lowest
    index counts. Faces nearer than `t_min` do not count; a face at `t_min` does.

    Parameters
    ----------
    nodes, leaves : pointers, see wide.py
    vertices, faces : pointers
    origin, direction : pointers to three float64, local frame
    t_min : float64
        In lengths of the direction, 0 or more.
    """
    best_t = np.inf
    best_face = np.int64(-1)
    start, inverse = stack_float32(3), stack_float32(3)
    near, axes, shears, forward, margin, error, begin, length, t_begin = in_float32(
        origin, direction, t_min, start, inverse
    )
    if not near:
        return best_face, best_t
    kx, ky, kz = axes
    t_end = f4(np.inf)

    links, leaf_faces = integers(nodes), integers(leaves)
    stack_link, stack_t = stack_int32(STACK), stack_float32(STACK)
    entered = stack_float32(WIDTH)
    stack_size = 0
    link = np.int64(0)
    while True:
        while link >= 0:
            todo = enter_children(nodes, link, start, inverse, margin, t_begin, t_end, entered)
            if todo == 0:
                break
            node = link
            lane = lowest_bit(todo)
            todo &= todo - 1
            link = link_at(links, node, lane)
            if todo == 0:
                continue
            # The nearest child is visited next. The others wait on the stack, the nearest on top.
            t = entered[lane]
            base = stack_size
            while todo != 0:
                lane = lowest_bit(todo)
                todo &= todo - 1
                other, t_other = link_at(links, node, lane), entered[lane]
                if t_other < t:
                    link, other = other, link
                    t, t_other = t_other, t
                stack_size = put_in_order(stack_link, stack_t, base, stack_size, other, t_other)
        if link < 0:
            leaf = leaf_of(link)
            todo = may_hit(leaves, leaf, start, axes, shears, forward, error, t_begin, t_end)
            todo &= lanes_in_use(link)
            while todo != 0:
                lane = lowest_bit(todo)
                todo &= todo - 1
                face = face_at(leaf_faces, leaf, lane)
                _, _, _, sx, sy = shear(direction)
                distance = signed_distance(
                    vertices, faces, face, origin, direction, kx, ky, kz, sx, sy
                )
                if distance >= t_min and (
                    distance < best_t or (distance == best_t and face < best_face)
                ):
                    best_t = distance
                    best_face = face
                    t_end = f4(distance * length - begin) + error
        # Drop waiting children that begin beyond the nearest hit so far.
        while stack_size > 0 and stack_t[stack_size - 1] > t_end:
            stack_size -= 1
        if stack_size == 0:
            break
        stack_size -= 1
        link = np.int64(stack_link[stack_size])
    return best_face, best_t
