"""PTX, as Numba makes it of kernels, to C: so the very code that a GPU is given runs on the CPU.

    python ptx.py FOLDER kernels.ptx    # prints the path of the library that it made in FOLDER

Each entry becomes a C function for one warp. Two forms of it:

- by thread: one lane after the other, registers are C variables. Fast.
- in step: all 32 lanes together, block by block of instructions, those lanes first that are least
  far in the program. That is what a GPU does, more or less, so warps' votes and shuffles work, and
  how often each block is issued for how many lanes can be counted. About eight times slower.

Products and sums that the assembler may fuse into one rounding are fused (`fuse`), so that nothing
relies on its not doing so.

Instructions are those that the project's kernels use; any other is an error, never a guess. Their
meaning: NVIDIA, "Parallel Thread Execution ISA", version 9.0, 2025.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
FLAGS = ["-O2", "-g0", "-shared", "-fPIC", "-ffp-contract=off", "-fwrapv", "-fno-strict-aliasing",
         "-w", *(["-mfma"] if platform.machine() == "x86_64" else [])]  # fmt: skip

C_TYPES = {
    "u8": "uint8_t", "s8": "int8_t", "b8": "uint8_t",
    "u16": "uint16_t", "s16": "int16_t", "b16": "uint16_t",
    "u32": "uint32_t", "s32": "int32_t", "b32": "uint32_t",
    "u64": "uint64_t", "s64": "int64_t", "b64": "uint64_t",
    "f32": "float", "f64": "double", "pred": "uint8_t",
}  # fmt: skip
BYTES = {name: 1 if name == "pred" else int(name[1:]) // 8 for name in C_TYPES}
SPECIAL = {
    "%tid.x": "(uint32_t)(w->first_thread + l)", "%ctaid.x": "w->block[0]",
    "%ctaid.y": "w->block[1]", "%ctaid.z": "w->block[2]", "%ntid.x": "w->n_threads",
    "%nctaid.x": "w->n_blocks[0]", "%nctaid.y": "w->n_blocks[1]", "%laneid": "(uint32_t)l",
}  # fmt: skip
WARP_WIDE = ("shfl.", "vote.", "bar.warp.")
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNARY = {"neg": "-", "not": "~"}
BINARY = {"add": "+", "sub": "-", "and": "&", "or": "|", "xor": "^"}
# Functions of simt.h, by name and type or by the whole opcode.
CALLS = ("abs", "min", "max", "div", "rem", "fma", "sqrt")
CALLS_IN_FULL = ("rcp", "bfind", "brev")
# What stands between name and type: `.rn` where results are rounded; without it sums and products
# may be fused. Saturation, other roundings, approximations, flushing to zero are not known here.
ROUNDING, LOOSE = ("add", "sub", "mul", "div", "fma", "sqrt"), ("add", "sub", "mul")
MODIFIERS = {
    "mul": [[], ["rn"], ["lo"], ["wide"]],
    "rcp": [["rn"], ["approx", "ftz"]],
    "bfind": [["shiftamt"]],
}
ARITHMETIC = {"mov", "selp", "shl", "shr", "mul", "bfi", *UNARY, *BINARY, *CALLS, *CALLS_IN_FULL}


class Instruction(NamedTuple):
    guard: str  # "", "%p1" or "!%p1"
    opcode: str
    operands: list[str]
    line: str


class Block(NamedTuple):
    label: str
    instructions: list[Instruction]


class Entry(NamedTuple):
    name: str
    parameters: list[str]  # types
    local_bytes: int
    shared: dict[str, int]  # bytes by name
    registers: dict[str, str]  # types by name, without %
    blocks: list[Block]


def split_operands(text: str) -> list[str]:
    """At commas that are not in braces."""
    return [part.strip() for part in re.split(r",(?![^{]*\})", text)] if text.strip() else []


def parse(text: str) -> list[Entry]:
    text = re.sub(r"//[^\n]*", "", text)
    shared = {
        name: int(size)
        for name, size in re.findall(r"\.shared \.align \d+ \.b8 (\w+)\[(\d+)\];", text)
    }
    pattern = r"\.entry (\w+)\((.*?)\)(?:\s*\.\w+ [\d, ]+)*\s*\{(.*?)\n\}"
    return [
        entry_of(name, parameters, body, shared)
        for name, parameters, body in re.findall(pattern, text, re.DOTALL)
    ]


def entry_of(name: str, parameters: str, body: str, shared: dict[str, int]) -> Entry:
    types = [part.split()[-2].lstrip(".") for part in parameters.split(",") if part.strip()]
    local = re.findall(r"\.local \.align \d+ \.b8\s+\w+\[(\d+)\];", body)
    registers = {
        name: f"b{kind[1:]}" for kind, name in re.findall(r"\.reg \.(\w+)\s+%(\w+);", body)
    }
    for kind, prefix, count in re.findall(r"\.reg \.(\w+)\s+%([a-z]+)<(\d+)>", body):
        registers.update({f"{prefix}{i}": kind for i in range(1, int(count))})
    blocks = [Block("entry", [])]
    for line in body.splitlines():
        line = line.strip()
        if match := re.fullmatch(r"(\$\w+):", line):
            blocks.append(Block(match[1][1:], []))
            continue
        if line in ("", "{", "}") or line.startswith((".reg", ".local", ".pragma", ".shared")):
            continue
        match = re.fullmatch(r"(?:@(!?%p\d+)\s+)?([\w.]+)\s*(.*);", line)
        if match is None:
            raise ValueError(f"not understood: {line}")
        instruction = Instruction(match[1] or "", match[2], split_operands(match[3]), line)
        wide = instruction.opcode.startswith(WARP_WIDE)
        if wide and blocks[-1].instructions:
            blocks.append(Block(f"cut{len(blocks)}", []))
        blocks[-1].instructions.append(instruction)
        if wide or instruction.opcode.startswith(("bra", "ret")):
            blocks.append(Block(f"cut{len(blocks)}", []))
    blocks = [fuse(block) for block in blocks]
    return Entry(name, types, int(local[0]) if local else 0, shared, registers, blocks)


def fuse(block: Block) -> Block:
    """Let sums of products round once, where neither says `.rn`: the assembler is free to."""
    products: dict[str, Instruction] = {}
    fused = []
    for instruction in block.instructions:
        name, *parts = instruction.opcode.split(".")
        kind = parts[-1] if parts else ""
        free = parts == [kind] and kind in ("f32", "f64") and not instruction.guard
        if name in ("add", "sub") and free:
            to, a, b = instruction.operands
            if product := products.get(b):
                factor, other = product.operands[1:]
                sign = "-" if name == "sub" else ""
                instruction = instruction._replace(
                    opcode=f"fma.rn.{kind}", operands=[to, sign + factor, other, a]
                )
            elif product := products.get(a):
                sign = "-" if name == "sub" else ""
                instruction = instruction._replace(
                    opcode=f"fma.rn.{kind}", operands=[to, *product.operands[1:], sign + b]
                )
        fused.append(instruction)
        if instruction.operands:
            written = set(re.findall(r"%\w+", instruction.operands[0]))
            products = {
                register: product
                for register, product in products.items()
                if not written & {register, *product.operands}
            }
            if name == "mul" and free:
                products[instruction.operands[0]] = instruction
    return block._replace(instructions=fused)


class Writer:
    """One entry as a C function."""

    def __init__(self, entry: Entry, in_step: bool) -> None:
        self.entry, self.in_step = entry, in_step

    # -- operands ---------------------------------------------------------------------------

    def register(self, name: str) -> tuple[str, str]:
        """C expression and type of a register."""
        kind = self.entry.registers.get(name[1:])
        if kind is None:
            raise ValueError(f"no register: {name}")
        return self.variable(f"r_{name[1:]}"), kind

    def variable(self, name: str) -> str:
        return f"{name}[l]" if self.in_step else name

    def read(self, operand: str, kind: str) -> str:
        c_type = C_TYPES[kind]
        if kind[0] == "f" and operand.startswith("-"):  # made by `fuse`
            return f"(-{self.read(operand[1:], kind)})"
        if operand in SPECIAL:
            return f"(({c_type}){SPECIAL[operand]})"
        if operand.startswith("%"):
            name, own = self.register(operand)
            if (own[0] == "f") != (kind[0] == "f"):
                return f"(({c_type})as_{kind}({name}))" if kind[0] == "f" else (
                    f"(({c_type})as_b{own[1:]}({name}))"
                )  # fmt: skip
            return f"(({c_type}){name})"
        if match := re.fullmatch(r"0([fd])([0-9A-F]+)", operand):
            return f"as_f{32 if match[1] == 'f' else 64}(0x{match[2]}ull)"
        if re.fullmatch(r"-?(0x)?[0-9a-fA-F]+", operand):
            if kind == "pred":
                return f"({operand} != 0)"
            suffix = "" if operand.startswith("-") else "u"
            return f"(({c_type}){operand}{suffix}ll)"
        if operand.startswith("__local_depot"):
            return f"(({c_type})(uint64_t)local)" if not self.in_step else (
                f"(({c_type})(uint64_t)local[l])"
            )  # fmt: skip
        if operand in self.entry.shared:
            return f"(({c_type})(uint64_t)(w->shared + {self.shared_offset(operand)}))"
        raise ValueError(f"no operand: {operand}")

    def shared_offset(self, name: str) -> int:
        offset = 0
        for other, size in self.entry.shared.items():
            if other == name:
                return offset
            offset += -(-size // 16) * 16
        raise KeyError(name)

    def write(self, operand: str, kind: str, value: str) -> str:
        name, own = self.register(operand)
        if own == "pred":
            value = f"!!({value})"
        elif (own[0] == "f") != (kind[0] == "f"):
            value = f"as_{own}({value})" if own[0] == "f" else f"as_b{kind[1:]}({value})"
        elif kind[0] == "s":
            value = f"({C_TYPES['s' + own[1:]]})({value})"
        return f"{name} = {value};"

    def address(self, operand: str) -> str:
        match = re.fullmatch(r"\[(%?\w+)([+-].*)?\]", operand)
        assert match is not None, operand
        offset = (match[2] or "+0").lstrip("+")
        return f"({self.read(match[1], 'b64')} + {offset})"

    # -- instructions -----------------------------------------------------------------------

    def statement(self, instruction: Instruction) -> str:
        """C for what is no jump and concerns one lane."""
        name, *parts = instruction.opcode.split(".")
        kind, operands = parts[-1] if parts else "", instruction.operands
        if name in ("ld", "st"):
            return self.memory(name, parts, operands)
        if name == "cvt":
            return self.convert(parts, operands)
        if name == "setp":
            return self.compare(parts, operands)
        usual = ["rn"] if kind[0] == "f" and name in ROUNDING else []
        known = MODIFIERS.get(name, [usual] if name not in LOOSE else [[], usual])
        if name not in ARITHMETIC or kind not in C_TYPES or parts[:-1] not in known:
            raise ValueError(f"not understood: {instruction.line}")
        to, *given = operands
        if name == "mov":
            return self.write(to, kind, self.read(given[0], kind))
        if name == "selp":
            a, b = self.read(given[0], kind), self.read(given[1], kind)
            return self.write(to, kind, f"{self.read(given[2], 'pred')} ? {a} : {b}")
        if name in ("shl", "shr"):
            shift = self.read(given[1], "u32")
            return self.write(to, kind, f"{name}_{kind}({self.read(given[0], kind)}, {shift})")
        values = [self.read(operand, kind) for operand in given]
        if name == "mul" and "wide" in parts:
            wider = f"{kind[0]}{2 * int(kind[1:])}"
            a, b = (f"(({C_TYPES[wider]}){value})" for value in values)
            return self.write(to, wider, f"{a} * {b}")
        if name == "bfi":
            position, length = self.read(given[2], "u32"), self.read(given[3], "u32")
            bits = f"bfi_{kind}({values[0]}, {values[1]}, {position}, {length})"
            return self.write(to, kind, bits)
        if name == "not" and kind == "pred":
            return self.write(to, kind, f"!{values[0]}")
        if name in UNARY:
            return self.write(to, kind, f"({C_TYPES[kind]})({UNARY[name]}{values[0]})")
        if name in BINARY:
            a, b = values
            return self.write(to, kind, f"({C_TYPES[kind]})({a} {BINARY[name]} {b})")
        if name in CALLS:
            return self.write(to, kind, f"{name}_{kind}({', '.join(values)})")
        if name in CALLS_IN_FULL:
            return self.write(to, kind, f"{'_'.join([name, *parts])}({', '.join(values)})")
        if kind[0] == "f" or "lo" in parts:
            return self.write(to, kind, f"({C_TYPES[kind]})({values[0]} * {values[1]})")
        raise ValueError(f"not understood: {instruction.line}")

    def memory(self, name: str, parts: list[str], operands: list[str]) -> str:
        # Addresses that say no space: what is asked of them here is global.
        kind, space = parts[-1], parts[0] if len(parts) > 1 else "global"
        vector = [part for part in parts if part in ("v2", "v4")]
        count = int(vector[0][1:]) if vector else 1
        place, register = operands if name == "st" else reversed(operands)
        registers = [part.strip() for part in register.strip("{}").split(",")]
        assert len(registers) == count
        c_type, size = C_TYPES[kind], BYTES[kind]
        if space == "param":
            index = int(re.fullmatch(r"\[\w+_param_(\d+)\]", place)[1])
            return self.write(registers[0], kind, f"*({c_type} *)w->parameters[{index}]")
        lines = [f"uint64_t a = {self.address(place)};"]
        n_bytes = size * count
        if space == "global":
            lines += [f"if (!check(w, a, {n_bytes})) return;"]
        elif space == "local":
            own = self.variable("local")
            lines += [f"if (!within(w, a, {n_bytes}, {own}, sizeof {own})) return;"]
        elif space == "shared":
            lines += [f"if (!within(w, a, {n_bytes}, w->shared, w->shared_bytes)) return;"]
        else:
            raise ValueError(f"memory of what kind: {space}")
        for i, each in enumerate(registers):
            at = f"*({c_type} *)(a + {i * size})"
            value = f"{at} = {self.read(each, kind)};" if name == "st" else (
                self.write(each, kind, at)
            )  # fmt: skip
            lines.append(value)
        return "{ " + " ".join(lines) + " }"

    def convert(self, parts: list[str], operands: list[str]) -> str:
        *rounding, to_kind, from_kind = parts
        value = self.read(operands[1], from_kind)
        if rounding == ["rzi"]:
            return self.write(operands[0], to_kind, f"rzi_{to_kind}_{from_kind}({value})")
        if rounding not in ([], ["rn"]):
            raise ValueError(f"conversion: {parts}")
        return self.write(operands[0], to_kind, f"({C_TYPES[to_kind]}){value}")

    def compare(self, parts: list[str], operands: list[str]) -> str:
        how, kind = parts[0], parts[-1]
        a, b = self.read(operands[1], kind), self.read(operands[2], kind)
        if len(parts) != 2:
            raise ValueError(f"comparison: {parts}")
        if kind[0] == "f" and how.endswith("u") and how[:-1] in COMPARE:
            test = f"!({a} == {a}) || !({b} == {b}) || {a} {COMPARE[how[:-1]]} {b}"
        elif how == "ne" and kind[0] == "f":
            test = f"{a} < {b} || {a} > {b}"
        else:
            test = f"{a} {COMPARE[how]} {b}"
        return self.write(operands[0], "pred", test)

    def warp_wide(self, instruction: Instruction) -> list[str]:
        """C for what concerns all lanes of `mask` together."""
        name, *parts = instruction.opcode.split(".")
        operands = instruction.operands
        # All lanes that there are must be meant.
        members = [f"LANES if ((mask & ~{self.read(operands[-1], 'u32')}) && !w->error) "
                   "w->error = LAUNCH_FAILED;"]  # fmt: skip
        if name == "bar":
            return members
        if name == "vote":
            test = f"mask >> l & 1 && {self.read(operands[1], 'pred')}"
            collect = [*members, f"uint32_t votes = 0; LANES if ({test}) votes |= 1u << l;"]
            if parts[1] == "ballot":
                return [*collect, "LANES " + self.write(operands[0], "b32", "votes")]
            if parts[1] == "any":
                return [*collect, "LANES " + self.write(operands[0], "pred", "votes != 0")]
        if name == "shfl" and parts[1] == "bfly":
            to, *done = operands[0].split("|")
            source = self.read(operands[1], "b32")
            width = f"LANES if ({self.read(operands[3], 'u32')} != 31) w->error = LAUNCH_FAILED;"
            return [
                *members,
                width,
                *["LANES " + self.write(flag, "pred", "1") for flag in done],
                f"uint32_t given[32]; LANES given[l] = {source};",
                "LANES if (mask >> l & 1) "
                + self.write(to, "b32", f"given[(l ^ {self.read(operands[2], 'u32')}) & 31]"),
            ]
        raise ValueError(f"not understood: {instruction.line}")

    def condition(self, guard: str) -> str:
        value = self.read(guard.lstrip("!"), "pred")
        return f"!{value}" if guard.startswith("!") else value

    def steps(self, block: Block, jump: Callable[[str], str], end: str) -> list[str]:
        """C for a lane's way through a block; `jump` to a label and `end` are the form's own."""
        lines = []
        for instruction in block.instructions:
            if instruction.opcode.startswith("bra"):
                step = jump(instruction.operands[0][1:])
            else:
                step = end if instruction.opcode == "ret" else self.statement(instruction)
            guard = instruction.guard
            lines.append(f"if ({self.condition(guard)}) {step}" if guard else step)
        return lines

    # -- the whole --------------------------------------------------------------------------

    def function(self) -> str:
        of_all = "[32]" if self.in_step else ""
        declared = [
            f"{C_TYPES[kind]} r_{name}{of_all};" for name, kind in self.entry.registers.items()
        ]
        size = max(self.entry.local_bytes, 16)
        declared.append(f"_Alignas(16) char local{of_all}[{size}];")
        body = self.body_in_step() if self.in_step else self.body_by_thread()
        head = f"void warp_{self.entry.name}(struct warp *w)"
        return "\n".join([head, "{", *declared, *body, "}"])

    def body_by_thread(self) -> list[str]:
        lines = ["LANES {", "if (!(w->alive >> l & 1)) continue;"]
        lines += ["memset(local, 0xA5, sizeof local);"]
        for block in self.entry.blocks:
            lines.append(f"{block.label}: ;")
            lines += self.steps(block, lambda label: f"goto {label};", "continue;")
        return [*lines, "}"]

    def body_in_step(self) -> list[str]:
        blocks = self.entry.blocks
        number = {block.label: i for i, block in enumerate(blocks)}
        wide = [
            bool(b.instructions) and b.instructions[0].opcode.startswith(WARP_WIDE) for b in blocks
        ]
        table = ", ".join(str(int(each)) for each in wide)
        lines = [
            f"static const uint8_t waits[] = {{{table}}};",
            "memset(local, 0xA5, sizeof local);",
            "int at[32]; LANES at[l] = 0;",
            "uint32_t alive = w->alive;",
            "while (alive) {",
            "int b; uint32_t mask = next_block(w, at, alive, waits, &b);",
            "if (!mask) return;",
            "switch (b) {",
        ]
        for i, block in enumerate(blocks):
            lines += [f"case {i}: {{", f"count(w, {i}, {len(block.instructions)}, mask);"]
            if wide[i]:
                lines += self.warp_wide(block.instructions[0])
                lines += [f"LANES if (mask >> l & 1) at[l] = {i + 1};"]
            else:
                lines += ["LANES { if (!(mask >> l & 1)) continue;", f"at[l] = {i + 1};"]
                lines += self.steps(
                    block,
                    lambda label: f"{{ at[l] = {number[label]}; continue; }}",
                    "{ alive &= ~(1u << l); continue; }",
                )
                lines.append("}")
            lines += ["break; }"]
        return [*lines, "} }"]


def translate(text: str, *, in_step: bool) -> str:
    """C of all entries, and a table of them that the driver reads."""
    entries = parse(text)
    parts = [f'#include "{HERE / "simt.h"}"']
    rows = []
    for entry in entries:
        wide = any(
            i.opcode.startswith(WARP_WIDE) for block in entry.blocks for i in block.instructions
        )
        parts.append(Writer(entry, in_step or wide).function())
        sizes = ", ".join(str(BYTES[kind]) for kind in entry.parameters)
        n_shared = sum(-(-size // 16) * 16 for size in entry.shared.values())
        rows.append(
            f'{{"{entry.name}", warp_{entry.name}, {len(entry.parameters)}, {{{sizes}}}, '
            f"{n_shared}, {entry.local_bytes}, {len(entry.blocks)}}}"
        )
    parts.append(f"struct entry entries[] = {{{', '.join(rows)}, {{0}}}};")
    return "\n\n".join(parts) + "\n"


def library_of(ptx: str, folder: Path, *, in_step: bool = False) -> Path:
    """The compiled library, kept in `folder` under a hash of all that it is made from."""
    source = translate(ptx, in_step=in_step)
    header = (HERE / "simt.h").read_text()
    name = hashlib.sha256((source + header + " ".join(FLAGS)).encode()).hexdigest()[:32]
    library = folder / f"{name}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made, c_file = Path(scratch) / "kernel.so", Path(scratch) / "kernel.c"
            c_file.write_text(source)
            subprocess.run(["gcc", *FLAGS, "-o", str(made), str(c_file), "-lm"], check=True)
            made.replace(library)
    return library


if __name__ == "__main__":
    print(library_of(Path(sys.argv[2]).read_text(), Path(sys.argv[1])))
