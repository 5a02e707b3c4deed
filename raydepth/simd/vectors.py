"""Vectors of 8 or 16 lanes, raw pointers and stack memory inside Numba functions.

LLVM vectorises a loop only if it can prove a lot about it, and a small addition to the function can
undo that. Here a vector is a value: `fma(x, a, b) < limit` works on all lanes at once, in the
registers that the machine has (LLVM splits or widens as needed: SSE, AVX2, AVX-512, NEON).

Pointers are here because every array passed between jitted functions costs a pair of atomic
reference counts, for which threads compete. Pointers and stack memory cost nothing.

| kind | element | made by                                   |
| ---- | ------- | ----------------------------------------- |
| f    | float32 | `splat`, `load`, arithmetic               |
| d    | float64 | `splat`, `load`, arithmetic               |
| i    | int32   | `splat`, `load`, `truncate`, arithmetic   |
| q    | int64   | `load`, arithmetic                        |
| h    | int16   | `as_int16`, arithmetic                    |
| c    | int8    | `splat`, `load`                           |
| b    | bool    | `<  <=  ==  !=  >=  >  &  \\|`                |

In arithmetic and comparisons one side may be a scalar. Nothing here checks bounds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

ELEMENT = {
    "f": ir.FloatType(),
    "d": ir.DoubleType(),
    "i": ir.IntType(32),
    "q": ir.IntType(64),
    "h": ir.IntType(16),
    "c": ir.IntType(8),
    "b": ir.IntType(1),
}
SCALAR: dict[str, types.Type] = {
    "f": types.float32,
    "d": types.float64,
    "i": types.int32,
    "q": types.int64,
    "h": types.int16,
    "c": types.int8,
}
KIND = {type_: kind for kind, type_ in SCALAR.items()}
BITS = {"f": 32, "d": 64}
INT32, INT64 = ir.IntType(32), ir.IntType(64)


class Vector(types.Type):
    """The Numba type of a vector of `lanes` elements of `kind`, one of those in the table above."""

    def __init__(self, kind: str, lanes: int) -> None:
        self.kind, self.lanes = kind, lanes
        super().__init__(name=f"vector_{kind}x{lanes}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, ir.VectorType(ELEMENT[fe_type.kind], fe_type.lanes))


def _spread(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A vector with the scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, scalar, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, nothing, zeros)


def _vector_of(arguments: Any) -> Vector:
    return next(a for a in arguments if isinstance(a, Vector))


def _mixed(arguments: Any, vector: Vector) -> list[types.Type]:
    """The types of the arguments; scalars get the vector's element type."""
    return [a if isinstance(a, Vector) else SCALAR[vector.kind] for a in arguments]


def _operands(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> list[ir.Value]:
    """The arguments as vectors; scalars are spread to all lanes."""
    vector = _vector_of(sig.args)
    return [
        value
        if isinstance(type_, Vector)
        else _spread(
            builder, context.cast(builder, value, type_, SCALAR[vector.kind]), vector.lanes
        )
        for type_, value in zip(sig.args, args, strict=True)
    ]


def _operator(op: Callable, result: str | None, kinds: str, emit: Callable) -> None:
    """Define a Python operator for vectors of these kinds; `result` None keeps the kind."""

    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or not any(isinstance(a, Vector) for a in args):
                return None
            vector = _vector_of(args)
            fits = all(a == vector or isinstance(a, types.Number) for a in args)
            if vector.kind not in kinds or not fits:
                return None
            return signature(Vector(result or vector.kind, vector.lanes), *_mixed(args, vector))

    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        a, b = _operands(context, builder, sig, args)
        return emit(builder, _vector_of(sig.args).kind in "fd", a, b)

    for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(op, *pair)(lower)


_operator(operator.add, None, "fdiqh", lambda b, f, x, y: b.fadd(x, y) if f else b.add(x, y))
_operator(operator.sub, None, "fdiqh", lambda b, f, x, y: b.fsub(x, y) if f else b.sub(x, y))
_operator(operator.mul, None, "fdiq", lambda b, f, x, y: b.fmul(x, y) if f else b.mul(x, y))
_operator(operator.truediv, None, "fd", lambda b, f, x, y: b.fdiv(x, y))
_operator(operator.and_, None, "biq", lambda b, f, x, y: b.and_(x, y))
_operator(operator.rshift, None, "iq", lambda b, f, x, y: b.lshr(x, y))
_operator(operator.lshift, None, "iq", lambda b, f, x, y: b.shl(x, y))
_operator(operator.or_, None, "b", lambda b, f, x, y: b.or_(x, y))
for _op, _sign in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.eq, "=="),
    (operator.ne, "!="),
    (operator.gt, ">"),
    (operator.ge, ">="),
):
    _operator(
        _op,
        "b",
        "fdihcb",
        lambda b, f, x, y, sign=_sign: (
            b.fcmp_ordered(sign, x, y) if f else b.icmp_signed(sign, x, y)
        ),
    )


@intrinsic(prefer_literal=True)
def splat(typingctx, scalar, lanes):
    """A vector with `scalar` in each of `lanes` (a literal) lanes."""
    kind = KIND[scalar] if isinstance(scalar, types.Float) or scalar == types.int8 else "i"
    vector = Vector(kind, lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = context.cast(builder, args[0], sig.args[0], SCALAR[vector.kind])
        return _spread(builder, value, vector.lanes)

    return vector(scalar, lanes), codegen


def vector_at(builder: ir.IRBuilder, pointer: ir.Value, index: ir.Value, vector: ir.Type) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load(typingctx, source, index, lanes):
    """Load `lanes` (a literal) elements from `source[index]` on; `source` is a pointer."""
    vector = Vector(KIND[source.dtype], lanes.literal_value)

    def codegen(context, builder, sig, args):
        type_ = context.get_value_type(vector)
        loaded = builder.load(vector_at(builder, args[0], args[1], type_))
        loaded.align = 4
        return loaded

    return vector(source, types.intp, lanes), codegen


@intrinsic(prefer_literal=True)
def load_int16(typingctx, source, index, lanes):
    """Load `lanes` (a literal) int16 from `source[index]` on, as float32."""
    vector = Vector("f", lanes.literal_value)

    def codegen(context, builder, sig, args):
        narrow = ir.VectorType(ir.IntType(16), vector.lanes)
        loaded = builder.load(vector_at(builder, args[0], args[1], narrow))
        loaded.align = 2
        return builder.sitofp(loaded, context.get_value_type(vector))

    return vector(source, types.intp, lanes), codegen


@intrinsic
def store(typingctx, target, index, vector):
    """Store `vector` at `target[index]` and on; float64 is rounded if the target is float32."""
    to_float32 = vector.kind == "d" and target.dtype == types.float32

    def codegen(context, builder, sig, args):
        value = args[2]
        if to_float32:
            value = builder.fptrunc(value, ir.VectorType(ELEMENT["f"], sig.args[2].lanes))
        stored = builder.store(value, vector_at(builder, args[0], args[1], value.type))
        stored.align = 4
        return context.get_dummy_value()

    return types.void(target, types.intp, vector), codegen


@intrinsic
def store_signs(typingctx, target, index, plus, minus):
    """Store an int8 for each lane: 1 where `plus`, -1 where `minus`, else 0."""

    def codegen(context, builder, sig, args):
        narrow = ir.VectorType(ir.IntType(8), plus.lanes)
        signs = builder.sub(*(builder.zext(mask, narrow) for mask in args[2:]))
        stored = builder.store(signs, vector_at(builder, args[0], args[1], narrow))
        stored.align = 1
        return context.get_dummy_value()

    return types.void(target, types.intp, plus, minus), codegen


def order(lanes: Iterable[int]) -> ir.Constant:
    """The mask of a shuffle that takes these lanes."""
    indices = list(lanes)
    return ir.Constant(ir.VectorType(INT32, len(indices)), indices)


@intrinsic
def fma(typingctx, a, b, c):
    """Return `a * b + c`, rounded once if the machine can do so fast; scalars are spread."""
    vector = _vector_of((a, b, c))

    def codegen(context, builder, sig, args):
        operands = _operands(context, builder, sig, args)
        type_ = operands[0].type
        name = f"llvm.fmuladd.v{type_.count}f{BITS[vector.kind]}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(type_, [type_] * 3), name
        )
        return builder.call(function, operands)

    return vector(*_mixed((a, b, c), vector)), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """Return, lane by lane, `a` where `mask` is true, else `b`; one of them may be a scalar."""
    vector = _vector_of((a, b))

    def codegen(context, builder, sig, args):
        sides = signature(sig.return_type, *sig.args[1:])
        return builder.select(args[0], *_operands(context, builder, sides, args[1:]))

    return vector(mask, *_mixed((a, b), vector)), codegen


def _extreme(sign: str) -> Any:
    @intrinsic
    def extreme(typingctx, a, b):
        if not any(isinstance(x, Vector) for x in (a, b)):

            def of_two(context, builder, sig, args):
                return builder.select(builder.fcmp_ordered(sign, *args), *args)

            return a(a, a), of_two

        vector = _vector_of((a, b))

        def codegen(context, builder, sig, args):
            x, y = _operands(context, builder, sig, args)
            return builder.select(builder.fcmp_ordered(sign, x, y), x, y)

        return vector(*_mixed((a, b), vector)), codegen

    return extreme


# The smaller and the larger of two, lane by lane. If one of them is NaN the second argument is
# returned, as by the machine's instruction.
vmin, vmax = _extreme("<"), _extreme(">")


@intrinsic
def truncate(typingctx, vector):
    """Convert float32 or float64 to int32, rounded towards zero; the values must fit."""

    def codegen(context, builder, sig, args):
        return builder.fptosi(args[0], ir.VectorType(INT32, sig.args[0].lanes))

    return Vector("i", vector.lanes)(vector), codegen


def _of_each(function: str) -> Any:
    @intrinsic
    def result(typingctx, vector):
        def codegen(context, builder, sig, args):
            type_ = args[0].type
            name = f"llvm.{function}.v{type_.count}f{BITS[sig.args[0].kind]}"
            callee = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(type_, [type_]), name
            )
            return builder.call(callee, args)

        return vector(vector), codegen

    return result


# For each lane: the square root, rounded once; the absolute value; the integer at or below; the
# integer at or above.
root, magnitude = _of_each("sqrt"), _of_each("fabs")
floor, ceiling = _of_each("floor"), _of_each("ceil")


@intrinsic
def bits(typingctx, mask):
    """The lanes of a bool vector as the low bits of an int64, lane 0 lowest."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(sig.args[0].lanes)), INT64)

    return types.int64(mask), codegen


@intrinsic(prefer_literal=True)
def lanes_of(typingctx, value, lanes):
    """The inverse of `bits`: a bool vector of `lanes` (a literal) lanes."""
    vector = Vector("b", lanes.literal_value)

    def codegen(context, builder, sig, args):
        narrow = builder.trunc(args[0], ir.IntType(vector.lanes))
        return builder.bitcast(narrow, context.get_value_type(vector))

    return vector(types.int64, lanes), codegen


@intrinsic
def as_int64(typingctx, vector):
    """Convert int32 to int64, or bool to -1 and 0."""
    wide = Vector("q", vector.lanes)

    def codegen(context, builder, sig, args):
        return builder.sext(args[0], context.get_value_type(wide))

    return wide(vector), codegen


@intrinsic
def count_bits(typingctx, value):
    """The number of bits of an int64 that are 1."""

    def codegen(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@intrinsic
def as_int16(typingctx, vector):
    """The bits of each int64 as four int16, the lowest first."""
    narrow = Vector("h", 4 * vector.lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(narrow))

    return narrow(vector), codegen


@intrinsic
def last_of_fours(typingctx, vector):
    """Copy every fourth lane to the three lanes before it."""

    def codegen(context, builder, sig, args):
        lanes = [lane | 3 for lane in range(sig.args[0].lanes)]
        return builder.shuffle_vector(args[0], args[0], order(lanes))

    return vector(vector), codegen


@intrinsic
def lowest_bit(typingctx, value):
    """The position of the lowest bit that is 1, in an int64 that is not 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


@intrinsic
def pointer(typingctx, array):
    """The address of an array's first element; the array must outlive it."""

    def codegen(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def offset(typingctx, source, index):
    """The address of `source[index]`."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return source(source, types.intp), codegen


@intrinsic
def integers(typingctx, source):
    """The same address as a pointer to int32."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], INT32.as_pointer())

    return types.CPointer(types.int32)(source), codegen


@intrinsic
def prefetch(typingctx, source, index):
    """Prefetch the cache line of `source[index]`; any address is harmless."""

    def codegen(context, builder, sig, args):
        byte = ir.IntType(8).as_pointer()
        address = builder.bitcast(builder.gep(args[0], [args[1]]), byte)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, *[INT32] * 3]), "llvm.prefetch.p0"
        )
        # The arguments: to read, to keep in all levels of the cache, data.
        builder.call(function, [address, INT32(0), INT32(3), INT32(1)])
        return context.get_dummy_value()

    return types.void(source, types.intp), codegen


def _stack(element: ir.Type, type_: types.Type) -> Any:
    @intrinsic(prefer_literal=True)
    def allocate(typingctx, count):
        size = count.literal_value

        def codegen(context, builder, sig, args):
            # In the entry block, or else an allocation in a loop would grow the stack each time.
            with builder.goto_entry_block():
                memory = builder.alloca(element, size=size)
                memory.align = 64
            return memory

        return types.CPointer(type_)(count), codegen

    return allocate


# Pointers to `count` (a literal) elements that live as long as the calling function.
stack_float32 = _stack(ir.FloatType(), types.float32)
stack_float64 = _stack(ir.DoubleType(), types.float64)
stack_int32 = _stack(INT32, types.int32)
stack_int64 = _stack(INT64, types.int64)


def _number(name: str) -> Any:
    @intrinsic
    def extreme(typingctx, a, b):
        def codegen(context, builder, sig, args):
            type_ = args[0].type
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(type_, [type_] * 2),
                f"llvm.{name}.v{type_.count}f32",
            )
            return builder.call(function, args, fastmath=("nnan", "nsz"))

        return a(a, b), codegen

    return extreme


# The smaller and the larger of two float32 vectors without NaN, lane by lane. Use these where the
# result is stored: there `vmin` and `vmax` become a masked store on some machines, and a load right
# after such a store waits long.
least, greatest = _number("minnum"), _number("maxnum")
