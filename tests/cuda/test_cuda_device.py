"""Which device is chosen, and what is said where there is none. No GPU needed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import shapes
from fake_device import FakeDevice

import raydepth as rd
from raydepth.cli import commands
from raydepth.cuda import device as device_module
from raydepth.cuda.device_code import exact
from raydepth.dataset.settings import Settings
from raydepth.rendering import devices
from raydepth.rendering.devices import chosen_device
from raydepth.runs import plan, scheduler
from raydepth.runs.protocol import Setup
from raydepth.runs.tasks import Task, Unit

MESH = rd.Mesh(*shapes.cube())
VIEW = rd.cameras.fibonacci(1, size=8)


@pytest.fixture
def without_numba_cuda(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "numba_cuda" else find(name)
    )
    device_module._looked_for.cache_clear()
    yield
    device_module._looked_for.cache_clear()


def test_cuda_without_numba_cuda_says_what_to_install(without_numba_cuda):
    for call in (
        lambda: rd.render(MESH, VIEW, device="cuda"),
        lambda: rd.render_many([(MESH, VIEW)], device="cuda"),
        lambda: rd.cast_rays(MESH, (0, 0, 0), (0, 0, 1), device="cuda"),
    ):
        with pytest.raises(rd.DeviceError, match=r'pip install "raydepth\[cuda\]"') as caught:
            call()
        assert "\n" not in str(caught.value)


def test_auto_says_which_device_it_took(without_numba_cuda, auto_may_be_cuda):
    assert rd.render(MESH, VIEW, device="auto").device == "cpu"
    assert chosen_device("auto") == "cpu"


def test_auto_takes_cuda_where_it_is_right(fake_cuda, auto_may_be_cuda):
    assert rd.render(MESH, VIEW).device == "cuda"
    assert rd.render(MESH, VIEW, device="cpu").device == "cpu"
    assert rd.cast_rays(MESH, (0, 0, 3), (0, 0, -1)).triangle_id >= 0
    assert "cast_rays" in [name for name, *_ in fake_cuda.launches]
    (many,) = rd.render_many([(MESH, VIEW)])
    assert many.device == "cuda"


def nothing(*_):
    """What a driver might make of a kernel."""


def broken(*_):
    raise rd.DeviceError("the CUDA device cannot run resolve: CUDA_ERROR_INVALID_PTX")


def resolve_only(dtype):
    """Resolve of one type is missing."""
    resolve = FakeDevice.kernels["resolve"]
    return lambda table, blocks, n, code: code != dtype and resolve(table, blocks, n, code)


@pytest.mark.parametrize(
    ("kernel", "fault", "message"),
    [
        ("resolve", broken, "PTX"),
        ("find_visible", nothing, r"\d+ of 8192 pixels of depth differ from the CPU's"),
        ("find_visible_exactly", nothing, r"\d+ of 8192 pixels of float64 depth within limits"),
        ("cast_rays", nothing, r"\d+ of 8192 pixels of single rays"),
        ("resolve", resolve_only(exact.FLOAT32), r"\d+ of 8192 pixels of depth"),
        ("resolve", resolve_only(exact.FLOAT64), r"\d+ of 8192 pixels of float64 depth"),
        ("resolve", resolve_only(exact.UINT16), r"\d+ of 8192 pixels of 16 bits"),
        ("set_up_beams", lambda *_: [].pop(), "pop from empty list"),
    ],
)
def test_auto_is_the_cpu_where_cuda_fails_a_test(
    fake_cuda, auto_may_be_cuda, monkeypatch, kernel, fault, message
):
    monkeypatch.setitem(fake_cuda.kernels, kernel, fault)
    with pytest.warns(UserWarning, match=f"uses the CPU, because CUDA failed a test: .*{message}"):
        assert rd.render(MESH, VIEW).device == "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rd.render(MESH, VIEW).device == "cpu", "said once"


def test_a_moment_without_memory_is_not_for_ever(fake_cuda, auto_may_be_cuda):
    fake_cuda.memory = 1000
    with pytest.warns(UserWarning, match="CUDA failed a test: the CUDA device is out of memory"):
        assert rd.render(MESH, VIEW).device == "cpu"
    fake_cuda.memory = 1 << 30
    assert rd.render(MESH, VIEW).device == "cuda"


def test_auto_is_the_cpu_for_what_does_not_fit_the_device(fake_cuda, auto_may_be_cuda):
    assert rd.render(MESH, VIEW).device == "cuda"
    fake_cuda.memory = 1_000_000
    large = rd.Mesh(*shapes.icosphere(levels=5))
    theirs = rd.render(large, VIEW, device="cpu")
    ours = rd.render(large, VIEW)
    assert ours.device == "cpu"
    np.testing.assert_array_equal(ours.depth, theirs.depth)
    assert rd.cast_rays(large, (0, 0, 3), (0, 0, -1)).triangle_id >= 0
    many = list(rd.render_many([(MESH, VIEW), (large, VIEW), (MESH, VIEW), (large, VIEW)]))
    np.testing.assert_array_equal(many[3].depth, theirs.depth)
    np.testing.assert_array_equal(many[2].depth, rd.render(MESH, VIEW, device="cpu").depth)
    assert [result.device for result in rd.render_many([(MESH, VIEW)] * 3)] == ["cuda"] * 3
    for call in (
        lambda: rd.render(large, VIEW, device="cuda"),
        lambda: rd.cast_rays(large, (0, 0, 3), (0, 0, -1), device="cuda"),
        lambda: list(rd.render_many([(large, VIEW)], device="cuda")),
        lambda: rd.render(MESH, rd.cameras.fibonacci(1, size=512), device="cuda"),
    ):
        with pytest.raises(MemoryError, match="the CUDA device is out of memory"):
            call()


def test_on_the_command_line_a_warning_is_one_line(
    fake_cuda, auto_may_be_cuda, monkeypatch, tmp_path, capsys
):
    monkeypatch.setitem(fake_cuda.kernels, "resolve", broken)
    monkeypatch.chdir(tmp_path)
    assert commands.main(["demo"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower()]
    assert len(lines) == 1
    assert lines[0].startswith("raydepth: warning: device 'auto' uses the CPU, because CUDA failed")


def test_a_data_set_goes_on_with_the_device_it_was_begun_with(
    fake_cuda, auto_may_be_cuda, monkeypatch
):
    for device in ("cpu", "cuda"):
        found = Settings(VIEW, device=device).to_json()
        assert plan.device_for("auto", Path("out"), found, "local") == device
    assert plan.device_for("auto", Path("out"), None, "local") == "cuda"
    assert plan.device_for("auto", Path("out"), None, "ray") == "cpu"
    assert plan.device_for("auto", Path("out"), found, "ray") == "cuda"
    with monkeypatch.context() as patch:
        patch.setattr(devices, "_cuda_is_right", lambda: False)
        with pytest.raises(rd.DeviceError, match="out was begun with device 'cuda', and CUDA fail"):
            plan.device_for("auto", Path("out"), found, "local")
    monkeypatch.setattr(device_module, "why_unusable", lambda: "there is none")
    with pytest.raises(rd.DeviceError, match="out was begun with device 'cuda': there is none"):
        plan.device_for("auto", Path("out"), found, "local")
    assert plan.device_for("auto", Path("out"), None, "local") == "cpu"


def test_processes_share_the_devices_memory(fake_cuda):
    for gib, expected in ((0.5, 1), (8, 4), (80, 40)):
        fake_cuda.memory = int(gib * 2**30)
        assert device_module.room_for_processes() == (expected, fake_cuda.memory // 2)


def test_a_data_set_starts_as_many_processes_as_fit_the_device(fake_cuda, tmp_path, monkeypatch):
    """And takes no more meshes at a time than fit beside them."""
    started = []
    monkeypatch.setattr(scheduler, "borrowed_worker", lambda: started.append(1) or 1 / 0)
    monkeypatch.setattr(scheduler.spawning, "can_fork", lambda: False)
    (tmp_path / "x.off").write_text("OFF 0 0 0")
    units = [Unit(i, (Task(str(i), str(tmp_path / "x.off")),), 1) for i in range(9)]
    fake_cuda.memory = 6 << 30
    work = scheduler._Pipeline(
        units, Setup(Settings(VIEW, device="cuda"), "out", ".", True), tmp_path,
        scheduler.Limits(threads=9, memory=1 << 40), lambda n: None, lambda line: None,
    )  # fmt: skip
    foreign = RuntimeError("Numba cannot operate on non-primary CUDA context 7")
    with pytest.raises(rd.DeviceError, match="cannot set up: Numba cannot operate"):
        with_error("cannot set up", foreign)
    with pytest.raises(ZeroDivisionError):
        next(work.outcomes())
    work.stop()
    assert (len(started), work._room, work._memory) == (3, 3 << 30, 1 << 40)


def test_a_fork_of_a_process_that_uses_cuda_has_none(monkeypatch):
    process = os.getpid()
    monkeypatch.setattr(device_module, "_looked_for", lambda: (None, process))
    assert device_module.why_unusable() is None
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    assert "before this process was forked" in device_module.why_unusable()
    assert chosen_device("auto") == "cpu"
    with pytest.raises(rd.DeviceError, match=r"device 'cuda': it was in use before .* forked"):
        chosen_device("cuda")


def test_a_broken_installation_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: object())

    def broken():
        raise ImportError("libnvvm.so.4:\n cannot open shared object file")

    monkeypatch.setattr(device_module, "_kernels", broken)
    device_module._looked_for.cache_clear()
    try:
        reason = device_module.why_unusable()
    finally:
        device_module._looked_for.cache_clear()
    assert "libnvvm.so.4: cannot open" in reason
    assert "\n" not in reason


def test_the_cpu_keeps_no_results_on_a_device():
    with pytest.raises(ValueError, match=r"to is 'device', but the CPU renders"):
        rd.render(MESH, VIEW, device="cpu", to="device")
    with pytest.raises(ValueError, match=r"to is 'gpu'; expected one of host, device"):
        rd.render(MESH, VIEW, to="gpu")


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="no numba-cuda")
def test_cuda_without_a_gpu_is_one_line_and_exit_code_1(tmp_path):
    if device_module.why_unusable() is None:
        pytest.skip("there is a GPU")
    with pytest.raises(rd.DeviceError, match="device 'cuda': no working CUDA driver") as caught:
        rd.render(MESH, VIEW, device="cuda")
    assert "\n" not in str(caught.value)
    command = [sys.executable, "-m", "raydepth", "render", "x.ply", "-o", str(tmp_path / "out")]
    result = subprocess.run([*command, "--device", "cuda"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("raydepth: error: device 'cuda': no working CUDA driver")


def numbas(message):
    """An error as Numba's driver raises it."""
    error = type("CudaAPIError", (Exception,), {"__module__": "numba.cuda.cudadrv.driver"})
    return error(message)


def test_errors_of_the_driver_are_one_line():
    lost = numbas("[700] Call to cuCtxSynchronize\nresults in CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(rd.DeviceError, match="cannot run resolve") as caught:
        with_error("cannot run resolve", lost)
    assert "ILLEGAL_ADDRESS" in str(caught.value)
    assert "\n" not in str(caught.value)
    full = numbas("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(MemoryError, match="cannot allocate 5 bytes"):
        with_error("cannot allocate 5 bytes", full)
    foreign = RuntimeError("Numba cannot operate on non-primary CUDA context 7")
    with pytest.raises(rd.DeviceError, match="cannot set up: Numba cannot operate"):
        with_error("cannot set up", foreign)
    with pytest.raises(ZeroDivisionError):
        with_error("is not to blame", ZeroDivisionError())


def with_error(what, error):
    with device_module._as_ours(what):
        raise error
