"""Servers, the browser and pages for the journeys; ``jupyter_drive`` says how to write one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from .jupyter_drive import CHROMIUM, FLAGS, Pages, Server, start_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium from Debian's packages, for which no name resolves."""
    if not Path(CHROMIUM).exists():
        pytest.fail(
            f"{CHROMIUM} is missing: `apt-get update && apt-get install -y chromium`, or `make test`, installs it",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


def _serve(kind: str, factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(kind, factory.mktemp(kind))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def jupyter_lab(tmp_path_factory) -> Iterator[Server]:
    """A JupyterLab for the session."""
    yield from _serve("lab", tmp_path_factory)


@pytest.fixture(scope="session")
def notebook7(tmp_path_factory) -> Iterator[Server]:
    """A Notebook 7 for the session."""
    yield from _serve("notebook", tmp_path_factory)


@pytest.fixture(scope="session")
def voila(tmp_path_factory) -> Iterator[Server]:
    """A Voila for the session."""
    yield from _serve("voila", tmp_path_factory)


def _stem(node) -> str:
    return re.sub(r"\W+", "-", node.name.removesuffix(".py")).strip("-")


@pytest.fixture
def page_for(browser: Browser, request) -> Iterator[Pages]:
    """``page_for(server, notebook)`` opens a page for one test; see ``Pages``."""
    pages = Pages(browser, _stem(request.node))
    yield pages
    pages.close()


@pytest.fixture(scope="module")
def module_page_for(browser: Browser, request) -> Iterator[Pages]:
    """As ``page_for``, for a page that the tests of a module share."""
    pages = Pages(browser, _stem(request.node))
    yield pages
    pages.close()
