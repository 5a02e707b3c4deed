"""The entry point of `python -m raydepth` and of the command `raydepth`."""

import os
import sys
from typing import NoReturn

from raydepth.runs import spawning


def run() -> NoReturn:
    """Run the command line and end the process."""
    spawning.is_raydepths_own()
    # OpenBLAS threads wait by spinning, and NumPy's linear algebra gets only 4x4 matrices here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.argv[1:2] == ["render"]:
        # A worker process imports as much as this one. Started now, it does so at the same time.
        spawning.start_early(1)
    from raydepth.cli.commands import main

    spawning.run_program(main)


if __name__ == "__main__":
    run()
