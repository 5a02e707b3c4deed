"""The errors of raydepth's own; everything else that is wrong with input raises ValueError."""


class MeshError(ValueError):
    """A mesh that cannot be rendered as what it is. One line: which mesh, what is wrong."""


class DeviceError(RuntimeError):
    """The asked-for device cannot be used here. One line: what is missing, what to do."""


class DeviceMemoryError(MemoryError):
    """One mesh, or one view, does not fit the device's memory. One line: what, what to do."""


class BlenderError(RuntimeError):
    """Blender is missing, or did not do its job. One line: what happened, what to do."""


class MissingPackageError(ImportError):
    """A package that a format needs is not installed. One line: which, how to install it."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
