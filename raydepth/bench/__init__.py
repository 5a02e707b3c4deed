"""`python -m raydepth bench`: measure each stage, beside other renderers."""
