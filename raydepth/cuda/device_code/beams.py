"""Beams, the rays of 8x4 pixels together: prepared once in float64, to be traced in float32.

A warp traces a beam. The origins and directions of its rays are linear in the pixel's column and
row, and so is nearly everything that is computed from them: a thread finds its own ray by a few
float32 operations from the beam's record. Origins are moved towards the mesh, so that few digits
are needed. The rounding errors of all this are bounded here, in float64, for each beam. The beam
also goes down the hierarchy as long as only one child can be met, so that its rays begin there.

| row of 4 | columns 0-2                                      | column 3                       |
| -------- | ------------------------------------------------ | ------------------------------ |
| 0        | direction g in the middle, its component k is ±1 | int32: kind, axis k, is moved  |
| 1, 2     | ... its change per column, per row               | the slack of edge functions; p |
| 3        | origin o in the middle, moved                    | p, change per column           |
| 4, 5     | ... its change per column, per row               | p, change per row; q           |
| 6        | q, changes per column and row; then, as one float64, how far origins were moved   |
| 7        | int32: the node or leaf that rays begin at; 0; 0 | 0                              |

p and q are the constants of the two sheared coordinates, see `ray`.

Bounds are in units of u = 2^-24. Coordinates of the mesh are at most 1, so the mesh lies within
sqrt(3) of the local origin; coordinates of moved origins are at most NEAREST.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from raydepth.cuda.device_code.exact import largest_axis, pick
from raydepth.cuda.device_code.intrinsics import (
    as_float,
    as_int,
    div,
    fma,
    load_float4,
    load_float64,
    reciprocal,
    sqrt,
    store_float32,
    store_float64,
)
from raydepth.cuda.device_code.jobs import BASIS, WORDS

f4 = np.float32

WIDTH, HEIGHT = 8, 4
ROWS = 8
BYTES = 16 * ROWS

# The kind of a beam: no ray meets the mesh; float32 can trace it; float32 cannot.
NOTHING, FLOAT32, FLOAT64 = 0, 1, 2
AXIS_BIT, MOVED_BIT = 2, 4

# From the middle of a beam to the outermost pixels' centres.
FAR_COLUMN, FAR_ROW = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
BALL = 1.75
RADIUS = 1.7321  # a little more than the square root of 3
# Float32 is trusted with coordinates up to these: of moved origins, and of directions.
NEAREST = 3.5
STEEPEST = 1.25
# Farther origins cost float64 the digits that the bounds rely on.
FARTHEST_ORIGIN = 2.0**20
# A direction's component below this moves a ray by less than 12 * 2^-40 within the ball.
LEAST_SLOPE = f4(2.0**-40)

U = 2.0**-24
# The error e of a sheared coordinate. A_k and A_i are the largest absolute values of the two
# components of directions that are in it, and C is that of its constant. The error has these parts:
# u(A_k + A_i)/2, as the vertex is rounded; 3u(A_k + A_i) and 3uC, as stored numbers are rounded and
# then added to, twice; and three sums up to A_k + A_i + C.
ERROR_PER_DIRECTION, ERROR_PER_CONSTANT = 6.5, 6.0
LEAST_ERROR = 2.0**-28  # float64's own error, for origins up to FARTHEST_ORIGIN
# An edge function p*q' - p'*q of such coordinates, with M the sum of the six absolute values, is
# off by at most e*M + 2e^2 from the coordinates and u*M^2/2 from two roundings; M itself is off by
# some u. The bound is 0.75u*M^2 + slack*M + least, where slack is 1.25e and least is 4e^2.
EDGE_M = f4(0.75 * U)
SLACK_PER_ERROR = 1.25
LEAST_PER_SLACK = f4(4.0 / 1.25**2)


@register_jitable
def _most(middle, per_column, per_row):
    """Return the largest absolute value in a beam of a number that is linear in column and row."""
    return abs(middle) + FAR_COLUMN * abs(per_column) + FAR_ROW * abs(per_row)


@register_jitable
def _most_of_all(a, per_column, per_row):
    """Return the largest `_most` of the components of a vector."""
    return max(
        max(_most(a[0], per_column[0], per_row[0]), _most(a[1], per_column[1], per_row[1])),
        _most(a[2], per_column[2], per_row[2]),
    )


@register_jitable
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@register_jitable
def _length(a):
    return sqrt(_dot(a, a))


@register_jitable
def _at(a, per_column, per_row, x, y):
    return (
        a[0] + x * per_column[0] + y * per_row[0],
        a[1] + x * per_column[1] + y * per_row[1],
        a[2] + x * per_column[2] + y * per_row[2],
    )


@register_jitable
def _basis(jobs, word):
    return load_float64(jobs, word), load_float64(jobs, word + 1), load_float64(jobs, word + 2)


@register_jitable
def _times(a, factor):
    return a[0] * factor, a[1] * factor, a[2] * factor


@register_jitable
def _meets_nothing(o, o_column, o_row, g, g_column, g_row):
    """Return whether all rays of a beam surely miss the mesh's ball, or leave it behind."""
    spread = FAR_COLUMN * _length(o_column) + FAR_ROW * _length(o_row)
    widens = FAR_COLUMN * _length(g_column) + FAR_ROW * _length(g_row)
    far, length = _length(o), _length(g)
    if far - spread <= RADIUS or widens >= length:
        return False
    # The distance at which the middle ray's line passes the local origin. Unit directions differ by
    # at most 2|a - b| / (|a| + |b|).
    foot = div(-_dot(o, g), length * length)
    passes = _length(_at(o, g, g, foot, 0.0))
    if passes - spread - far * div(2.0 * widens, 2.0 * length - widens) > RADIUS:
        return True
    for x in (-FAR_COLUMN, FAR_COLUMN):
        for y in (-FAR_ROW, FAR_ROW):
            # "not >" instead of "<=": NaN counts as meeting.
            if not _dot(_at(o, o_column, o_row, x, y), _at(g, g_column, g_row, x, y)) > 0.0:
                return False
    return True


@register_jitable
def _move(o, o_column, o_row, g, g_column, g_row):
    """Return how far all origins can move towards the mesh without reaching its ball.

    The result is in lengths of g. The origins stop before the plane that touches the ball on their
    side and is perpendicular to the direction in the middle.
    """
    length = _length(g)
    nearest, fastest = -np.inf, 0.0
    for x in (-FAR_COLUMN, FAR_COLUMN):
        for y in (-FAR_ROW, FAR_ROW):
            nearest = max(nearest, div(_dot(_at(o, o_column, o_row, x, y), g), length))
            fastest = max(fastest, div(_dot(_at(g, g_column, g_row, x, y), g), length))
    return max(div(-BALL - nearest, fastest), 0.0)


@register_jitable
def _constant(k, i, g, o):
    """Return a sheared coordinate's constant: where the ray passes the local origin, on axis i."""
    return pick(i, g[0], g[1], g[2]) * pick(k, o[0], o[1], o[2]) - (
        pick(k, g[0], g[1], g[2]) * pick(i, o[0], o[1], o[2])
    )


@register_jitable
def _coordinate(k, i, o, o_column, o_row, g, g_column, g_row):
    """Return a sheared coordinate's constant, its changes per column and row, and its error."""
    c = _constant(k, i, g, o)
    c_column = _constant(k, i, g_column, o) + _constant(k, i, g, o_column)
    c_row = _constant(k, i, g_row, o) + _constant(k, i, g, o_row)
    slopes = 0.0
    for axis in (k, i):
        slopes += _most(
            pick(axis, g[0], g[1], g[2]), pick(axis, g_column[0], g_column[1], g_column[2]),
            pick(axis, g_row[0], g_row[1], g_row[2]),
        )  # fmt: skip
    error = ERROR_PER_DIRECTION * slopes + ERROR_PER_CONSTANT * _most(c, c_column, c_row)
    return c, c_column, c_row, U * error + LEAST_ERROR


@register_jitable
def _values_in_box(k, i, centre, half, g, constant):
    """Return the range of a sheared coordinate, or of its change, in a box: middle and half."""
    g_k, g_i = pick(k, g[0], g[1], g[2]), pick(i, g[0], g[1], g[2])
    v_k, v_i = pick(k, centre[0], centre[1], centre[2]), pick(i, centre[0], centre[1], centre[2])
    h_k, h_i = pick(k, half[0], half[1], half[2]), pick(i, half[0], half[1], half[2])
    return g_k * v_i - g_i * v_k + constant, abs(g_k) * h_i + abs(g_i) * h_k


@register_jitable
def _passes(k, i, centre, half, g, g_column, g_row, c, c_column, c_row):
    """Return whether sheared coordinate i shows that all rays of a beam pass a box on one side."""
    middle, reach = _values_in_box(k, i, centre, half, g, c)
    change, more = _values_in_box(k, i, centre, half, g_column, c_column)
    reach += FAR_COLUMN * (abs(change) + more)
    change, more = _values_in_box(k, i, centre, half, g_row, c_row)
    return abs(middle) > reach + FAR_ROW * (abs(change) + more)


@register_jitable
def _meets_child(nodes, at, k, i, j, g, g_column, g_row, p, p_column, p_row, q, q_column, q_row):
    """Return the child's link, and whether a ray of the beam may meet its box."""
    x, y, z, link = load_float4(nodes, at)
    centre = np.float64(x), np.float64(y), np.float64(z)
    x, y, z, _ = load_float4(nodes, at + 1)
    half = np.float64(x), np.float64(y), np.float64(z)
    passes = _passes(k, i, centre, half, g, g_column, g_row, p, p_column, p_row)
    passes = passes or _passes(k, j, centre, half, g, g_column, g_row, q, q_column, q_row)
    return as_int(link), not passes


@register_jitable
def _store_row(beams, row, a, b, c, d):
    store_float32(beams, 4 * row, f4(a))
    store_float32(beams, 4 * row + 1, f4(b))
    store_float32(beams, 4 * row + 2, f4(c))
    store_float32(beams, 4 * row + 3, f4(d))


@register_jitable
def set_up(jobs, job, nodes, beams, beam, column, row):
    """Write the record of a beam whose upper left pixel is (column, row)."""
    at = WORDS * job + BASIS
    x, y = np.float64(column) + 0.5 * WIDTH, np.float64(row) + 0.5 * HEIGHT
    o_column, o_row = _basis(jobs, at + 3), _basis(jobs, at + 6)
    o = _at(_basis(jobs, at), o_column, o_row, x, y)
    d_column, d_row = _basis(jobs, at + 12), _basis(jobs, at + 15)
    d = _at(_basis(jobs, at + 9), d_column, d_row, x, y)
    k = largest_axis(d[0], d[1], d[2])
    per = div(1.0, abs(pick(k, d[0], d[1], d[2])))
    g, g_column, g_row = _times(d, per), _times(d_column, per), _times(d_row, per)

    i, j = k + 1 if k < 2 else 0, k - 1 if k > 0 else 2
    p, p_column, p_row, p_error = _coordinate(k, i, o, o_column, o_row, g, g_column, g_row)
    q, q_column, q_row, q_error = _coordinate(k, j, o, o_column, o_row, g, g_column, g_row)
    far = _length(o) + FAR_COLUMN * _length(o_column) + FAR_ROW * _length(o_row)
    turns = _dot(d_column, d_column) + _dot(d_row, d_row) > 0.0
    shifts = _dot(o_column, o_column) + _dot(o_row, o_row) > 0.0
    passes = far <= FARTHEST_ORIGIN and _meets_nothing(o, o_column, o_row, g, g_column, g_row)
    start = _move(o, o_column, o_row, g, g_column, g_row) * per
    o, o_column = _at(o, d, d, start, 0.0), _at(o_column, d_column, d_column, start, 0.0)
    o_row = _at(o_row, d_row, d_row, start, 0.0)
    # If both origins and directions change, the constants of sheared coordinates are not linear.
    trusted = (
        far <= FARTHEST_ORIGIN
        and _most_of_all(o, o_column, o_row) <= NEAREST
        and _most_of_all(g, g_column, g_row) <= STEEPEST
        and not (turns and shifts)
    )
    kind = NOTHING if passes else (FLOAT32 if trusted else FLOAT64)
    link = np.int32(0)
    # The rays begin at the last node above which only one child could be met.
    while kind == FLOAT32 and link >= 0:
        at = 4 * np.int64(link)
        first, meets_first = _meets_child(
            nodes, at, k, i, j, g, g_column, g_row, p, p_column, p_row, q, q_column, q_row
        )
        second, meets_second = _meets_child(
            nodes, at + 2, k, i, j, g, g_column, g_row, p, p_column, p_row, q, q_column, q_row
        )
        if meets_first and meets_second:
            break
        if meets_first or meets_second:
            link = first if meets_first else second
        else:
            kind = NOTHING
    code = np.int32(kind | k << AXIS_BIT | (1 << MOVED_BIT if start > 0.0 else 0))
    slack = SLACK_PER_ERROR * max(p_error, q_error)

    at = np.int64(ROWS) * beam
    _store_row(beams, at, g[0], g[1], g[2], as_float(code))
    _store_row(beams, at + 1, g_column[0], g_column[1], g_column[2], slack)
    _store_row(beams, at + 2, g_row[0], g_row[1], g_row[2], p)
    _store_row(beams, at + 3, o[0], o[1], o[2], p_column)
    _store_row(beams, at + 4, o_column[0], o_column[1], o_column[2], p_row)
    _store_row(beams, at + 5, o_row[0], o_row[1], o_row[2], q)
    store_float32(beams, 4 * at + 24, f4(q_column))
    store_float32(beams, 4 * at + 25, f4(q_row))
    store_float64(beams, 2 * at + 13, start)
    _store_row(beams, at + 7, as_float(link), 0.0, 0.0, 0.0)


@register_jitable
def kind_of(beams, beam):
    """Return the kind of a beam: NOTHING, FLOAT32 or FLOAT64."""
    _, _, _, code = load_float4(beams, np.int64(ROWS) * beam)
    return as_int(code) & 3


@register_jitable
def link_of(beams, beam):
    """Return the node or leaf at which the beam's rays begin."""
    link, _, _, _ = load_float4(beams, np.int64(ROWS) * beam + 7)
    return as_int(link)


@register_jitable
def start_of(beams, beam):
    """Return axis k, and how far origins were moved, in lengths of each ray's direction."""
    _, _, _, code = load_float4(beams, np.int64(ROWS) * beam)
    axis = (as_int(code) >> AXIS_BIT) & 3
    return axis, load_float64(beams, np.int64(2 * ROWS) * beam + 13)


@register_jitable
def _linear(a, per_column, per_row, x, y):
    return fma(x, per_column, fma(y, per_row, a))


@register_jitable
def _slope(g):
    """Return a direction's component, or LEAST_SLOPE if it is too small for a reciprocal."""
    return LEAST_SLOPE if abs(g) < LEAST_SLOPE else g


@register_jitable
def ray(beams, beam, lane):
    """Return the ray of a beam's pixel; lanes are numbered row by row.

    Distances are measured along the axis k, so that the direction is g / |g_k|.

    Returns
    -------
    p, q : four float32 each; p . (v, 1) and q . (v, 1) are 0 for a point v on the ray. They are the
        sheared coordinates of v: in the plane of the other two axes, sheared along the ray and
        scaled by g_k (Woop, Benthin, Wald, "Watertight Ray/Triangle Intersection", 2013)
    r : four; r . (v, 1) is the distance of v
    i, n : three each; reciprocal of the direction, and -origin * i
    slack, least : see `trace.judge`
    behind : a point whose distance is above this is in front of the true origin
    """
    at = np.int64(ROWS) * beam
    gx, gy, gz, code = load_float4(beams, at)
    ax, ay, az, slack = load_float4(beams, at + 1)
    bx, by, bz, pc = load_float4(beams, at + 2)
    x, y = f4(lane & 7) - f4(FAR_COLUMN), f4(lane >> 3) - f4(FAR_ROW)
    gx, gy, gz = _linear(gx, ax, bx, x, y), _linear(gy, ay, by, x, y), _linear(gz, az, bz, x, y)
    ox, oy, oz, p_column = load_float4(beams, at + 3)
    ax, ay, az, p_row = load_float4(beams, at + 4)
    bx, by, bz, qc = load_float4(beams, at + 5)
    ox, oy, oz = _linear(ox, ax, bx, x, y), _linear(oy, ay, by, x, y), _linear(oz, az, bz, x, y)
    q_column, q_row, _, _ = load_float4(beams, at + 6)
    pc, qc = _linear(pc, p_column, p_row, x, y), _linear(qc, q_column, q_row, x, y)
    zero, one = f4(0.0), f4(1.0)
    k = (as_int(code) >> AXIS_BIT) & 3
    if k == 0:
        sign = one if gx > zero else -one
        p, q, r = (-gy, gx, zero, pc), (-gz, zero, gx, qc), (sign, zero, zero, -sign * ox)
        along = abs(gx)
    elif k == 1:
        sign = one if gy > zero else -one
        p, q, r = (zero, -gz, gy, pc), (gy, -gx, zero, qc), (zero, sign, zero, -sign * oy)
        along = abs(gy)
    else:
        sign = one if gz > zero else -one
        p, q, r = (gz, zero, -gx, pc), (zero, gz, -gy, qc), (zero, zero, sign, -sign * oz)
        along = abs(gz)
    ix = along * reciprocal(_slope(gx))
    iy = along * reciprocal(_slope(gy))
    iz = along * reciprocal(_slope(gz))
    # The whole mesh is in front of an origin that was moved towards it.
    behind = -one if (as_int(code) >> MOVED_BIT) & 1 else zero
    return (
        p,
        q,
        r,
        (ix, iy, iz),
        (-ox * ix, -oy * iy, -oz * iz),
        slack,
        slack * slack * LEAST_PER_SLACK,
        behind,
    )
