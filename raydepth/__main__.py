"""`python -m raydepth`, and the command `raydepth`."""

import atexit
import os
import sys
from typing import NoReturn

from raydepth.cli import main


def run() -> NoReturn:
    """Run the command line and end the process.

    Python would then spend a quarter of a second on taking Numba's modules apart: skip that, as
    mypy does.
    """
    code = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
