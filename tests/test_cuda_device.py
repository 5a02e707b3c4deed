"""Which device is chosen, and what is said where there is none. No GPU needed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import shapes

import raydepth as rd
from raydepth.cuda import device as device_module
from raydepth.rendering import chosen_device

MESH = rd.Mesh(*shapes.cube())
VIEW = rd.cameras.fibonacci(1, size=8)


@pytest.fixture
def without_numba_cuda(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "numba_cuda" else find(name)
    )
    device_module.why_unusable.cache_clear()
    yield
    device_module.why_unusable.cache_clear()


def test_cuda_without_numba_cuda_says_what_to_install(without_numba_cuda):
    for call in (
        lambda: rd.render(MESH, VIEW, device="cuda"),
        lambda: rd.render_many([(MESH, VIEW)], device="cuda"),
        lambda: rd.cast_rays(MESH, (0, 0, 0), (0, 0, 1), device="cuda"),
    ):
        with pytest.raises(rd.DeviceError, match=r'pip install "raydepth\[cuda\]"') as caught:
            call()
        assert "\n" not in str(caught.value)


def test_auto_says_which_device_it_took(without_numba_cuda):
    assert rd.render(MESH, VIEW, device="auto").device == "cpu"
    assert chosen_device("auto") == "cpu"


def test_cuda_only_for_who_asks(fake_cuda):
    assert rd.render(MESH, VIEW).device == "cpu"
    assert rd.render(MESH, VIEW, device="cuda").device == "cuda"


def test_a_broken_installation_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: object())

    def broken():
        raise ImportError("libnvvm.so.4:\n cannot open shared object file")

    monkeypatch.setattr(device_module, "_numba_cuda", broken)
    device_module.why_unusable.cache_clear()
    try:
        reason = device_module.why_unusable()
    finally:
        device_module.why_unusable.cache_clear()
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
    with pytest.raises(rd.DeviceError, match="device 'cuda': no CUDA") as caught:
        rd.render(MESH, VIEW, device="cuda")
    assert "\n" not in str(caught.value)
    command = [sys.executable, "-m", "raydepth", "render", "x.ply", "-o", str(tmp_path / "out")]
    result = subprocess.run([*command, "--device", "cuda"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("raydepth: error: device 'cuda': no CUDA")


def numbas(message):
    """An error as Numba's driver raises it."""
    error = type("CudaAPIError", (Exception,), {"__module__": "numba.cuda.cudadrv.driver"})
    return error(message)


def test_errors_of_the_driver_are_one_line():
    device = object.__new__(device_module.Device)
    lost = numbas("[700] Call to cuCtxSynchronize\nresults in CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(rd.DeviceError, match="cannot run resolve") as caught:
        with_error(device, "cannot run resolve", lost)
    assert "ILLEGAL_ADDRESS" in str(caught.value)
    assert "\n" not in str(caught.value)
    full = numbas("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(MemoryError, match="cannot allocate 5 bytes"):
        with_error(device, "cannot allocate 5 bytes", full)
    with pytest.raises(ZeroDivisionError):
        with_error(device, "is not to blame", ZeroDivisionError())


def with_error(device, what, error):
    with device._checked(what):
        raise error
