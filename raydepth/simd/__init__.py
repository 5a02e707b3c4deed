"""Vectors, pointers and stack memory in jitted functions, and the one `jit`."""
