"""The kernel that filters the rows of a PNG: each as its difference from a prediction.

Each row uses the one of Sub, Up and Paeth that leaves the smallest sum of absolute differences
("Portable Network Graphics Specification", third edition, W3C 2025, 9.2 and 12.7). The arithmetic
is on 8 and 16-bit integers; Numba's own operators would widen them to 64 bits.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from raydepth.simd.jit import jit

SUB, UP, PAETH = 1, 2, 4
# Number of bytes whose differences, each at most 128, are summed in 16 bits.
BLOCK = np.uint64(256)
INT16 = ir.IntType(16)


def _magnitude(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    negative = builder.icmp_signed("<", value, ir.Constant(value.type, 0))
    return builder.select(negative, builder.neg(value), value)


@intrinsic
def difference(typingctx, a, b):
    """Return `a - b` modulo 256."""

    def codegen(context, builder, sig, args):
        return builder.sub(*args)

    return types.uint8(types.uint8, types.uint8), codegen


@intrinsic
def magnitude(typingctx, a):
    """Return the absolute value of a byte that stands for -128 to 127."""

    def codegen(context, builder, sig, args):
        return _magnitude(builder, args[0])

    return types.uint8(types.uint8), codegen


@intrinsic
def paeth(typingctx, left, above, corner):
    """Return the one of the three that is nearest to left + above - corner, the first if equal.

    Alan W. Paeth, "Image file compression made easy", Graphics Gems II, 1991.
    """

    def codegen(context, builder, sig, args):
        wide_left, wide_above, wide_corner = (builder.zext(arg, INT16) for arg in args)
        from_left = builder.sub(wide_above, wide_corner)
        from_above = builder.sub(wide_left, wide_corner)
        distances = (from_left, from_above, builder.add(from_left, from_above))
        to_left, to_above, to_corner = (_magnitude(builder, value) for value in distances)
        second = builder.select(builder.icmp_signed("<=", to_above, to_corner), *args[1:])
        is_left = builder.and_(
            builder.icmp_signed("<=", to_left, to_above),
            builder.icmp_signed("<=", to_left, to_corner),
        )
        return builder.select(is_left, args[0], second)

    return types.uint8(types.uint8, types.uint8, types.uint8), codegen


@jit
def filter_rows(rows, pixel_bytes, filtered):
    """Filter the rows of an image.

    Parameters
    ----------
    rows : (height, row_bytes) uint8
    pixel_bytes : int
        Number of bytes per pixel.
    filtered : (height, 1 + row_bytes) uint8
        Output: for each row, the number of its filter, then its differences.
    """
    height, n_bytes = rows.shape
    nothing = np.zeros(n_bytes, dtype=np.uint8)
    candidates = np.empty((3, n_bytes), dtype=np.uint8)
    sub, up, by_paeth = candidates[0], candidates[1], candidates[2]
    # Unsigned, so that indices are not tested for being negative.
    n, step, one = np.uint64(n_bytes), np.uint64(pixel_bytes), np.uint64(1)
    for y in range(height):
        row, above, target = rows[y], rows[y - 1] if y > 0 else nothing, filtered[y]
        different = np.uint8(0)
        for i in range(n):
            different = np.uint8(different | (row[i] ^ above[i]))
        if different == 0:
            # Usually background. No filter leaves smaller differences than zeros.
            target[0] = UP
            target[1:] = 0
            continue
        sum_sub, sum_up, sum_paeth = 0, 0, 0
        for i in range(step):
            sub[i] = row[i]
            up[i] = by_paeth[i] = difference(row[i], above[i])
        for first in range(np.uint64(0), n - step, BLOCK):
            # Sums of 16 bits, because a register holds twice as many of them as of 32 bits.
            in_sub, in_up, in_paeth = np.uint16(0), np.uint16(0), np.uint16(0)
            for i in range(first, min(first + BLOCK, n - step)):
                k = i + step
                a = difference(row[k], row[i])
                b = difference(row[k], above[k])
                c = difference(row[k], paeth(row[i], above[k], above[i]))
                sub[k], up[k], by_paeth[k] = a, b, c
                in_sub = np.uint16(in_sub + magnitude(a))
                in_up = np.uint16(in_up + magnitude(b))
                in_paeth = np.uint16(in_paeth + magnitude(c))
            sum_sub += in_sub
            sum_up += in_up
            sum_paeth += in_paeth
        # Paeth's differences repeat less often, so they must be smaller to compress equally well.
        if sum_up <= sum_sub and 4 * sum_up <= 5 * sum_paeth:
            target[0] = UP
            chosen = up
        elif 4 * sum_sub <= 5 * sum_paeth:
            target[0] = SUB
            chosen = sub
        else:
            target[0] = PAETH
            chosen = by_paeth
        for i in range(n):
            target[i + one] = chosen[i]
