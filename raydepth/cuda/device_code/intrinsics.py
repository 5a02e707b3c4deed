"""Operations that Numba lacks, with the same meaning on the CPU and on CUDA devices.

Every function here may be called from `njit` functions and from CUDA kernels, so that the code of
the kernels also runs, and is tested, on a machine without a GPU.

Memory is given by addresses (uint64), because arrays are the most expensive arguments of a kernel,
and a job table can hold the addresses of any number of meshes and images. Bounds are not checked.

`add`, `sub`, `mul` and `div` are IEEE double operations, rounded one by one. A CUDA compiler would
otherwise fuse a product with a sum, and bits would differ from the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()
INT16, INT32, INT64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)

# The address space of the device's global memory.
GLOBAL = 1


def _on_cuda(context: Any) -> bool:
    return type(context).__name__ == "CUDATargetContext"


def _call(builder: ir.IRBuilder, name: str, type_: ir.Type, args: Any) -> ir.Value:
    """Call an LLVM intrinsic whose arguments and result have one type."""
    signature = ir.FunctionType(type_, [type_] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), args)


def _at(context: Any, builder: ir.IRBuilder, address: Any, index: Any, element: ir.Type) -> Any:
    space = GLOBAL if _on_cuda(context) else 0
    return builder.gep(builder.inttoptr(address, element.as_pointer(space)), [index])


def _never_changes(context: Any, builder: ir.IRBuilder, loaded: Any) -> None:
    """Mark a load as invariant, so that it goes through the read-only cache."""
    if _on_cuda(context):
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))


@intrinsic
def load_float4(typingctx, address, index):
    """Load four float32 at once, the 16 bytes number `index`; the kernel must not write them."""

    def codegen(context, builder, sig, args):
        loaded = builder.load(_at(context, builder, *args, ir.VectorType(FLOAT, 4)))
        loaded.align = 16
        _never_changes(context, builder, loaded)
        lanes = [builder.extract_element(loaded, INT32(lane)) for lane in range(4)]
        return context.make_tuple(builder, sig.return_type, lanes)

    return types.UniTuple(types.float32, 4)(types.uint64, types.int64), codegen


def _loader(type_: types.Type, element: ir.Type, *, changes: bool = False) -> Any:
    @intrinsic
    def load(typingctx, address, index):
        def codegen(context, builder, sig, args):
            loaded = builder.load(_at(context, builder, *args, element))
            if not changes:
                _never_changes(context, builder, loaded)
            return loaded

        return type_(types.uint64, types.int64), codegen

    return load


# Load one number from an array that is not written while the kernel runs.
load_int32 = _loader(types.int32, INT32)
load_int64 = _loader(types.int64, INT64)
load_float64 = _loader(types.float64, DOUBLE)
# Load one number from an array that this thread may have written to.
reload_int32 = _loader(types.int32, INT32, changes=True)
reload_float32 = _loader(types.float32, FLOAT, changes=True)


def _storer(type_: types.Type, element: ir.Type) -> Any:
    @intrinsic
    def store(typingctx, address, index, value):
        def codegen(context, builder, sig, args):
            builder.store(args[2], _at(context, builder, args[0], args[1], element))
            return context.get_dummy_value()

        return types.void(types.uint64, types.int64, type_), codegen

    return store


store_int32 = _storer(types.int32, INT32)
store_uint16 = _storer(types.uint16, INT16)
store_float32 = _storer(types.float32, FLOAT)
store_float64 = _storer(types.float64, DOUBLE)


def _double(name: str, emit: Callable) -> Any:
    @intrinsic
    def operation(typingctx, a, b):
        def codegen(context, builder, sig, args):
            if _on_cuda(context):
                return _call(builder, f"llvm.nvvm.{name}.rn.d", DOUBLE, args)
            return emit(builder, *args)

        return types.float64(types.float64, types.float64), codegen

    return operation


add = _double("add", lambda builder, a, b: builder.fadd(a, b))
mul = _double("mul", lambda builder, a, b: builder.fmul(a, b))
div = _double("div", lambda builder, a, b: builder.fdiv(a, b))


@intrinsic
def sub(typingctx, a, b):
    """Return a + (-b), which has the same bits as a - b."""

    def codegen(context, builder, sig, args):
        if _on_cuda(context):
            # The compiler's version of LLVM is older than the instruction fneg.
            negative = builder.fsub(DOUBLE(-0.0), args[1])
            return _call(builder, "llvm.nvvm.add.rn.d", DOUBLE, [args[0], negative])
        return builder.fsub(*args)

    return types.float64(types.float64, types.float64), codegen


@intrinsic
def sqrt(typingctx, x):
    """Return the square root of a double, rounded correctly."""

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.sqrt.f64", DOUBLE, args)

    return types.float64(types.float64), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """Return `a * b + c` in float32, rounded once."""

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.fma.f32", FLOAT, args)

    return types.float32(*[types.float32] * 3), codegen


@intrinsic
def reciprocal(typingctx, x):
    """Return 1 / x in float32 for a normal x, off by at most one unit in the last place."""

    def codegen(context, builder, sig, args):
        if _on_cuda(context):
            type_ = ir.FunctionType(FLOAT, [FLOAT])
            return builder.asm(type_, "rcp.approx.ftz.f32 $0, $1;", "=f,f", args, False)
        return builder.fdiv(FLOAT(1.0), args[0])

    return types.float32(types.float32), codegen


@intrinsic
def opaque(typingctx, x):
    """Return x, hidden from the compiler, so that values computed from it are computed again."""

    def codegen(context, builder, sig, args):
        if _on_cuda(context):
            type_ = ir.FunctionType(INT32, [INT32])
            return builder.asm(type_, "mov.u32 $0, $1;", "=r,r", args, True)
        return args[0]

    return types.int32(types.int32), codegen


def _cast(result: types.Type, to: ir.Type, given: types.Type) -> Any:
    @intrinsic
    def cast(typingctx, x):
        def codegen(context, builder, sig, args):
            return builder.bitcast(args[0], to)

        return result(given), codegen

    return cast


# The same 32 bits, read as the other type.
as_int = _cast(types.int32, INT32, types.float32)
as_float = _cast(types.float32, FLOAT, types.int32)


@intrinsic(prefer_literal=True)
def stack_int32(typingctx, count):
    """Reserve `count` (a literal) int32 for this thread, as long as the calling function runs."""

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():
            memory = builder.alloca(INT32, size=count.literal_value)
            memory.align = 8
        return memory

    return types.CPointer(types.int32)(count), codegen


@intrinsic
def put(typingctx, stack, index, value):
    def codegen(context, builder, sig, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(stack, types.int64, types.int32), codegen


@intrinsic
def get(typingctx, stack, index):
    def codegen(context, builder, sig, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return types.int32(stack, types.int64), codegen
