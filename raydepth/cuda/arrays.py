"""Results that stay on the device, where other libraries read them without a copy.

`__cuda_array_interface__` (version 3) is what CuPy, Numba and Torch read; DLPack's structures are
laid out in dlpack.h, version 0.8, and handed over in a capsule named "dltensor".
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from raydepth.cuda.device import Buffer

CPU, CUDA = 1, 2  # DLDeviceType
TYPE_CODES = {"i": 0, "u": 1, "f": 2}  # DLDataTypeCode, by NumPy's kind


class DeviceArray:
    """A contiguous array in the memory of a device; read it with Torch, CuPy or `to_host`.

    All work on it is done when the caller gets it, so there is no stream to wait for.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    """

    def __init__(
        self, device: Any, buffer: Buffer, offset: int, shape: tuple[int, ...], dtype: Any
    ) -> None:
        self._device, self._buffer, self._offset = device, buffer, offset
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def address(self) -> int:
        return self._buffer.address + self._offset

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "strides": None,
            "stream": None,
        }

    def to_host(self) -> np.ndarray:
        """Return a copy in main memory."""
        host = np.empty(self.shape, self.dtype)
        stream = self._device.stream()
        self._device.download(host, self._buffer, self._offset, stream)
        self._device.wait(stream)
        return host

    def __dlpack_device__(self) -> tuple[int, int]:
        return getattr(self._device, "dlpack_type", CUDA), self._device.number

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        """Return a capsule that shares this memory and keeps it alive. All work on it is done."""
        return _capsule(self)


class _DLDevice(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DLDataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", _DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensor(ctypes.Structure):
    pass


_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(_DLManagedTensor))
_DLManagedTensor._fields_ = (
    ("dl_tensor", _DLTensor),
    ("manager_ctx", ctypes.c_void_p),
    ("deleter", _DELETER),
)
_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_python = ctypes.pythonapi
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, _DESTRUCTOR)
_python.PyCapsule_IsValid.restype = ctypes.c_int
_python.PyCapsule_IsValid.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)

NAME = b"dltensor"
# The arrays that were handed over, by address of their structure, until the new owner deletes it.
_shared: dict[int, tuple[Any, ...]] = {}


@_DELETER
def _delete(managed: Any) -> None:
    _shared.pop(ctypes.addressof(managed.contents), None)


@_DESTRUCTOR
def _discard(capsule: int) -> None:
    """Free an array that was never taken; a capsule that was taken has been renamed."""
    if _python.PyCapsule_IsValid(capsule, NAME):
        _shared.pop(_python.PyCapsule_GetPointer(capsule, NAME), None)


def _capsule(array: DeviceArray) -> Any:
    device_type, device_id = array.__dlpack_device__()
    shape = (ctypes.c_int64 * len(array.shape))(*array.shape)
    steps = [math.prod(array.shape[axis + 1 :]) for axis in range(len(array.shape))]
    strides = (ctypes.c_int64 * len(steps))(*steps)
    type_ = _DLDataType(TYPE_CODES[array.dtype.kind], 8 * array.dtype.itemsize, 1)
    tensor = _DLTensor(
        array.address, _DLDevice(device_type, device_id), len(steps), type_, shape, strides, 0
    )
    managed = _DLManagedTensor(tensor, None, _delete)
    address = ctypes.addressof(managed)
    _shared[address] = (managed, shape, strides, array)
    return _python.PyCapsule_New(address, NAME, _discard)
