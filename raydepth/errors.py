"""The errors of raydepth's own; everything else that is wrong with input raises ValueError."""


class MeshError(ValueError):
    """A mesh that cannot be rendered as what it is. One line: which mesh, what is wrong."""


class DeviceError(RuntimeError):
    """The asked-for device cannot be used here. One line: what is missing, what to do."""


class MissingPackageError(ImportError):
    """A package that a format needs is not installed. One line: which, how to install it."""
