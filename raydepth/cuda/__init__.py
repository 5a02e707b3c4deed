"""Everything that names CUDA: kernels, what they are made of, and how they are run.

Only `device.py` and what it is asked for imports Numba's CUDA target, and only when a device is
asked for. All else here is plain Numba or NumPy and runs on any machine.
"""
