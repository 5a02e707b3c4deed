"""`struct warp` of simt.h, for those who run compiled entries themselves."""

from __future__ import annotations

import ctypes


class Warp(ctypes.Structure):
    _fields_ = (
        ("alive", ctypes.c_uint32), ("first_thread", ctypes.c_int),
        ("block", ctypes.c_uint32 * 3), ("n_blocks", ctypes.c_uint32 * 3),
        ("n_threads", ctypes.c_uint32), ("parameters", ctypes.c_void_p),
        ("shared", ctypes.c_void_p), ("shared_bytes", ctypes.c_uint64),
        ("pages", ctypes.c_void_p), ("arena", ctypes.c_uint64), ("arena_bytes", ctypes.c_uint64),
        ("error", ctypes.c_int), ("bad_address", ctypes.c_uint64), ("issued", ctypes.c_void_p),
        ("lanes", ctypes.c_void_p),
    )  # fmt: skip
