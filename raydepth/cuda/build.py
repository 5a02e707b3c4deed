"""Build a hierarchy on the device, from arrays in main memory or on the device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from raydepth.cuda import device as devices
from raydepth.cuda.device import Buffer, aligned, allocated
from raydepth.cuda.device_code import lbvh
from raydepth.cuda.device_code.layout import MAX_SLOTS
from raydepth.cuda.device_code.threads import THREADS
from raydepth.cuda.resident import Resident
from raydepth.errors import MeshError
from raydepth.limits import MAX_COORDINATE

# Most faces of a leaf: larger leaves mean fewer nodes, but more faces to test.
LEAF_SIZE = 4
# Bits of the curve per axis: enough cells for the faces of a plane, and extra bits for curved
# meshes.
EXTRA_BITS = 3
MAX_BITS = 20


class DeviceMesh:
    """A mesh on the CUDA device, with a hierarchy that is built there in a fraction of the time.

    `raydepth.render` takes it in place of a mesh and finds the same faces and depths, bit for bit.
    Rendering is somewhat slower than with a hierarchy that the CPU has built.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64 or float32
        A NumPy array, or an array on the device (`__cuda_array_interface__`: Torch, CuPy, Numba).
    faces : (n_faces, 3) int32
        Given as the vertices are. `triangle_id` indexes these rows.
    leaf_size : int
        Most faces of a leaf.

    Raises
    ------
    MeshError
        If the arrays are not a renderable mesh: wrong shape or type, coordinates that are not
        finite or are beyond 1e30, indices out of range, or no face with an area.
    DeviceError
        If no CUDA device can be used here.
    MemoryError
        If the mesh does not fit into the device's memory.
    """

    def __init__(self, vertices: Any, faces: Any, *, leaf_size: int = LEAF_SIZE) -> None:
        builder = _Builder(devices.device(), vertices, faces)
        builder.run(leaf_size)
        self.centre, self.scale = builder.centre, builder.scale
        self.n_faces = builder.n_faces
        self.resident = builder.resident()

    def __repr__(self) -> str:
        return f"DeviceMesh({self.n_faces} faces)"


class _Given:
    """An input array: its address on the device, or the host array to copy from."""

    def __init__(self, array: Any, name: str, types: tuple[Any, ...]) -> None:
        interface = getattr(array, "__cuda_array_interface__", None)
        self.owner = array
        self.host: np.ndarray | None = None
        if interface is None:
            self.host = np.ascontiguousarray(array)
            self.shape, self.dtype = self.host.shape, self.host.dtype
            self.address = 0
        else:
            self.shape, self.dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
            self.address = interface["data"][0]
            steps = interface.get("strides")
            if steps is not None and tuple(steps) != (3 * self.dtype.itemsize, self.dtype.itemsize):
                raise MeshError(f"{name} are not contiguous; expected rows of three, in C order")
        if len(self.shape) != 2 or self.shape[1] != 3 or self.shape[0] == 0:
            raise MeshError(f"{name} have shape {self.shape}; expected (n, 3), n at least 1")
        if self.dtype not in types:
            expected = " or ".join(np.dtype(type_).name for type_ in types)
            raise MeshError(f"{name} are {self.dtype}; expected {expected}")

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class _Builder:
    """The steps of lbvh.py in order, on one stream."""

    def __init__(self, device: Any, vertices: Any, faces: Any) -> None:
        self.device = device
        self.vertices = _Given(vertices, "vertices", (np.float64, np.float32))
        self.faces = _Given(faces, "faces", (np.int32,))
        self.n_vertices, self.n_faces = self.vertices.shape[0], self.faces.shape[0]
        if self.n_faces >= MAX_SLOTS:
            raise MeshError(f"the mesh has {self.n_faces} faces; expected fewer than {MAX_SLOTS}")
        self.stream = device.stream()
        self.table = np.zeros(lbvh.WORDS, np.int64)
        self.numbers = self.table.view(np.float64)
        self.bits = min(MAX_BITS, (self.n_faces.bit_length() + 1) // 2 + EXTRA_BITS)
        self._allocate()

    def _allocate(self) -> None:
        n, n_nodes = self.n_faces, max(self.n_faces - 1, 1)
        # Levels of counts: each sums up RUN counts of the level below, until one run is left.
        sizes = [lbvh.N_DIGITS * -(-n // lbvh.RUN)]
        while sizes[-1] > lbvh.RUN:
            sizes.append(-(-sizes[-1] // lbvh.RUN))
        self.counts = list(zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True))
        levels = [n]
        while levels[-1] > 1:
            levels.append((levels[-1] + 1) // 2)
        self.boxes = list(zip(np.cumsum([0, *levels[:-1]]).tolist(), levels, strict=True))

        kept = {
            lbvh.NODES: 64 * n_nodes, lbvh.TRIANGLES: 48 * n,
            lbvh.VERTICES: 24 * self.n_vertices, lbvh.CORNERS: 12 * n,
        }  # fmt: skip
        scratch = {
            lbvh.CODES: 8 * n, lbvh.CODES + 1: 8 * n, lbvh.ORDER: 4 * n, lbvh.ORDER + 1: 4 * n,
            lbvh.COUNTS: 4 * sum(sizes), lbvh.BOXES: 32 * sum(levels), lbvh.FACE_BOXES: 32 * n,
            lbvh.RANGES: 16 * n_nodes, lbvh.PARTIALS: 64 * lbvh.N_PARTIALS,
        }  # fmt: skip
        for word, given in ((lbvh.WORLD, self.vertices), (lbvh.FACES, self.faces)):
            if given.host is None:
                self.table[word] = given.address
            else:
                scratch[word] = given.n_bytes
        self.kept = self._place(kept)
        self.scratch = self._place(scratch)
        for word, given in ((lbvh.WORLD, self.vertices), (lbvh.FACES, self.faces)):
            if given.host is not None:
                offset = int(self.table[word]) - self.scratch.address
                self.device.upload(self.scratch, offset, given.host, self.stream)
        self.on_device = self.device.empty(self.table.nbytes)
        self.table[lbvh.N_VERTICES], self.table[lbvh.N_FACES] = self.n_vertices, self.n_faces
        self.table[lbvh.N_LIVE] = self.n_faces
        self.table[lbvh.IS_FLOAT32] = self.vertices.dtype == np.float32
        self.table[lbvh.BITS] = self.bits
        for level, (begin, _) in enumerate(self.boxes):
            self.table[lbvh.BOX_LEVELS + level] = begin

    def _place(self, sizes: dict[int, int]) -> Buffer:
        """Allocate these bytes in one buffer; write the addresses to their words of the table."""
        buffer = allocated(self.device, sum(aligned(n_bytes) for n_bytes in sizes.values()))
        address = buffer.address
        for word, n_bytes in sizes.items():
            self.table[word] = address
            address += aligned(n_bytes)
        return buffer

    def _step(self, name: str, n: int, a: int = 0, b: int = 0, c: int = 0) -> None:
        step = lbvh.STEPS.index(name)
        numbers = (np.int32(step), np.int64(n), np.int64(a), np.int64(b), np.int64(c))
        table = np.uint64(self.on_device.address)
        self.device.launch("build_step", -(-n // THREADS), 1, (table, *numbers), self.stream)

    def _upload_table(self) -> None:
        self.device.upload(self.on_device, 0, self.table, self.stream)

    def _partials(self) -> np.ndarray:
        found = np.empty((lbvh.N_PARTIALS, 8))
        offset = int(self.table[lbvh.PARTIALS]) - self.scratch.address
        self.device.download(found, self.scratch, offset, self.stream)
        self.device.wait(self.stream)
        return found

    def run(self, leaf_size: int) -> None:
        n, n_runs = self.n_faces, -(-self.n_faces // lbvh.RUN)
        self._upload_table()
        self._step("bounds", lbvh.N_PARTIALS)
        self._set_frame(self._partials())
        self._upload_table()
        self._step("localize", self.n_vertices)
        self._step("encode", n)
        source = 0
        # One bit more than codes have: it is set for faces without an area.
        shifts = [*range(0, 3 * self.bits, lbvh.DIGIT_BITS)]
        if shifts[-1] + lbvh.DIGIT_BITS <= 62:
            shifts.append(60)
        for shift in shifts:
            self._step("count_digits", n_runs, shift, source)
            self._scan()
            self._step("move_digits", n_runs, shift, source)
            source = 1 - source
        self._step("count_live", lbvh.N_PARTIALS, source)
        n_live = int(self._partials()[:, 0].sum())
        if n_live == 0:
            raise MeshError("no face has an area")
        self.table[lbvh.N_LIVE] = n_live
        self._upload_table()
        self._step("place", n, source)
        for (below, n_below), (begin, size) in zip(self.boxes, self.boxes[1:], strict=False):
            self._step("join", size, below, n_below, begin)
        n_nodes = n_live - 1 if n_live > leaf_size else 1
        if n_live > leaf_size:
            self._step("split", n_nodes, source)
        self._step("write_node", n_nodes, leaf_size)
        self.device.wait(self.stream)

    def _scan(self) -> None:
        """Replace each count of a digit by the sum of those before it."""
        for (below, n_below), (begin, size) in zip(self.counts, self.counts[1:], strict=False):
            self._step("sum_counts", size, below, n_below, begin)
        above = -1
        for begin, size in reversed(self.counts):
            self._step("scan_counts", -(-size // lbvh.RUN), begin, size, above)
            above = begin

    def _set_frame(self, partials: np.ndarray) -> None:
        """Set the local frame to the one that `local_frame.local_frame` finds."""
        if partials[:, 6].any():
            raise MeshError(
                f"faces hold {int(partials[:, 6].sum())} indices out of range; expected 0 to "
                f"{self.n_vertices - 1}"
            )
        low, high = partials[:, :3].min(axis=0), partials[:, 3:6].max(axis=0)
        if not max(np.abs(low).max(), np.abs(high).max()) <= MAX_COORDINATE:
            raise MeshError(
                f"vertices hold NaN or numbers beyond {MAX_COORDINATE:g}; expected finite ones"
            )
        half = float((high - low).max()) * 0.5
        if half == 0.0:
            raise MeshError("no face has an area")
        self.centre = low + (high - low) * 0.5
        self.scale = math.ldexp(1.0, -math.frexp(half)[1])
        self.numbers[lbvh.CENTRE : lbvh.CENTRE + 3] = self.centre
        self.numbers[lbvh.SCALE] = self.scale

    def resident(self) -> Resident:
        words = (lbvh.NODES, lbvh.TRIANGLES, lbvh.VERTICES, lbvh.CORNERS)
        a, b, c, d = (int(self.table[word]) for word in words)
        return Resident((a, b, c, d), self.kept)
