"""Code that runs on the device, and its tables: plain Numba functions, except for kernels.py."""
