"""What runs on the device, and the tables it reads: plain Numba functions, but for kernels.py."""
