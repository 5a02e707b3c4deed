"""Outputs besides depth as files in memory, and back; the same files in every form of storage.

| output                 | file            | pixels                                              |
| ---------------------- | --------------- | --------------------------------------------------- |
| hit                    | .png, 8-bit grey | 255, or 0 for a miss                               |
| facing                 | .png, 8-bit grey | 255 front, 128 back, 0 for a miss                  |
| coverage               | .png, 8-bit grey | round(255 * share)                                 |
| instance               | .png, 16-bit grey | index + 1, 0 for a miss                           |
| triangle_id            | .npy            | int32, -1 for a miss                                |
| all others             | .npy            | float32, misses as `render` gives them              |

They are `000.normal.npy` beside `000.png`. `hits` is (n_hits, height, width), what has channels has
them last.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np

from raydepth.codecs.formats import as_value_error, decode_grey_png, npy
from raydepth.codecs.png import encode_png
from raydepth.outputs.table import OUTPUTS

# What each is in its file, in words, for the description.
MAPPINGS = {
    "hit": "255 hit",
    "facing": "255 front, 128 back",
    "coverage": "round(255 * share)",
    "instance": "index + 1",
}
BITS = {"hit": 8, "facing": 8, "coverage": 8, "instance": 16}
MOST_INSTANCES = 65535
SAMPLES = 16


class WithOutputs(NamedTuple):
    """An encoded view, and the files of its further outputs by their names."""

    depth: Any
    files: dict[str, bytes]


def parts_of(view: Any) -> tuple[Any, dict[str, bytes]]:
    """The encoded depth of a view, and its further files."""
    return (view.depth, view.files) if isinstance(view, WithOutputs) else (view, {})


def suffix_of(name: str) -> str:
    """Of an output's files: ".normal.npy"."""
    return f".{name}.{'png' if name in MAPPINGS else 'npy'}"


def described(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What a description says of the outputs in its files."""
    return {
        name: {
            "suffix": suffix_of(name),
            "dtype": stored_dtype(name),
            "mapping": MAPPINGS.get(name, "as it is"),
            "miss": 0 if name in MAPPINGS else {"miss": "inf"}.get(miss, miss),
        }
        for name in names
        for miss in [OUTPUTS[name].miss]
    }


def stored_dtype(name: str) -> str:
    """The type of the numbers in an output's files."""
    if name in BITS:
        return f"uint{BITS[name]}"
    return "int32" if OUTPUTS[name].dtype == "int32" else "float32"


def encode_output(name: str, values: np.ndarray) -> bytes:
    """The file of one view's output.

    Raises
    ------
    ValueError
        An instance beyond 65535.
    """
    if name not in MAPPINGS:
        return npy(np.ascontiguousarray(values, f"<{np.dtype(stored_dtype(name)).str[1:]}"))
    if name == "hit":
        pixels = np.where(values, 255, 0)
    elif name == "facing":
        pixels = np.choose(values + 1, (128, 0, 255))
    elif name == "coverage":
        pixels = np.rint(255.0 * values)
    else:
        if values.max() >= MOST_INSTANCES:
            raise ValueError(
                f"instance {values.max()} does not fit a 16-bit file; expected at most "
                f"{MOST_INSTANCES} nodes in a scene"
            )
        pixels = values + 1
    return encode_png(pixels.astype(stored_dtype(name)))


def decode_output(name: str, data: bytes) -> np.ndarray:
    """What `encode_output` was given: the output as `render` gives it.

    Raises
    ------
    ValueError
        The bytes are not such a file, or damaged.
    """
    if name not in MAPPINGS:
        with as_value_error("damaged or not a .npy file"):
            values = np.load(io.BytesIO(data), allow_pickle=False)
            if values.dtype != np.dtype(stored_dtype(name)):
                raise ValueError(f"it holds {values.dtype}; expected {stored_dtype(name)}")
            return values
    pixels, _ = decode_grey_png({"": data}, BITS[name])
    if name == "hit":
        return pixels > 0
    if name == "facing":
        return (pixels > 0).astype(np.int8) - 2 * (pixels == 128).astype(np.int8)
    if name == "coverage":
        sixteenths = np.rint(pixels.astype(np.float32) * (SAMPLES / 255))
        return (sixteenths / SAMPLES).astype(np.float32)
    return pixels.astype(np.int32) - 1
