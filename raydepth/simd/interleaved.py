"""Load and store vectors where the numbers of one lane lie together in memory.

Rows of a table are loaded as one vector per column, and vectors are stored as the channels of
pixels: see vectors.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from raydepth.simd.vectors import ELEMENT, INT32, INT64, KIND, Vector, order, vector_at

EIGHT = 8


@intrinsic(prefer_literal=True)
def load_columns(typingctx, table, rows, row_length, n_columns):
    """Load the first `n_columns` (2 to 4, a literal) columns of some rows: a tuple of vectors.

    `rows` is a vector of row numbers, none below 0. A row has `row_length` elements. Four elements
    are always read, even if they reach into the next row or beyond the end of the table. If rows
    have four elements and the table begins at a cache line, no row reaches into another cache line.

    This is faster than the machine's gather, and than one element at a time (Zen 4).
    """
    columns = types.UniTuple(Vector(KIND[table.dtype], rows.lanes), n_columns.literal_value)

    def codegen(context, builder, sig, args):
        four = ir.VectorType(args[0].type.pointee, 4)
        stride = context.cast(builder, args[2], sig.args[2], types.int64)
        found = []
        for lane in range(rows.lanes):
            row = builder.zext(builder.extract_element(args[1], INT32(lane)), INT64)
            place = builder.mul(row, stride)
            loaded = builder.load(vector_at(builder, args[0], place, four))
            loaded.align = 4
            found.append(loaded)
        return context.make_tuple(builder, columns, _columns(builder, found, columns.count))

    return columns(table, rows, row_length, n_columns), codegen


def _columns(builder: ir.IRBuilder, rows: list[ir.Value], n_columns: int) -> list[ir.Value]:
    """The columns of rows of four elements.

    The rows are joined, two by two, to one vector. Each column is every fourth element of it.
    """
    n, length = len(rows), 4
    if n == EIGHT and isinstance(rows[0].type.element, ir.DoubleType):
        return _columns_of_eight(builder, rows)[:n_columns]
    while len(rows) > 1:
        length *= 2
        joined = order(range(length))
        rows = [
            builder.shuffle_vector(a, b, joined) for a, b in zip(rows[::2], rows[1::2], strict=True)
        ]
    return [
        builder.shuffle_vector(rows[0], rows[0], order(range(column, 4 * n, 4)))
        for column in range(n_columns)
    ]


def _columns_of_eight(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """The columns of eight rows of four float64.

    All steps either stay within 128 bits or move 128 bits as a whole: steps that move single
    elements across take longer (Zen 4).
    """

    def shuffled(a: ir.Value, b: ir.Value, lanes: Iterable[int]) -> ir.Value:
        return builder.shuffle_vector(a, b, order(lanes))

    ab, cd, ef, gh = (shuffled(rows[a], rows[a + 2], range(8)) for a in (0, 1, 4, 5))
    columns = []
    for column in range(4):
        # Take one element of each pair, from both vectors: every other column of every other row.
        odd, later = column % 2, column // 2
        pairs = [lane + side + odd for lane in range(0, 8, 2) for side in (0, 8)]
        upper, lower = shuffled(ab, cd, pairs), shuffled(ef, gh, pairs)
        # Of these, take every other pair.
        whole = [lane + side for lane in range(2 * later, 16, 4) for side in (0, 1)]
        columns.append(shuffled(upper, lower, whole))
    return columns


@intrinsic
def store_channels(typingctx, target, index, vectors):
    """Store lane 0 of each vector (a tuple of two or three), then lane 1 of each, and so on.

    float64 is rounded if the target is float32.
    """

    def codegen(context, builder, sig, args):
        mixed = _mixed_channels(builder, target, vectors, args[2])
        stored = builder.store(mixed, vector_at(builder, args[0], args[1], mixed.type))
        stored.align = 4
        return context.get_dummy_value()

    return types.void(target, types.intp, vectors), codegen


@intrinsic
def stream_channels(typingctx, target, index, vectors):
    """Do as `store_channels`, but past the caches, for data that is not read soon.

    The address must be a multiple of 32 bytes.
    """

    def codegen(context, builder, sig, args):
        mixed = _mixed_channels(builder, target, vectors, args[2])
        n = 32 * 8 // target.dtype.bitwidth
        for first in range(0, mixed.type.count, n):
            part = builder.shuffle_vector(mixed, mixed, order(range(first, first + n)))
            place = builder.add(args[1], INT64(first))
            stored = builder.store(part, vector_at(builder, args[0], place, part.type))
            stored.align = 32
            stored.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))
        return context.get_dummy_value()

    return types.void(target, types.intp, vectors), codegen


def _mixed_channels(
    builder: ir.IRBuilder, target: types.CPointer, vectors: types.UniTuple, value: ir.Value
) -> ir.Value:
    """One vector, of the target's type: lane 0 of each vector, lane 1 of each, and so on."""
    vector, n_channels = vectors.dtype, vectors.count
    n = vector.lanes
    channels = cgutils.unpack_tuple(builder, value, n_channels)
    if vector.kind == "d" and target.dtype == types.float32:
        narrow = ir.VectorType(ELEMENT["f"], n)
        channels = [builder.fptrunc(channel, narrow) for channel in channels]
    # A shuffle takes two vectors of equal length, so the third is padded to that of the pair.
    pair = builder.shuffle_vector(channels[0], channels[1], order(range(2 * n)))
    third = builder.shuffle_vector(channels[-1], channels[-1], order([*range(n), *[0] * n]))
    offsets = [channel * n for channel in range(n_channels)]
    return builder.shuffle_vector(
        pair, third, order(lane + offset for lane in range(n) for offset in offsets)
    )
