"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from raydepth.system import atomic_folders, file_locks
from raydepth.system.atomic_files import whole_file, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "views.json"
    with whole_file(path) as temporary:
        temporary.write_text("{}")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".tmp"
        assert not path.exists()
    assert path.read_text() == "{}"
    assert names(tmp_path) == ["views.json"]


def test_name_may_be_a_str_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with whole_file("a.txt") as temporary:
        temporary.write_text("a")
    assert names(tmp_path) == ["a.txt"]


def test_name_may_be_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("m" * 251 + ".png")
    write_whole({path: b"x"})
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with whole_file(path) as temporary:
            temporary.write_text("half of the n")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_whole({tmp_path / "whole": b""})
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("plain", "whole")}
    assert len(modes) == 1


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist$"):
        write_whole({tmp_path / "nowhere" / "a.txt": b""})


def test_folder_and_pipe_are_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match=f"{name}: exists and is not a file"):
            write_whole({tmp_path / name: b""})
    assert names(tmp_path) == ["folder", "pipe"]


def test_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.txt"

    def write():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert caught.value.filename == str(path)
    assert names(tmp_path) == []


def test_failed_rename_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EACCES, "Permission denied", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError) as caught:
        write_whole({tmp_path / "a.txt": b"a"})
    assert str(caught.value).endswith(f"Permission denied: '{tmp_path / 'a.txt'}'")
    assert names(tmp_path) == []


def test_another_files_name_stays_in_its_error(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "a.txt"):
        (tmp_path / "other.txt").read_bytes()
    assert caught.value.filename == str(tmp_path / "other.txt")


def test_last_of_several_appears_last_and_old_one_goes_first(tmp_path, monkeypatch):
    sidecar, array = tmp_path / "a.npy.json", tmp_path / "a.npy"
    array.write_text("old array")
    sidecar.write_text("old sidecar")
    seen = []
    replace = os.replace

    def spy(source, target):
        seen.append((target.name, array.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    write_whole({sidecar: b"new sidecar", array: b"new array"})
    assert seen == [("a.npy.json", False), ("a.npy", False)]
    assert (sidecar.read_text(), array.read_text()) == ("new sidecar", "new array")
    assert names(tmp_path) == ["a.npy", "a.npy.json"]


def test_failure_in_one_of_several_exchanges_none(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old first")
    second.write_text("old second")
    with pytest.raises(TypeError):
        write_whole({first: "text is not bytes", second: b"new"})
    assert (first.read_text(), second.read_text()) == ("old first", "old second")
    assert names(tmp_path) == ["first", "second"]


@pytest.mark.parametrize("moment", ["lock", "leads_to"])
def test_an_interruption_before_a_folder_is_filled_leaves_none(tmp_path, monkeypatch, moment):
    real, calls = getattr(file_locks, moment), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(file_locks, moment, interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_folders.whole_folder(tmp_path / "mesh", last="a"):
        pass
    assert os.listdir(tmp_path) == []
    with atomic_folders.whole_folder(tmp_path / "mesh", last="a") as aside:
        (aside / "a").write_text("whole")
    assert os.listdir(tmp_path) == ["mesh"]
