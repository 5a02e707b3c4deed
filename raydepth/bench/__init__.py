"""`python -m raydepth bench`: measure each stage, next to other renderers."""
