"""PTX turned into C computes what PTX means: NVIDIA's manual in small examples."""

from __future__ import annotations

import ctypes
import shutil
import struct

import numpy as np
import pytest
from cuda_emulator import ptx
from cuda_emulator.warp import Warp

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")

HEAD = """
.version 9.0
.target sm_90
.visible .entry tested(
	.param .u64 tested_param_0
)
{
	.reg .pred %p<20>;
	.reg .b32 %r<20>;
	.reg .b64 %rd<20>;
	.reg .f32 %f<20>;
	.reg .f64 %fd<20>;

	ld.param.u64 %rd1, [tested_param_0];
	mov.u32 %r1, %tid.x;
	mul.wide.u32 %rd2, %r1, 8;
	add.s64 %rd3, %rd1, %rd2;
"""


def run(tmp_path, body, values, *, alive=0xFFFFFFFF, in_step=False):
    """Run a warp over 32 words of 8 bytes; gives the words, and the warp."""
    text = HEAD + "\n".join(f"\t{line}" for line in body.strip().splitlines()) + "\n\tret;\n\n}\n"
    library = ctypes.CDLL(str(ptx.library_of(text, tmp_path, in_step=in_step)))
    memory = np.zeros(64, np.uint64)
    start = -memory.ctypes.data % 256 // 8
    words = memory[start : start + 32]
    words[: len(values)] = values
    pages = np.ones(1, np.uint8)
    address = ctypes.c_uint64(words.ctypes.data)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(address))
    warp = Warp(alive=alive, parameters=ctypes.addressof(parameters), pages=pages.ctypes.data,
                arena=words.ctypes.data, arena_bytes=256)  # fmt: skip
    library.warp_tested(ctypes.byref(warp))
    return words.copy(), warp


def bits(*numbers):
    return [struct.unpack("<Q", struct.pack("<d", x))[0] for x in numbers]


def numbers(words):
    return [struct.unpack("<d", struct.pack("<Q", int(word)))[0] for word in words]


NAN, INF = float("nan"), float("inf")
UNARY_OF_DOUBLES = {
    "neg.f64": ((1.5, -0.0), (-1.5, 0.0)),
    "abs.f64": ((-1.5, -0.0), (1.5, 0.0)),
    "rcp.rn.f64": ((4.0, INF), (0.25, 0.0)),
    "sqrt.rn.f64": ((2.0, 9.0), (2.0**0.5, 3.0)),
}


@pytest.mark.parametrize("opcode", UNARY_OF_DOUBLES)
def test_doubles(tmp_path, opcode):
    given, expected = UNARY_OF_DOUBLES[opcode]
    body = f"ld.global.f64 %fd1, [%rd3];\n{opcode} %fd2, %fd1;\nst.global.f64 [%rd3], %fd2;"
    found, _ = run(tmp_path, body, bits(*given), alive=3)
    assert found[:2].tolist() == bits(*expected)


@pytest.mark.parametrize(
    ("opcode", "given", "expected"),
    [
        ("min.f64", (NAN, 2.0), 2.0), ("max.f64", (2.0, NAN), 2.0), ("min.f64", (0.0, -0.0), -0.0),
        ("max.f64", (-0.0, 0.0), 0.0), ("div.rn.f64", (1.0, 3.0), 1.0 / 3.0),
        ("sub.rn.f64", (1.0, 2.0**-60), 1.0), ("mul.rn.f64", (INF, 2.0), INF),
    ],
)  # fmt: skip
def test_two_doubles(tmp_path, opcode, given, expected):
    body = f"""ld.global.f64 %fd1, [%rd1];
ld.global.f64 %fd2, [%rd1+8];
{opcode} %fd3, %fd1, %fd2;
st.global.f64 [%rd1], %fd3;"""
    found, _ = run(tmp_path, body, bits(*given), alive=1)
    assert found[0] == bits(expected)[0]


@pytest.mark.parametrize(
    ("opcode", "given", "expected"),
    [
        ("shl.b64", (1, 64), 0), ("shl.b64", (1, 63), 1 << 63), ("shr.u64", (1 << 63, 63), 1),
        ("shr.s64", (1 << 63, 70), 2**64 - 1), ("min.s64", (2**64 - 1, 1), 2**64 - 1),
        ("add.s64", (2**64 - 1, 2), 1), ("mul.lo.s64", (2**63, 3), 2**63),
        ("and.b64", (12, 10), 8), ("xor.b64", (12, 10), 6),
    ],
)  # fmt: skip
def test_whole_numbers(tmp_path, opcode, given, expected):
    second = "%r2" if opcode.startswith("sh") else "%rd5"
    body = f"""ld.global.u64 %rd4, [%rd1];
ld.global.u64 %rd5, [%rd1+8];
cvt.u32.u64 %r2, %rd5;
{opcode} %rd6, %rd4, {second};
st.global.u64 [%rd1], %rd6;"""
    found, _ = run(tmp_path, body, given, alive=1)
    assert int(found[0]) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2.9, 2), (-2.9, 2**64 - 2), (1e30, 2**63 - 1), (-1e30, 2**63), (NAN, 2**63)],
)
def test_conversion_to_whole_numbers_saturates(tmp_path, value, expected):
    body = "ld.global.f64 %fd1, [%rd1];\ncvt.rzi.s64.f64 %rd4, %fd1;\nst.global.u64 [%rd1], %rd4;"
    assert int(run(tmp_path, body, bits(value), alive=1)[0][0]) == expected


@pytest.mark.parametrize(("how", "expected"), [("lt", 0), ("ltu", 1), ("eq", 0), ("neu", 1)])
def test_comparisons_with_what_is_no_number(tmp_path, how, expected):
    body = f"""ld.global.f64 %fd1, [%rd1];
setp.{how}.f64 %p1, %fd1, 0d3FF0000000000000;
selp.b64 %rd4, 1, 0, %p1;
st.global.u64 [%rd1], %rd4;"""
    assert run(tmp_path, body, bits(NAN), alive=1)[0][0] == expected


def test_a_load_spreads_its_sign(tmp_path):
    body = "ld.global.s32 %rd4, [%rd1];\nst.global.u64 [%rd1], %rd4;"
    assert int(run(tmp_path, body, [0xFFFFFFFE], alive=1)[0][0]) == 2**64 - 2
    body = body.replace("s32", "u32")
    assert int(run(tmp_path, body, [0xFFFFFFFE], alive=1)[0][0]) == 0xFFFFFFFE


@pytest.mark.parametrize(("rounding", "fused"), [("", True), (".rn", False)])
def test_what_the_assembler_may_fuse_is_fused(tmp_path, rounding, fused):
    a = 1.0 + 2.0**-30
    body = f"""ld.global.f64 %fd1, [%rd1];
mul{rounding}.f64 %fd2, %fd1, %fd1;
sub{rounding}.f64 %fd3, %fd2, 0d3FF0000000000000;
st.global.f64 [%rd1], %fd3;"""
    (found,) = numbers(run(tmp_path, body, bits(a), alive=1)[0][:1])
    assert found == (2.0**-29 + 2.0**-60 if fused else a * a - 1.0)
    assert a * a - 1.0 != 2.0**-29 + 2.0**-60


LOOP = """ld.global.u64 %rd4, [%rd3];
$again:
setp.eq.s64 %p1, %rd4, 0;
@%p1 bra $done;
add.s64 %rd5, %rd5, %rd4;
add.s64 %rd4, %rd4, -1;
bra.uni $again;
$done:
st.global.u64 [%rd3], %rd5;"""


@pytest.mark.parametrize("in_step", [False, True])
def test_lanes_take_their_own_ways(tmp_path, in_step):
    body = "mov.u64 %rd5, 0;\n" + LOOP
    found, _ = run(tmp_path, body, list(range(32)), alive=0x7FFFFFFF, in_step=in_step)
    assert found.tolist() == [n * (n + 1) // 2 for n in range(31)] + [31]


def test_votes_and_shuffles_wait_for_all_lanes(tmp_path):
    """The lanes come out of the loop one after the other."""
    body = (
        "mov.u64 %rd5, 0;\n"
        + LOOP
        + """
setp.gt.u64 %p2, %rd5, 100;
vote.sync.ballot.b32 %r2, %p2, -1;
shfl.sync.bfly.b32 %r3|%p3, %r1, 1, 31, -1;
mul.wide.u32 %rd6, %r3, 1;
shl.b64 %rd6, %rd6, 32;
cvt.u64.u32 %rd7, %r2;
or.b64 %rd6, %rd6, %rd7;
st.global.u64 [%rd3], %rd6;"""
    )
    found, warp = run(tmp_path, body, list(range(32)))
    assert warp.error == 0
    ballot = sum(1 << n for n in range(32) if n * (n + 1) // 2 > 100)
    assert [int(word) for word in found] == [((n ^ 1) << 32) + ballot for n in range(32)]


@pytest.mark.parametrize(("offset", "error"), [(0, 0), (256, 700), (-8, 700), (4, 716)])
def test_memory_that_is_not_there_is_an_error(tmp_path, offset, error):
    body = f"ld.global.u64 %rd4, [%rd1+{offset}];\nst.global.u64 [%rd1], %rd4;"
    found, warp = run(tmp_path, body, [5], alive=1)
    assert warp.error == error
    assert found[0] == 5


@pytest.mark.parametrize("true", ["%p2", "-1"])
def test_predicates_are_true_or_false(tmp_path, true):
    body = f"""setp.eq.s64 %p1, 1, 1;
mov.pred %p2, -1;
xor.pred %p3, %p1, {true};
selp.b64 %rd4, 1, 0, %p3;
st.global.u64 [%rd1], %rd4;"""
    assert run(tmp_path, body, [9], alive=1)[0][0] == 0


@pytest.mark.parametrize(("offset", "error"), [(0, 0), (24, 0), (20, 716), (32, 700), (-8, 700)])
@pytest.mark.parametrize("in_step", [False, True])
def test_a_threads_own_memory_has_an_end(tmp_path, offset, error, in_step):
    body = f""".local .align 16 .b8 __local_depot0[32];
mov.u64 %rd5, __local_depot0;
mov.u64 %rd6, 7;
st.local.u64 [%rd5+{offset}], %rd6;
ld.local.u64 %rd4, [%rd5+{offset}];
st.global.u64 [%rd1], %rd4;"""
    found, warp = run(tmp_path, body, [5], alive=1, in_step=in_step)
    assert warp.error == error
    assert found[0] == (5 if error else 7)


@pytest.mark.parametrize("line", ["vote.sync.ballot.b32 %r2, %p2, 3;",
                                  "shfl.sync.bfly.b32 %r3|%p3, %r1, 1, 31, 3;",
                                  "shfl.sync.bfly.b32 %r3|%p3, %r1, 1, 6175, -1;",
                                  "bar.warp.sync 1;"])  # fmt: skip
def test_what_concerns_a_warp_must_mean_all_of_it(tmp_path, line):
    assert run(tmp_path, f"setp.eq.s64 %p2, 1, 1;\n{line}", [])[1].error == 719


@pytest.mark.parametrize(
    "line",
    [
        "sin.approx.f32 %f1, %f2;", "atom.global.add.u32 %r2, [%rd1], 1;", "bar.sync 0;",
        "cvt.rm.f32.f64 %f1, %fd1;", "cvt.rzi.ftz.s32.f32 %r2, %f1;",
        "sqrt.approx.ftz.f32 %f1, %f2;",
        "div.full.f32 %f1, %f2, %f3;", "add.rz.f64 %fd1, %fd2, %fd3;", "add.ftz.f32 %f1, %f2, %f3;",
        "fma.rn.sat.f32 %f1, %f2, %f3, %f4;", "min.NaN.f32 %f1, %f2, %f3;",
        "add.cc.u32 %r2, %r3, %r4;", "fma.f64 %fd1, %fd2, %fd3, %fd4;",
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(line):
    with pytest.raises(ValueError, match=r"sin|atom|conversion|not understood"):
        ptx.translate(HEAD + line + "\n\tret;\n\n}\n", in_step=False)
