"""A comparison of raydepth and Blender Cycles on the same triangles and cameras, and a report."""

from raydepth.comparison.blender.reference import MODES, Section, compare_with_blender
from raydepth.comparison.blender.report import Report

__all__ = ["MODES", "Report", "Section", "compare_with_blender"]
