"""``pip install .`` into an empty virtual environment gives a package that works from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LOOK = """
import importlib.metadata, json, pathlib
import bossaviz, inference_core
from inference_core import load_dataset, model
m = model("mpg ~ wt", load_dataset("mtcars")).fit()
m.infer(how="boot", n_boot=100, seed=1)
files = importlib.metadata.distribution("bossaviz").files
print(json.dumps({
    "where": [bossaviz.__file__, inference_core.__file__],
    "slope": m.params["estimate"][1],
    "files": [str(f) for f in files],
    "version": importlib.metadata.version("bossaviz"),
    "core_version": inference_core.__version__,
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What a fresh environment says after ``pip install .``, asked from another folder."""
    home = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    python = home / "venv" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    done = subprocess.run(install, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr[-2000:]
    asked = subprocess.run([python, "-c", LOOK], capture_output=True, text=True, cwd=home, env=clean)
    assert asked.returncode == 0, asked.stderr[-2000:]
    return home, json.loads(asked.stdout)


@pytest.mark.timeout(900)  # one real installation with everything it needs: about half a minute, more on a slow line
def test_a_fresh_environment_can_use_it(installed):
    home, seen = installed
    assert all(Path(where).is_relative_to(home) for where in seen["where"])
    assert seen["slope"] == pytest.approx(-5.344471572722675, rel=1e-9)  # lm(mpg ~ wt) in R
    assert seen["core_version"] == seen["version"]


def test_the_wheel_holds_data_and_the_browser_bundle(installed):
    _, seen = installed
    files = [f for f in seen["files"] if f.startswith(("inference_core", "bossaviz/"))]
    source = [
        str(p.relative_to(ROOT))
        for folder in ("inference_core", "bossaviz")
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    ]
    assert sorted(set(source) - set(files)) == []
    assert any(f.startswith("inference_core/datasets/") and not f.endswith(".py") for f in files)
    assert any(f.startswith("bossaviz/") and f.endswith(".js") for f in files)
    assert any(f.endswith("LICENSE") for f in seen["files"])


def test_tests_and_notebooks_stay_out_of_the_wheel(installed):
    _, seen = installed
    assert not [f for f in seen["files"] if f.startswith(("tests", "notebooks", "binder"))]
