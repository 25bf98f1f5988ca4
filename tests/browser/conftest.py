"""Servers, the browser and pages for the journeys; ``jupyter_drive`` says how to write one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from .jupyter_drive import CHROMIUM, FLAGS, NotebookPage, Server, open_notebook, start_server, write_notebook
from playwright.sync_api import Browser, sync_playwright


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


@pytest.fixture
def page_for(browser: Browser, request) -> Iterator[Callable[..., NotebookPage]]:
    """Return ``open(server, notebook, run=True, width=, height=, **context)``; pages are judged at the end."""
    books: list[NotebookPage] = []

    def open_one(server: Server, notebook: Path | list[str] | str, **options) -> NotebookPage:
        """``notebook``: a path to copy, a list of cells, or the name of one already on the server."""
        name = notebook
        if not isinstance(notebook, str):
            name = write_notebook(server, notebook, request.node.name.replace("[", "-").rstrip("]"))
        book = open_notebook(browser, server, name, **options)
        books.append(book)
        return book

    yield open_one
    verdicts = [verdict for book in books if (verdict := book.verdict())]
    for book in books:
        book.close()
    assert not verdicts, "\n".join(verdicts)
