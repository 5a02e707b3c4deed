"""What a pixel sees besides depth: normals, barycentric weights, texture coordinates, side.

Like `kernels.resolve` it starts from the face of each pixel and works in float64 on eight pixels
of a row at a time, each value rounded once to the output's dtype. Corners are in the order of the
mesh's own faces, not in that of the hierarchy's.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from raydepth.kernels import (
    FITS,
    LANES,
    edge_functions,
    fetch_ahead,
    pixel_ray,
    put_channels,
    seen_by_eight,
    shear,
    turned,
    where,
)
from raydepth.simd import (
    bits,
    load,
    load_rows,
    lowest_bit,
    pointer,
    prefetch,
    root,
    select,
    splat,
    stack_float64,
    stack_int32,
    store_signs,
    vmax,
)

ALL = (1 << LANES) - 1
SCRATCH = 3 * LANES


@njit(cache=True, nogil=True, error_model="numpy")
def face_normals(vertices, faces, normals):
    """Fill `normals` (n_faces, 3) with unit vectors by each face's winding; 0 without an area.

    Seen from where the normal points to, the corners go round counterclockwise.
    """
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = _difference(vertices, b, a)
        vx, vy, vz = _difference(vertices, c, a)
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = math.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            length = 1.0
        normals[face, 0], normals[face, 1], normals[face, 2] = x / length, y / length, z / length


@njit(cache=True, nogil=True, error_model="numpy")
def vertex_normals(vertices, faces, normals_of_faces, normals):
    """Add up, for each vertex, the normals of its faces weighted by their angles there.

    `normals` (n_vertices, 3) is zeros before and unit vectors after, or 0 where the normals cancel
    out or no face is. Source: Thuermer, Wuethrich, "Computing Vertex Normals from Polygonal
    Facets", 1998.
    """
    for face in range(faces.shape[0]):
        for corner in range(3):
            here = faces[face, corner]
            ux, uy, uz = _difference(vertices, faces[face, (corner + 1) % 3], here)
            vx, vy, vz = _difference(vertices, faces[face, (corner + 2) % 3], here)
            x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            angle = math.atan2(math.sqrt(x * x + y * y + z * z), ux * vx + uy * vy + uz * vz)
            for axis in range(3):
                normals[here, axis] += angle * normals_of_faces[face, axis]
    for vertex in range(normals.shape[0]):
        x, y, z = normals[vertex, 0], normals[vertex, 1], normals[vertex, 2]
        length = math.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            for axis in range(3):
                normals[vertex, axis] /= length


@njit(cache=True, nogil=True, error_model="numpy")
def _difference(vertices, end, start):
    return (
        vertices[end, 0] - vertices[start, 0],
        vertices[end, 1] - vertices[start, 1],
        vertices[end, 2] - vertices[start, 2],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _pick(axis, vectors):
    if axis == 0:
        return vectors[0]
    if axis == 1:
        return vectors[1]
    return vectors[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _ray_vector(basis, first, x, y):
    """Origins (first 0) or directions (9) of a row's rays at x (a vector), as `pixel_ray`'s."""
    return (
        x * basis[first + 3] + basis[first] + y * basis[first + 6],
        x * basis[first + 4] + basis[first + 1] + y * basis[first + 7],
        x * basis[first + 5] + basis[first + 2] + y * basis[first + 8],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fetch_rows_ahead(table, seen):
    """Ask for the rows of the faces that the next eight pixels see."""
    for lane in range(LANES):
        face = np.int64(seen[LANES + lane])
        if face >= 0:
            prefetch(table, 3 * face)


@njit(cache=True, nogil=True, error_model="numpy")
def _mean(a, b, c, weights, axis):
    """One coordinate of three corners' rows, weighted."""
    return weights[0] * a[axis] + weights[1] * b[axis] + weights[2] * c[axis]


@njit(cache=True, nogil=True, error_model="numpy")
def _weights(vertices, corners, three, basis, row, column, seen, hits, origin, direction, scratch):
    """Barycentric weights of eight pixels, three vectors; anything for a miss.

    The same operations as `kernels.edge_functions`, so that no weight is below 0.
    """
    dx, dy, dz = direction
    ax, ay, az = vmax(dx, 0.0 - dx), vmax(dy, 0.0 - dy), vmax(dz, 0.0 - dz)
    second = bits(ay > ax)
    third = bits(az > vmax(ax, ay))
    if third == ALL or (third == 0 and (second == 0 or second == ALL)):
        kz = 2 if third != 0 else (1 if second != 0 else 0)
        kx = kz + 1 if kz < 2 else 0
        ky = kx + 1 if kx < 2 else 0
        along = _pick(kz, direction)
        sx = _pick(kx, direction) / along
        sy = _pick(ky, direction) / along
        ox, oy, oz = _pick(kx, origin), _pick(ky, origin), _pick(kz, origin)
        a = load_rows(vertices, three[0])
        b = load_rows(vertices, three[1])
        c = load_rows(vertices, three[2])
        az, bz, cz = _pick(kz, a) - oz, _pick(kz, b) - oz, _pick(kz, c) - oz
        ax, ay = _pick(kx, a) - ox - sx * az, _pick(ky, a) - oy - sy * az
        bx, by = _pick(kx, b) - ox - sx * bz, _pick(ky, b) - oy - sy * bz
        cx, cy = _pick(kx, c) - ox - sx * cz, _pick(ky, c) - oy - sy * cz
        u = cx * by - cy * bx
        v = ax * cy - ay * cx
        w = bx * ay - by * ax
    else:
        # Within the eight the axis changes that their rays run along most.
        one_origin = stack_float64(3)
        one_direction = stack_float64(3)
        for lane in range(3 * LANES):
            scratch[lane] = 1.0
        todo = hits
        while todo != 0:
            lane = lowest_bit(todo)
            todo &= todo - 1
            pixel_ray(basis, column + lane, row, one_origin, one_direction)
            kx, ky, kz, shear_x, shear_y = shear(one_direction)
            a1, b1, c1, _ = edge_functions(
                vertices, corners, np.int64(seen[lane]), one_origin, kx, ky, kz, shear_x, shear_y
            )
            scratch[lane], scratch[LANES + lane], scratch[2 * LANES + lane] = a1, b1, c1
        u = load(scratch, 0, LANES)
        v = load(scratch, LANES, LANES)
        w = load(scratch, 2 * LANES, LANES)
    per_area = 1.0 / (u + v + w)
    return u * per_area, v * per_area, w * per_area


@njit(cache=True, nogil=True, error_model="numpy")
def describe(basis, frame, first_row, last_row, triangle_id, tables, outputs):
    """Fill rows of the outputs from `triangle_id`; arrays without elements are not asked for.

    Parameters
    ----------
    basis : (6, 3) float64
        The view's ray basis in the local frame.
    frame : (15,) float64
        See `resolver.frames`.
    triangle_id : (height, width) int32
    tables : tuple
        vertices in the local frame, corners (of the mesh's own faces, int32), face normals, vertex
        normals, texture coordinates (u, v, 0) and the corners' places in them, int32; all else is
        float64, three numbers a row, with one more number at the end (see `load_rows`).
    outputs : (normal, normal_camera, smooth_normal, smooth_normal_camera, barycentric, uv, facing)
        (height, width, 3) float, uv (height, width, 2) float, facing (height, width) int8.
    """
    vertices, corners, of_faces, of_vertices, uv_table, uv_corners = tables
    normal, normal_camera, smooth, smooth_camera, barycentric, uv, facing = outputs
    flat_normals = normal.size + normal_camera.size + facing.size > 0
    smooth_normals = smooth.size + smooth_camera.size > 0
    weighted = smooth_normals or barycentric.size + uv.size > 0
    width = triangle_id.shape[1]
    large = vertices.nbytes + corners.nbytes > FITS
    vertex, corner, view, turn = (
        pointer(vertices),
        pointer(corners),
        pointer(basis),
        pointer(frame),
    )
    scratch = stack_float64(SCRATCH)
    last_ones = stack_int32(LANES)
    for lane in range(LANES):
        scratch[lane] = lane + 0.5
    lanes = load(scratch, 0, LANES)
    zero, nan = splat(0.0, LANES), splat(np.nan, LANES)
    nothing, unknown = (zero, zero, zero), (nan, nan, nan)
    for row in range(first_row, last_row):
        for column in range(0, width, LANES):
            at = row * width + column
            count = min(width - column, LANES)
            seen = seen_by_eight(triangle_id, at, count, last_ones)
            if column + 3 * LANES <= width:
                if weighted and large:
                    fetch_ahead(vertex, corner, seen)
                if of_faces.nbytes > FITS:
                    _fetch_rows_ahead(pointer(of_faces), seen)
            face = load(seen, 0, LANES)
            hit = face >= 0
            hits = bits(hit)
            front = back = hit  # of a miss neither
            flat = bent = nothing
            weights = unknown
            coordinates = unknown
            if hits != 0:
                face = select(hit, face, 0)
                x, y = lanes + float(column), row + 0.5
                direction = _ray_vector(view, 9, x, y)
                if flat_normals or smooth_normals:
                    flat = where(hit, load_rows(pointer(of_faces), face), nothing)
                if facing.size > 0:
                    nx, ny, nz = flat
                    dx, dy, dz = direction
                    towards = nx * dx + ny * dy + nz * dz
                    front, back = towards < 0.0, hit & (towards >= 0.0)
                if weighted:
                    three = load_rows(corner, face)
                    weights = _weights(
                        vertex, corner, three, view, row, column, seen, hits,
                        _ray_vector(view, 0, x, y), direction, scratch,
                    )  # fmt: skip
                    if smooth_normals:
                        table = pointer(of_vertices)
                        a = load_rows(table, three[0])
                        b = load_rows(table, three[1])
                        c = load_rows(table, three[2])
                        bx = _mean(a, b, c, weights, 0)
                        by = _mean(a, b, c, weights, 1)
                        bz = _mean(a, b, c, weights, 2)
                        length = root(bx * bx + by * by + bz * bz)
                        per_length = 1.0 / length
                        bent = (bx * per_length, by * per_length, bz * per_length)
                        # Where the corners' normals cancel out, the face has its own.
                        bent = where(hit, where(length > 0.0, bent, flat), nothing)
                    if uv.size > 0:
                        three = load_rows(pointer(uv_corners), face)
                        table = pointer(uv_table)
                        a = load_rows(table, three[0])
                        b = load_rows(table, three[1])
                        c = load_rows(table, three[2])
                        coordinates = (
                            _mean(a, b, c, weights, 0),
                            _mean(a, b, c, weights, 1),
                            nan,
                        )
                        coordinates = where(hit, coordinates, unknown)
                    weights = where(hit, weights, unknown)
            if normal.size > 0:
                put_channels(pointer(normal), at, flat, count, scratch)
            if normal_camera.size > 0:
                seen_normal = turned(turn, flat)
                put_channels(pointer(normal_camera), at, seen_normal, count, scratch)
            if smooth.size > 0:
                put_channels(pointer(smooth), at, bent, count, scratch)
            if smooth_camera.size > 0:
                seen_normal = turned(turn, bent)
                put_channels(pointer(smooth_camera), at, seen_normal, count, scratch)
            if barycentric.size > 0:
                put_channels(pointer(barycentric), at, weights, count, scratch)
            if uv.size > 0:
                pair = (coordinates[0], coordinates[1])
                put_channels(pointer(uv), at, pair, count, scratch)
            if facing.size > 0:
                _put_sides(pointer(facing), at, front, back, count)


@njit(cache=True, nogil=True, error_model="numpy")
def _put_sides(target, at, front, back, count):
    """1 where the front is seen, -1 where the back is, 0 for a miss."""
    if count == LANES:
        store_signs(target, at, front, back)
        return
    fronts, backs = bits(front), bits(back)
    for lane in range(count):
        target[at + lane] = np.int8(((fronts >> lane) & 1) - ((backs >> lane) & 1))


@njit(cache=True, nogil=True, error_model="numpy")
def look_up(table, first_row, last_row, triangle_id, output):
    """Fill rows of `output` (height, width) int32 with each face's number in a table; -1 = miss."""
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            face = triangle_id[row, column]
            output[row, column] = table[face] if face >= 0 else -1
