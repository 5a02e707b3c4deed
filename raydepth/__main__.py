"""`python -m raydepth`, and the command `raydepth`."""

import atexit
import os
import sys
from typing import NoReturn

from raydepth.runs import spawning


def run() -> NoReturn:
    """Run the command line and end the process."""
    spawning.is_raydepths_own()
    # NumPy's linear algebra is only asked for 4x4 matrices here, and its threads wait by spinning.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.argv[1:2] == ["render"] and not spawning.can_fork():
        # It has as much to import as this one, and can do so at the same time.
        spawning.spawn_early()
    from raydepth.cli.commands import main

    code = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python would now spend a quarter of a second on taking Numba's modules apart: skip that, as
    # mypy does.
    os._exit(code)


if __name__ == "__main__":
    run()
