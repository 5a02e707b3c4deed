"""The outputs of a rendering: their properties, and their computation from visible faces."""

from raydepth.camera.kinds import KINDS
from raydepth.outputs.table import OUTPUTS, Output

__all__ = ["KINDS", "OUTPUTS", "Output"]
