"""The exceptions that raydepth defines. Other wrong input raises ValueError."""


class MeshError(ValueError):
    """A mesh cannot be rendered as it is. One line: which mesh, what is wrong."""


class DeviceError(RuntimeError):
    """The requested device cannot be used here. One line: what is missing, what to do."""


class DeviceMemoryError(MemoryError):
    """One mesh, or one view, does not fit the device's memory. One line: which, what to do."""


class BlenderError(RuntimeError):
    """Blender is missing, or did not do its job. One line: what happened, what to do."""


class MissingPackageError(ImportError):
    """A package that a format needs is not installed. One line: which, how to install it."""


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
