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
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"the package {module.partition('.')[0]} is needed: pip install 'raydepth[{extra}]' "
            f"({error})"
        ) from error
