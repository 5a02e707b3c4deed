"""docs/camera_models.md as it stands: its code runs, its pictures are what the script draws."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import imageio.v3
import numpy as np

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "camera_models.md").read_text(encoding="utf-8")


def test_the_code_does_what_it_says():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(compile(code, "docs/camera_models.md", "exec"), names)
    assert names["depth"].shape == (1, 64, 64)
    hit = np.isfinite(names["depth"])
    assert 0.01 < hit.mean() < 1
    centres = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), axis=-1)[None]
    assert np.abs(names["pixels"] - centres)[hit].max() < 1e-9
    assert np.isnan(names["points"][~hit]).all()


def test_the_pictures_are_those_that_are_drawn(tmp_path):
    script = runpy.run_path(str(DOCS / "camera_model_pictures.py"))
    script["draw"](tmp_path)
    shown = set(re.findall(r"camera_models/(\w+)\.png", PAGE))
    assert shown == {path.stem for path in tmp_path.iterdir()}
    assert shown == {path.stem for path in (DOCS / "camera_models").iterdir()}
    for name in shown:
        drawn = imageio.v3.imread(tmp_path / f"{name}.png")
        kept = imageio.v3.imread(DOCS / "camera_models" / f"{name}.png")
        assert drawn.shape == kept.shape
        # Libraries of mathematics differ in last bits, which a step of colour may show.
        assert (drawn == kept).all(axis=-1).mean() > 0.999
