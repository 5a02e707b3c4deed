"""Run a command whose CUDA device is the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cuda_emulator import environment, what_is_missing

if what_is_missing() is not None:
    sys.exit(f"cuda_emulator: {what_is_missing()}")
with tempfile.TemporaryDirectory() as folder:
    variables = {**os.environ, **environment(Path(folder))}
    sys.exit(subprocess.run(sys.argv[1:], env=variables).returncode)
