"""What importing costs and pulls in, and which module may import what: measured in fresh interpreters."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("jax", "pandas", "formulaic", "altair", "joblib", "tqdm", "statsmodels", "IPython", "ipywidgets")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_core_loads_nothing_heavy():
    loaded = loaded_after("import inference_core; inference_core.model; inference_core.load_dataset")
    assert not [name for name in HEAVY if name in loaded]
    assert "scipy.stats" not in loaded
    # mixed models are a third of the code; who fits an lm does not wait for it
    mixed = ("inference_core.solvers.lmm.", "inference_core.solvers.glmm.")
    assert not [name for name in loaded if name.startswith(mixed)]


def test_the_panels_load_no_altair_jax_or_pandas():
    """altair takes 1.7 s in a Jupyter environment: never on the path to the first dot."""
    loaded = loaded_after("import bossaviz")
    assert not [name for name in ("altair", "jax", "pandas", "formulaic") if name in loaded]


def test_resampling_with_numpy_loads_no_jax():
    loaded = loaded_after(
        "from inference_core import load_dataset, model\n"
        "model('mpg ~ wt', load_dataset('mtcars')).fit().infer(how='boot', n_boot=50, seed=1)\n"
        "model('am ~ wt', load_dataset('mtcars'), family='binomial').fit().infer(how='cv', k=4, seed=1)\n"
        "m = model('Reaction ~ Days + (1 | Subject)', load_dataset('sleepstudy')).fit()\n"
        "m.infer(how='boot', n_boot=50, seed=1)"
    )
    assert not [name for name in loaded if name.partition(".")[0] in ("jax", "jaxlib")]


def imported_names(path: Path) -> set[str]:
    """Top-level packages a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def files_importing(name: str, package: str) -> list[str]:
    """Files of a package that import ``name``, relative to the project."""
    return [str(p.relative_to(ROOT)) for p in sorted((ROOT / package).rglob("*.py")) if name in imported_names(p)]


def test_formulaic_lives_behind_one_file():
    """Its interface moves between versions; the guards stand in front of it in one place."""
    assert len(files_importing("formulaic", "inference_core")) == 1
