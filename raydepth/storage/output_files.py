"""Encode outputs besides depth as files in memory, and decode them.

Folders, .npz files and tar shards hold the same files.

| output                 | file            | pixels                                              |
| ---------------------- | --------------- | --------------------------------------------------- |
| hit                    | .png, 8-bit grey | 255, or 0 for a miss                               |
| facing                 | .png, 8-bit grey | 255 front, 128 back, 0 for a miss                  |
| coverage               | .png, 8-bit grey | round(255 * share)                                 |
| instance               | .png, 16-bit grey | index + 1, 0 for a miss                           |
| triangle_id            | .npy            | int32, -1 for a miss                                |
| all others             | .npy            | float32, misses as `render` gives them              |

The normals of `000.png` are in `000.normal.npy` beside it. `hits` is (n_hits, height, width);
outputs with channels have them last.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from raydepth.codecs.formats import as_value_error, decode_grey_png, npy
from raydepth.codecs.png import encode_png
from raydepth.outputs.table import OUTPUTS

MOST_INSTANCES = 65535
SAMPLES = 16  # coverage is a multiple of 1 / SAMPLES


class Grey(NamedTuple):
    """A grey PNG that holds an output; 0 is a miss.

    Attributes
    ----------
    bits : 8 or 16
    mapping : str
        The meaning of its values, for the description.
    encode, decode : callable
        Functions from the output to the values of pixels, and back.
    """

    bits: int
    mapping: str
    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


def _decoded_facing(pixels: np.ndarray) -> np.ndarray:
    return (pixels > 0).astype(np.int8) - 2 * (pixels == 128).astype(np.int8)


def _decoded_coverage(pixels: np.ndarray) -> np.ndarray:
    sixteenths = np.rint(pixels.astype(np.float32) * (SAMPLES / 255))
    return (sixteenths / SAMPLES).astype(np.float32)


def _encoded_instance(values: np.ndarray) -> np.ndarray:
    if values.max() >= MOST_INSTANCES:
        raise ValueError(
            f"instance {values.max()} does not fit a 16-bit file; expected at most "
            f"{MOST_INSTANCES} nodes in a scene"
        )
    return values + 1


# The outputs whose entry in OUTPUTS says "grey".
GREY = {
    "hit": Grey(8, "255 hit", lambda values: np.where(values, 255, 0), lambda pixels: pixels > 0),
    "facing": Grey(
        8,
        "255 front, 128 back",
        lambda values: np.choose(values + 1, (128, 0, 255)),
        _decoded_facing,
    ),
    "coverage": Grey(
        8,
        "round(255 * share)",
        lambda values: np.rint(255.0 * values),
        _decoded_coverage,
    ),
    "instance": Grey(
        16, "index + 1", _encoded_instance, lambda pixels: pixels.astype(np.int32) - 1
    ),
}


class WithOutputs(NamedTuple):
    """An encoded view, and the files of its extra outputs by their names."""

    depth: Any
    files: dict[str, bytes]


def parts_of(view: Any) -> tuple[Any, dict[str, bytes]]:
    """The encoded depth of a view, and the files of its extra outputs."""
    return (view.depth, view.files) if isinstance(view, WithOutputs) else (view, {})


def suffix_of(name: str) -> str:
    """The end of the names of an output's files, such as ".normal.npy"."""
    return f".{name}.{'png' if OUTPUTS[name].stored == 'grey' else 'npy'}"


def described(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The "outputs" entry of a description: how the files of each output are read."""
    return {
        name: {
            "suffix": suffix_of(name),
            "dtype": stored_dtype(name),
            "mapping": GREY[name].mapping if name in GREY else "as it is",
            "miss": 0 if name in GREY else {"miss": "inf"}.get(miss, miss),
        }
        for name in names
        for miss in [OUTPUTS[name].miss]
    }


def stored_dtype(name: str) -> str:
    """The dtype of the numbers in an output's files."""
    if OUTPUTS[name].stored == "grey":
        return f"uint{GREY[name].bits}"
    return "int32" if OUTPUTS[name].dtype == "int32" else "float32"


def encode_output(name: str, values: np.ndarray) -> bytes:
    """Encode one view of an output as a file.

    Raises
    ------
    ValueError
        An index of the output "instance" is 65535 or more.
    """
    dtype = stored_dtype(name)
    if name in GREY:
        return encode_png(GREY[name].encode(values).astype(dtype))
    return npy(np.ascontiguousarray(values, f"<{np.dtype(dtype).str[1:]}"))


def decode_output(name: str, data: bytes) -> np.ndarray:
    """Decode a file of `encode_output`: return the output as `render` gives it.

    Raises
    ------
    ValueError
        The bytes are not such a file, or are damaged.
    """
    if name in GREY:
        pixels, _ = decode_grey_png({"": data}, GREY[name].bits)
        return GREY[name].decode(pixels)
    with as_value_error("damaged or not a .npy file"):
        values = np.load(io.BytesIO(data), allow_pickle=False)
        if values.dtype != np.dtype(stored_dtype(name)):
            raise ValueError(f"it holds {values.dtype}; expected {stored_dtype(name)}")
        return values
