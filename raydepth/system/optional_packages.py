"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any

from raydepth.errors import MissingPackageError


def needed(module: str, extra: str) -> Any:
    """Import and return a module of an optional package.

    Raises
    ------
    MissingPackageError
        If the module cannot be imported; the message has the pip command.
    """
    try:
        found = importlib.import_module(module)
        if found.__file__ is None:
            # Python found a folder of that name first, for example a folder of results.
            raise ImportError(f"the folder {next(iter(found.__path__))} is not a package")
        return found
    except ImportError as error:
        raise MissingPackageError(
            f"the package {module.partition('.')[0]} is needed: pip install 'raydepth[{extra}]' "
            f"({error})"
        ) from error
