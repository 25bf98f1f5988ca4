"""The two commands of the first page: what they would do, and that the page names them first."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"MAKEFLAGS": ""} | environment,
    )


def test_the_readme_begins_with_the_two_commands():
    code = (ROOT / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in code.splitlines()[1:3]] == ["make lab", "make test"]


def test_lab_opens_the_first_notebook():
    plan = make("-n", "lab").stdout
    assert "jupyter lab" in plan and "notebooks/01-first-bootstrap.ipynb" in plan
    assert (ROOT / "notebooks" / "01-first-bootstrap.ipynb").is_file()


def test_a_python_that_is_too_old_is_named(tmp_path):
    old = command(tmp_path, "python", '[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1')
    done = make("lab", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stdout and "Python 3.9.2" in done.stdout


def command(folder: Path, name: str, script: str) -> Path:
    """An executable shell script that stands in for a program."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# New enough, but Debian's python3-venv is absent; making an environment then does nothing.
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1;; esac\nexit 0'


def test_a_missing_venv_module_is_installed_where_no_password_is_needed(tmp_path):
    python = command(tmp_path, "python", WITHOUT_VENV)
    command(tmp_path, "id", "echo 0")
    command(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/asked')
    path = f"{tmp_path}:{os.environ['PATH']}"
    make("lab", f"PYTHON={python}", f"VENV={tmp_path}/venv", PATH=path)
    assert (tmp_path / "asked").read_text().splitlines() == ["update -qq", "install -y -qq python3-venv"]


def test_a_missing_venv_module_is_named_where_a_password_is_needed(tmp_path):
    python = command(tmp_path, "python", WITHOUT_VENV)
    command(tmp_path, "id", "echo 1000")
    command(tmp_path, "apt-get", "exit 1")
    command(tmp_path, "sudo", "exit 1")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = make("lab", f"PYTHON={python}", f"VENV={tmp_path}/venv", PATH=path)
    assert done.returncode != 0
    assert "sudo apt-get update && sudo apt-get install -y python3-venv" in done.stdout


def test_the_continuous_check_is_the_same_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test </dev/null"


def test_the_examples_of_the_readme_run():
    first, *others = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(first, names)
    names["p"].wait()
    assert "1,000 draws" in repr(names["p"])
    assert names["m"].params.columns[-1] == "p_value"
    for code in others:
        exec(code, names)
        assert names["m"].state.fit is not None
