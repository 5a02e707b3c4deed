"""`python -m raydepth`, and the command `raydepth`."""

import atexit
import os
import sys
from typing import NoReturn

from raydepth.spawning import spawn_early


def run() -> NoReturn:
    """Run the command line and end the process."""
    if sys.argv[1:2] == ["render"]:
        # It has as much to import as this one, and can do so at the same time.
        spawn_early()
    from raydepth.cli import main

    code = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python would now spend a quarter of a second on taking Numba's modules apart: skip that, as
    # mypy does.
    os._exit(code)


if __name__ == "__main__":
    run()
