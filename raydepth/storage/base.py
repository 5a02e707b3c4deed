"""The interface of every form of storage: `Store`, `MeshWriter` and `StoredMesh`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.kinds import KINDS
from raydepth.export import DepthImage, StoredDepth
from raydepth.outputs.table import OUTPUTS
from raydepth.storage.output_files import decode_output, described, encode_output, suffix_of
from raydepth.system.atomic_files import whole_file

# Default values per unit of 16-bit forms.
DEFAULT_SCALE = 10000


class MeshWriter(ABC):
    """Takes the views of one mesh in their order, then its description and its contact sheet.

    Parameters
    ----------
    description : dict
        The description as it is before rendering; it names the files of all views.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self._files = [view["file"] for view in description["views"]]
        self._n_added = 0

    def add(self, encoded: Any) -> None:
        """Take the next view, as `Store.encode` gave it.

        Raises
        ------
        ValueError
            All views of the description were added already.
        OSError
            The place cannot be written.
        """
        if self._n_added == len(self._files):
            raise ValueError(f"too many views; expected {len(self._files)}")
        self._add(self._files[self._n_added], encoded)
        self._n_added += 1

    def finish(self, description: dict[str, Any], preview: bytes | None = None) -> None:
        """Take the completed description (see `description`) and a PNG of the contact sheet.

        Raises
        ------
        ValueError
            The description has more views than were added.
        OSError
            The place cannot be written.
        """
        if self._n_added < len(self._files):
            raise ValueError(f"only {self._n_added} views; expected {len(self._files)}")
        self._finish(description, preview)

    @abstractmethod
    def _add(self, file: str, encoded: Any) -> None:
        """Write one view; `file` is what the description calls it."""

    @abstractmethod
    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        """Write the rest."""


class MeshViews(MeshWriter):
    """The encoded views of one mesh, kept in memory until all meshes of its unit are there.

    Attributes
    ----------
    name : str
        The name of the mesh in the data set. A "/" makes folders; no part begins with a dot.
    description : dict
    views : list
    preview : bytes or None
    """

    def __init__(self, name: str, description: dict[str, Any]) -> None:
        super().__init__(description)
        self.name, self.description = name, description
        self.views: list[Any] = []
        self.preview: bytes | None = None

    def _add(self, file: str, encoded: Any) -> None:
        self.views.append(encoded)

    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        self.description, self.preview = description, preview


# Begins a mesh of a unit. The arguments are the mesh's name and a description that still lacks what
# rendering finds out: the views' ranges, hits and hashes. The writer is valid inside the block.
BeginMesh = Callable[[str, dict[str, Any]], AbstractContextManager[MeshWriter]]


class Store(ABC):
    """One form of storage. A store holds no state: it can be used from any thread and be pickled.

    Attributes
    ----------
    file_format : str
        The name of the form, as in `--format`.
    stores_uint16 : bool
        True if pixels are 16-bit values with a scale, False if they are float32 in units.
    suffix : str
        The end of each view's name, such as ".png"; may be empty.
    meshes_per_unit : int
        The number of meshes in a unit; the last unit may have fewer. A unit appears whole or not
        at all.
    package : (str, str) or None
        The module that the form needs, and raydepth's extra that installs it.
    description_file : str
        The name of the description in messages.
    outputs : frozenset of str
        The outputs besides depth that the form can hold.
    """

    file_format: str
    stores_uint16: bool
    suffix: str = ""
    meshes_per_unit: int = 1
    package: tuple[str, str] | None = None
    description_file: str = "views"
    # By default, all of them.
    outputs: frozenset[str] = frozenset(OUTPUTS) - frozenset(KINDS)

    @property
    def values_per_unit(self) -> float:
        """The default scale of 16-bit forms."""
        return DEFAULT_SCALE

    def check(self, cameras: Cameras, kind: str, values_per_unit: float) -> None:
        """Raise ValueError if this form cannot hold such views; most forms hold everything."""
        return

    def file_of(self, view: int, n_views: int) -> str:
        """The name of a view, such as "007.png": its file, or its entry inside a larger file."""
        digits = max(3, len(str(n_views - 1)))
        return f"{view:0{digits}}{self.suffix}"

    @abstractmethod
    def encode(self, view: StoredDepth) -> Any:
        """Encode one view in memory, ready to be written. The result can be pickled."""

    def contents(self, encoded: Any) -> Iterable[bytes]:
        """The bytes of an encoded view as files hold them; the view's hash is of these bytes."""
        return (encoded,)

    def output_file(self, view_file: str, name: str) -> str:
        """The name of an extra output of a view: its file, or its entry inside a larger file."""
        return view_file.removesuffix(self.suffix) + suffix_of(name)

    def describe_outputs(self, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The "outputs" entry of a description: how each extra output is stored."""
        return described(names)

    def encode_output(self, name: str, values: np.ndarray) -> bytes:
        """Encode an extra output of one view in memory.

        Raises
        ------
        ValueError
            A value does not fit the file.
        """
        return encode_output(name, values)

    @abstractmethod
    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        """The file or folder of a mesh that is in unit `index`."""

    @contextmanager
    def unit(self, out: Path, *, index: int = 0) -> Iterator[BeginMesh]:
        """Write unit `index` of the data set in the block: at most `meshes_per_unit` meshes.

        However the block ends, the unit is there whole or not at all. Where a unit has one mesh,
        the mesh is there at the end of its own block. What an earlier run left of the same unit
        is replaced. `out` is made with its parents.

        Raises
        ------
        OSError
            The place cannot be written, or another process is writing it.
        """
        yield partial(self._mesh, out)

    def _mesh(
        self, out: Path, name: str, description: dict[str, Any]
    ) -> AbstractContextManager[MeshWriter]:
        """Write one mesh in the block, in forms that have one mesh in a unit."""
        raise NotImplementedError

    def write(self, out: Path, meshes: Sequence[MeshViews], *, index: int = 0) -> None:
        """Write meshes that are in memory as one unit (see `unit`)."""
        with self.unit(out, index=index) as begin:
            for mesh in meshes:
                with begin(mesh.name, mesh.description) as writer:
                    for view in mesh.views:
                        writer.add(view)
                    writer.finish(mesh.description, mesh.preview)

    @abstractmethod
    def find(self, out: Path, name: str) -> StoredMesh | None:
        """Return the mesh at its place without reading it; None if nothing is there."""

    def found(self, out: Path, name: str) -> dict[str, Any] | None:
        """Return the description of a finished mesh; None if there is no such mesh.

        Raises
        ------
        FileExistsError
            Something else is in its place.
        """
        mesh = self.find(out, name)
        if mesh is None:
            return None
        try:
            return mesh.metadata
        except (OSError, ValueError):
            raise FileExistsError(
                f"{mesh.place} exists but holds no {self.description_file} written by raydepth; "
                "choose another place"
            ) from None

    def is_whole(self, out: Path, name: str) -> bool:
        """Return whether a mesh is there with all its views.

        Raises
        ------
        FileExistsError
            As for `found`.
        """
        return self.found(out, name) is not None

    @abstractmethod
    def remove(self, out: Path, name: str) -> None:
        """Remove a mesh and the other meshes of its unit; a unit is removed whole or not at all."""

    @abstractmethod
    def open(self, out: Path) -> list[StoredMesh]:
        """Return the finished meshes, sorted by name, without reading pixels or descriptions.

        Raises
        ------
        ValueError
            The file of a unit is damaged or was not written by raydepth.
        OSError
        """


class StoredMesh(ABC):
    """One mesh of a data set on disk. Views are read when they are asked for.

    Attributes
    ----------
    name : str
    place : Path
        The file or folder that the mesh is in.
    """

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        self.place = place

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The description: source, mesh, kind, scale; for each view its camera, range and hits.

        Raises
        ------
        ValueError
            The description is damaged; the message names the file.
        """
        try:
            return self._description()
        except ValueError as error:
            raise ValueError(f"{self.place}: {error}") from error

    @cached_property
    def cameras(self) -> Cameras:
        """The cameras of all views; ValueError if the description is damaged."""
        try:
            return Cameras.from_json([view["camera"] for view in self.metadata["views"]])
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"{self.place}: its cameras are damaged ({error})") from error

    @property
    def kind(self) -> str:
        """The kind of depth: "z" or "ray"."""
        return self.metadata["kind"]

    def __len__(self) -> int:
        """The number of views."""
        return len(self.metadata["views"])

    def depth(self, view: int) -> np.ndarray:
        """Read the depth map of one view.

        Parameters
        ----------
        view : int
            Counted from 0, or from the end if negative.

        Returns
        -------
        (height, width) float32
            In units; +inf is a miss, everything else is finite and > 0.

        Raises
        ------
        IndexError
            There is no such view.
        ValueError
            The file is damaged; the message names it.
        OSError
        """
        view = self._checked_view(view)
        file = self.metadata["views"][view]["file"]
        try:
            depth = self._depth(view)
            expected = (self.cameras.height, self.cameras.width)
            if depth.shape != expected:
                raise ValueError(f"it has shape {depth.shape}; expected {expected}")
        except ValueError as error:
            message = str(error).removeprefix(f"{self.place}: ")
            raise ValueError(f"{self.place}: view {file}: {message}") from error
        return depth.astype(np.float32, copy=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are stored besides depth."""
        return tuple(self.metadata.get("outputs", {}))

    def output(self, name: str, view: int) -> np.ndarray:
        """Read one view of an output besides depth, as `render` gives it in float32.

        Shapes, dtypes and misses are in `outputs.OUTPUTS`.

        Raises
        ------
        KeyError
            The output was not rendered.
        IndexError, ValueError, OSError
            As for `depth`.
        """
        if name not in self.outputs:
            there = ", ".join(self.outputs) or "none"
            raise KeyError(f"{self.name} has no output {name!r}; it has {there}")
        view = self._checked_view(view)
        try:
            file = self.metadata["views"][view]["outputs"][name]["file"]
        except (KeyError, TypeError):
            raise ValueError(
                f"{self.place}: its description has no {name} of view {view}"
            ) from None
        try:
            values = self._output(name, view, file)
            size = (self.cameras.height, self.cameras.width)
            if (values.shape[1:] if name == "hits" else values.shape[:2]) != size:
                raise ValueError(f"it has shape {values.shape}; expected {size} pixels")
        except ValueError as error:
            message = str(error).removeprefix(f"{self.place}: ")
            raise ValueError(f"{self.place}: {file}: {message}") from error
        return values

    def _checked_view(self, view: int) -> int:
        if not -len(self) <= view < len(self):
            raise IndexError(f"{self.name} has no view {view}; it has {len(self)} views")
        return view % len(self)

    def depths(self) -> np.ndarray:
        """Read all views, as `depth` does: (n_views, height, width) float32, in units."""
        return np.stack([self.depth(view) for view in range(len(self))])

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the depth map of each view in turn."""
        return (self.depth(view) for view in range(len(self)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {os.fspath(self.place)!r}>"

    @abstractmethod
    def contents(self, view: int) -> Iterable[bytes]:
        """The bytes of a view's depth, as `Store.contents` gives them; `view` counts from 0."""

    def content(self, file: str) -> bytes:
        """The bytes of an extra output; `file` is its name in the description."""
        raise ValueError("it holds depth only")

    @abstractmethod
    def _description(self) -> dict[str, Any]:
        """Read and check the description."""

    @abstractmethod
    def _depth(self, view: int) -> np.ndarray:
        """Read a view that exists: (height, width) float."""

    def output_content(self, name: str, view: int) -> bytes:
        """The bytes of an extra output, as `Store.encode_output` gives them."""
        return self.content(self.metadata["views"][view]["outputs"][name]["file"])

    def _output(self, name: str, view: int, file: str) -> np.ndarray:
        """Read an extra output of a view that exists; `file` is its name in the description."""
        return decode_output(name, self.content(file))


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears, or replaces another, at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, open(temporary, "xb") as file:
        yield file


def check_agreement(image: DepthImage, description: dict[str, Any]) -> None:
    """Raise ValueError if a view's own metadata contradicts the description of its mesh."""
    for key in ("kind", "values_per_unit"):
        if image.metadata[key] != description[key]:
            raise ValueError(
                f"its {key} is {image.metadata[key]!r}; that of its mesh is {description[key]!r}"
            )


def names_with_suffix(out: Path, suffix: str, above: str = "") -> Iterator[str]:
    """Yield the names, without `suffix`, of the files below `out` with it; skip hidden files."""
    with os.scandir(out / above) as entries:
        for entry in entries:
            name = f"{above}/{entry.name}" if above else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from names_with_suffix(out, suffix, name)
            elif entry.name.endswith(suffix):
                yield name.removesuffix(suffix)
