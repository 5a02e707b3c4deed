"""The outputs of a rendering: what they are, and how visible faces become values."""

from raydepth.camera.kinds import KINDS
from raydepth.outputs.table import OUTPUTS, Output

__all__ = ["KINDS", "OUTPUTS", "Output"]
