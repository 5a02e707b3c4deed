"""`python -m raydepth`."""

import sys

from raydepth.cli import main

if __name__ == "__main__":
    sys.exit(main())
