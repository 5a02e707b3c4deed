"""Everything that names CUDA: the kernels, the functions they call, and the code that runs them.

Only kernels.py imports Numba's CUDA target, and `device.py` imports kernels.py only when a device
is asked for. Everything else here is plain Numba or NumPy and runs on any machine.
"""
