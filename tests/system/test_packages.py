"""Packages that only some formats need: without them, one line says what to install."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import raydepth as rd
from raydepth.cli import commands
from raydepth.errors import MissingPackageError
from raydepth.storage.forms import store_of
from raydepth.system.optional_packages import needed

EXR = r"^the package OpenEXR is needed: pip install 'raydepth\[exr\]'"
ZARR = r"^the package zarr is needed: pip install 'raydepth\[zarr\]'"


@pytest.fixture(autouse=True)
def without_packages(monkeypatch):
    for name in ("OpenEXR", "zarr"):
        monkeypatch.setitem(sys.modules, name, None)


def test_exr(tmp_path):
    with pytest.raises(MissingPackageError, match=EXR):
        rd.write_depth(tmp_path / "a.exr", np.ones((2, 2)), kind="z")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    with pytest.raises(MissingPackageError, match=EXR):
        rd.read_depth(tmp_path / "a.exr")


@pytest.mark.parametrize(("file_format", "words"), [("exr", EXR), ("zarr", ZARR)])
def test_stores(file_format, words):
    with pytest.raises(MissingPackageError, match=words):
        store_of(file_format)


def test_a_folder_of_results_is_no_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "zzarr").mkdir()
    words = r"^the package zzarr is needed: pip install .* \(the folder .*zzarr is not a package\)"
    with pytest.raises(MissingPackageError, match=words):
        needed("zzarr", "zarr")


@pytest.mark.parametrize("file_format", ["exr", "zarr"])
def test_the_command_line_says_it_once_and_does_nothing(tmp_path, file_format, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["render", "a.ply", "b.ply", "-o", "out", "--format", file_format]
    assert commands.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"pip install 'raydepth[{file_format}]'" in line
    assert list(tmp_path.iterdir()) == []
