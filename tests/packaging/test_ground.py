"""The two commands of the first page: what they would do, and that the page names them first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ | {"MAKEFLAGS": ""} | environment
    )


def test_the_readme_begins_with_the_two_commands():
    code = (ROOT / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in code.splitlines()[1:3]] == ["make lab", "make test"]


def test_lab_opens_the_first_notebook():
    plan = make("-n", "lab").stdout
    assert "jupyter lab" in plan and "notebooks/01-first-bootstrap.ipynb" in plan
    assert (ROOT / "notebooks" / "01-first-bootstrap.ipynb").is_file()


def test_a_python_that_is_too_old_is_named(tmp_path):
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
    old.chmod(0o755)
    done = make("lab", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stdout and "Python 3.9.2" in done.stdout


def test_a_missing_venv_module_names_the_package_to_install(tmp_path):
    bare = tmp_path / "python"  # new enough, but Debian's python3-venv is absent
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    bare.chmod(0o755)
    done = make("lab", f"PYTHON={bare}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "apt-get install -y python3-venv" in done.stdout


def test_the_continuous_check_is_the_same_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test </dev/null"
