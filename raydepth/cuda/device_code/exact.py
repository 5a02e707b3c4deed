"""The float64 maths of the CPU (kernels.py, depth.py), operation by operation, for CUDA devices.

Formulas and their order are the same, and each operation is rounded by itself (intrinsics.py), so
the bits are the CPU's. tests/cuda/test_cuda_maths.py compares them.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from raydepth.cuda.device_code.intrinsics import (
    add,
    div,
    load_float64,
    load_int32,
    load_int64,
    mul,
    sqrt,
    store_float32,
    store_float64,
    store_int32,
    store_uint16,
    sub,
)
from raydepth.cuda.device_code.jobs import (
    BASIS,
    FACES,
    MISFIT,
    MISS,
    PROJECTION,
    RAY,
    TO_WORLD,
    VALUES_PER_UNIT,
    VERTICES,
    WORDS,
    Z,
)
from raydepth.kernels import ABOVE, BELOW

# Dtypes of a depth output; each launch has one.
FLOAT32, FLOAT64, UINT16 = 0, 1, 2
MAX_VALUE = 65535.0


@register_jitable
def address_in(jobs, job, word):
    return np.uint64(load_int64(jobs, WORDS * job + word))


@register_jitable
def number_in(jobs, job, word):
    return load_float64(jobs, WORDS * job + word)


@register_jitable
def pick(axis, x, y, z):
    return x if axis == 0 else (y if axis == 1 else z)


@register_jitable
def _affine(jobs, word, x, y):
    """Return basis[0] + x * basis[3] + y * basis[6], where basis is the words from `word` on."""
    constant = load_float64(jobs, word)
    across = mul(x, load_float64(jobs, word + 3))
    return add(add(constant, across), mul(y, load_float64(jobs, word + 6)))


@register_jitable
def pixel_ray(jobs, job, column, row):
    """Compute `kernels.pixel_ray`: origin x, y, z, direction x, y, z."""
    at = WORDS * job + BASIS
    x, y = column + 0.5, row + 0.5
    return (
        _affine(jobs, at, x, y), _affine(jobs, at + 1, x, y), _affine(jobs, at + 2, x, y),
        _affine(jobs, at + 9, x, y), _affine(jobs, at + 10, x, y), _affine(jobs, at + 11, x, y),
    )  # fmt: skip


@register_jitable
def largest_axis(x, y, z):
    """Return the axis of the largest absolute component, the first of equal ones."""
    axis, largest = 0, abs(x)
    if abs(y) > largest:
        axis, largest = 1, abs(y)
    if abs(z) > largest:
        axis = 2
    return axis


@register_jitable
def _sheared(vertices, at, ox, oy, oz, kx, ky, kz, sx, sy):
    z = sub(load_float64(vertices, at + kz), pick(kz, ox, oy, oz))
    x = sub(sub(load_float64(vertices, at + kx), pick(kx, ox, oy, oz)), mul(sx, z))
    y = sub(sub(load_float64(vertices, at + ky), pick(ky, ox, oy, oz)), mul(sy, z))
    return x, y, z


@register_jitable
def edge_functions(vertices, faces, face, ox, oy, oz, dx, dy, dz):
    """Compute `kernels.shear` and `kernels.edge_functions`.

    Returns u, v, w, the weighted sum, and the direction's component along axis kz.
    """
    kz = largest_axis(dx, dy, dz)
    kx = kz + 1 if kz < 2 else 0
    ky = kx + 1 if kx < 2 else 0
    along = pick(kz, dx, dy, dz)
    sx = div(pick(kx, dx, dy, dz), along)
    sy = div(pick(ky, dx, dy, dz), along)
    i = 3 * np.int64(load_int32(faces, 3 * face))
    j = 3 * np.int64(load_int32(faces, 3 * face + 1))
    k = 3 * np.int64(load_int32(faces, 3 * face + 2))
    ax, ay, az = _sheared(vertices, i, ox, oy, oz, kx, ky, kz, sx, sy)
    bx, by, bz = _sheared(vertices, j, ox, oy, oz, kx, ky, kz, sx, sy)
    cx, cy, cz = _sheared(vertices, k, ox, oy, oz, kx, ky, kz, sx, sy)
    u = sub(mul(cx, by), mul(cy, bx))
    v = sub(mul(ax, cy), mul(ay, cx))
    w = sub(mul(bx, ay), mul(by, ax))
    return u, v, w, add(add(mul(u, az), mul(v, bz)), mul(w, cz)), along


@register_jitable
def signed_distance(vertices, faces, face, ox, oy, oz, dx, dy, dz):
    """Compute `kernels.signed_distance`: where the ray's line meets the face; +inf if nowhere."""
    u, v, w, weighted, along = edge_functions(vertices, faces, face, ox, oy, oz, dx, dy, dz)
    if (u < 0.0 or v < 0.0 or w < 0.0) and (u > 0.0 or v > 0.0 or w > 0.0):
        return np.inf
    area = add(add(u, v), w)
    if area == 0.0:
        return np.inf
    return add(div(weighted, mul(area, along)), 0.0)


@register_jitable
def hit_distance(vertices, faces, face, ox, oy, oz, dx, dy, dz):
    """Compute `kernels.hit_distance`: the face's distance on a pixel's ray; +inf for a miss."""
    t = signed_distance(vertices, faces, face, ox, oy, oz, dx, dy, dz)
    return t if t > 0.0 else np.inf


@register_jitable
def _dot(x, y, z, x_, y_, z_):
    return add(add(mul(x, x_), mul(y, y_)), mul(z, z_))


@register_jitable
def _basis_dot(jobs, at, x, y, z):
    """Return the dot product of (x, y, z) with three words of the job table."""
    return _dot(
        x, y, z, load_float64(jobs, at), load_float64(jobs, at + 1), load_float64(jobs, at + 2)
    )


@register_jitable
def _along(jobs, word, x, y):
    """Compute `lanes.along` for one axis: x * basis[3] + (basis[0] + y * basis[6])."""
    constant = add(load_float64(jobs, word), mul(y, load_float64(jobs, word + 6)))
    return add(mul(x, load_float64(jobs, word + 3)), constant)


@register_jitable
def distance(jobs, job, face, column, row):
    """Return the distance, in world units, that `depth.resolve` finds where a pixel sees `face`."""
    vertices, faces = address_in(jobs, job, VERTICES), address_in(jobs, job, FACES)
    i = 3 * np.int64(load_int32(faces, 3 * face))
    j = 3 * np.int64(load_int32(faces, 3 * face + 1))
    k = 3 * np.int64(load_int32(faces, 3 * face + 2))
    ax = load_float64(vertices, i)
    ay = load_float64(vertices, i + 1)
    az = load_float64(vertices, i + 2)
    ux = sub(load_float64(vertices, j), ax)
    uy = sub(load_float64(vertices, j + 1), ay)
    uz = sub(load_float64(vertices, j + 2), az)
    vx = sub(load_float64(vertices, k), ax)
    vy = sub(load_float64(vertices, k + 1), ay)
    vz = sub(load_float64(vertices, k + 2), az)
    nx = sub(mul(uy, vz), mul(uz, vy))
    ny = sub(mul(uz, vx), mul(ux, vz))
    nz = sub(mul(ux, vy), mul(uy, vx))
    basis = WORDS * job + BASIS
    x, y = column + 0.5, row + 0.5
    above = _dot(
        sub(ax, _along(jobs, basis, x, y)),
        sub(ay, _along(jobs, basis + 1, x, y)),
        sub(az, _along(jobs, basis + 2, x, y)),
        nx, ny, nz,
    )  # fmt: skip
    below = _dot(
        _along(jobs, basis + 9, x, y), _along(jobs, basis + 10, x, y),
        _along(jobs, basis + 11, x, y), nx, ny, nz,
    )  # fmt: skip
    t = div(above, below)
    # Trusted only within the range of the vertices' distances.
    projection = WORDS * job + PROJECTION
    a = _basis_dot(jobs, projection + 8, ax, ay, az)
    b = add(a, _basis_dot(jobs, projection + 8, ux, uy, uz))
    c = add(a, _basis_dot(jobs, projection + 8, vx, vy, vz))
    offset = sub(load_float64(jobs, projection + 13), 4.0)
    near = add(min(min(a, b), c), offset)
    far = add(max(max(a, b), c), offset)
    if not (t > 0.0 and mul(near, BELOW) <= t <= mul(far, ABOVE)):
        ox, oy, oz, dx, dy, dz = pixel_ray(jobs, job, column, row)
        u, v, w, weighted, along = edge_functions(vertices, faces, face, ox, oy, oz, dx, dy, dz)
        t = div(weighted, mul(add(add(u, v), w), along))
    return mul(t, number_in(jobs, job, TO_WORLD))


@register_jitable
def direction_length(jobs, job, column, row):
    """Return the factor that turns a distance in lengths of the pixel's ray into ray depth."""
    basis = WORDS * job + BASIS
    x, y = column + 0.5, row + 0.5
    dx, dy = _along(jobs, basis + 9, x, y), _along(jobs, basis + 10, x, y)
    dz = _along(jobs, basis + 11, x, y)
    return sqrt(_dot(dx, dy, dz, dx, dy, dz))


@register_jitable
def _rint(x):
    """Round x >= 0 to the nearest whole number, halves to even; beyond 2^52, x is one already."""
    return sub(add(x, 2.0**52), 2.0**52)


@register_jitable
def write_depth(jobs, job, output, pixel, depth, hit, dtype):
    """Store a pixel's depth, or its miss, in the launch's dtype."""
    if dtype == FLOAT32:
        store_float32(output, pixel, np.float32(depth))
    elif dtype == FLOAT64:
        store_float64(output, pixel, depth)
    else:
        # The value that `export.encode_uint16` makes of float32 depth.
        scale = number_in(jobs, job, VALUES_PER_UNIT)
        value = _rint(mul(np.float64(np.float32(depth)), scale)) if hit else 0.0
        if hit and not 1.0 <= value <= MAX_VALUE:
            store_int32(address_in(jobs, job, MISFIT), 0, np.int32(1))
            value = 0.0
        store_uint16(output, pixel, np.uint16(value))


@register_jitable
def resolve_pixel(jobs, job, face, column, row, pixel, dtype):
    """Store the requested depths of a pixel that sees `face`; -1 is a miss."""
    z, ray = address_in(jobs, job, Z), address_in(jobs, job, RAY)
    hit = face >= 0
    t = number_in(jobs, job, MISS)
    if hit:
        t = distance(jobs, job, np.int64(face), column, row)
    if z != np.uint64(0):
        write_depth(jobs, job, z, pixel, t, hit, dtype)
    if ray != np.uint64(0):
        if hit:
            t = mul(t, direction_length(jobs, job, column, row))
        write_depth(jobs, job, ray, pixel, t, hit, dtype)
