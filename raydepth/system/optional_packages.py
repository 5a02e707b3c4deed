"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any

from raydepth.errors import MissingPackageError


def needed(module: str, extra: str) -> Any:
    """The module, imported.

    Raises
    ------
    MissingPackageError
        It is not installed; the message has the pip command.
    """
    try:
        found = importlib.import_module(module)
        if found.__file__ is None:
            # A folder of that name where Python looks first, such as the results' own.
            raise ImportError(f"the folder {next(iter(found.__path__))} is no package")
        return found
    except ImportError as error:
        raise MissingPackageError(
            f"the package {module.partition('.')[0]} is needed: pip install 'raydepth[{extra}]' "
            f"({error})"
        ) from error
