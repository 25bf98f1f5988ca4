"""Drive a real JupyterLab, Notebook 7 or Voila in headless Chromium, with the network refused.

How to add a journey: write ``tests/browser/test_*.py`` with the marker ``browser`` and a function such as ::

    def test_my_panel(page_for, jupyter_lab):
        book = page_for(jupyter_lab, ["import bossaviz", "panel = ..."])   # cells, or the path of a notebook
        book.page.locator(".bv-go").click()                                # playwright, as a person would
        book.wait_for_text(".bv-sentence", "1,000 resamples")
        assert book.python("panel.state.n_boot") == "1000"                 # runs in the notebook's kernel
        book.screenshot("my_panel")                                        # test-artefacts/my_panel.png: look at it

``page_for`` copies the notebook to the server's own folder, opens it, runs every cell, and fails on an error in any
output. When the test ends it fails on every request to a host other than 127.0.0.1 and on every uncaught error of
the page. In Voila there is no ``python``: let the notebook itself do what is needed, or press its buttons.

Idle is not painted: wait for the thing itself (``wait_for_text``, ``wait_painted``). Select by classes that the
code gives (``widget.add_class("bv-go")``), never by generated ids. Servers live as long as the test session and
are shared; only the processes started here are ended.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import Browser, Error, Page, Request

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    # names resolve to nothing: what is not on this machine does not exist
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"
# Voila's own page asks for this style sheet (icons of buttons); refused like the rest, and nothing needs it.
ALLOWED = ("https://cdn.jsdelivr.net/npm/@fortawesome/fontawesome-free@",)
# An error whose whole stack lies in the application's own scripts is not ours: Notebook 7 trips over its settings
# as it starts, JupyterLab over its splash screen as the theme changes.
OWN_SCRIPTS = ("/static/lab/", "/static/notebook/")
ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours of a traceback
LOCAL_SCHEMES = ("data", "blob", "about", "chrome-extension")

# Nothing asks the server to fetch news, and saving a notebook saves its widgets.
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


@dataclass
class Server:
    """A Jupyter server or Voila on 127.0.0.1, with folders of its own."""

    kind: str  # "lab", "notebook" or "voila"
    root: Path  # the folder it serves
    port: int
    token: str
    process: subprocess.Popen
    log: Path

    @property
    def url(self) -> str:
        """Return the address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def address_of(self, name: str) -> str:
        """Return the page of the notebook ``name``."""
        if self.kind == "voila":
            return f"{self.url}/voila/render/{name}?token={self.token}"
        if self.kind == "notebook":
            return f"{self.url}/notebooks/{name}?token={self.token}"
        return f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{name}?token={self.token}&reset"

    def stop(self) -> None:
        """End the process started here; the server ends its kernels."""
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(kind: str, folder: Path) -> Server:
    """Start one server below ``folder`` and wait until it answers (3 to 7 s)."""
    root = folder / "notebooks"
    root.mkdir(parents=True)
    private = {
        name: str(folder / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
        )
    }  # fmt: skip
    for place in private.values():
        Path(place).mkdir()
    overrides = Path(private["JUPYTER_CONFIG_DIR"], "labconfig", "default_setting_overrides.json")
    overrides.parent.mkdir()
    # Notebook 7 stumbles over settings of plug-ins that it does not have
    overrides.write_text(json.dumps(LAB_SETTINGS if kind == "lab" else {}))
    port, token = free_port(), secrets.token_hex(8)
    common = [
        "--no-browser", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
    ]  # fmt: skip
    quiet = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    arguments = {
        "lab": ["jupyterlab", *common, *quiet, "--LabApp.expose_app_in_browser=True"],
        "notebook": ["notebook", *common, "--JupyterNotebookApp.expose_app_in_browser=True"],
        "voila": [
            "voila", str(root), "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}", "--show_tracebacks=True",
            f"--token={token}",
        ],
    }[kind]  # fmt: skip
    log = folder / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**os.environ, **private, "JUPYTER_PLATFORM_DIRS": "0"},
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=root,
        )
    server = Server(kind, root, port, token, process, log)
    _wait_until_up(server)
    return server


def _wait_until_up(server: Server, seconds: float = 60) -> None:
    path = "voila/static/" if server.kind == "voila" else "api"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/{path}?token={server.token}", timeout=2):
                return
        except urllib.error.HTTPError:
            return  # an answer, if a refusal: it is up
        except OSError:
            time.sleep(0.2)
    server.stop()
    raise AssertionError(f"{server.kind} did not start; its log ends:\n{server.log.read_text()[-3000:]}")


# The first error among the outputs, or null. JupyterLab 4.6 draws an error as if it were text on stderr, so the
# notebook itself is asked; where there is none (Voila), the page.
FIND_ERROR = r"""(() => {
  for (const cell of window.jupyterapp?.shell?.currentWidget?.content?.widgets ?? []) {
    const outputs = cell.model?.outputs;
    for (let i = 0; i < (outputs?.length ?? 0); i++) {
      const output = outputs.get(i).toJSON();
      if (output.output_type === "error") return `${output.ename}: ${output.evalue}\n${output.traceback.join("\n")}`;
    }
  }
  if (window.jupyterapp) return null;
  const said = [...document.querySelectorAll(".jp-OutputArea-output")].map(el => el.textContent);
  return said.find(text => text.includes("Traceback (most recent call last)")) ?? null;
})()"""
FIND_KERNEL = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"

# Counts drawings taken out of charts, or with them, from now on; window.__bvRemoved is the count.
WATCH_REMOVALS = """(within) => {
  window.__bvRemoved = 0;
  window.__bvWatch?.disconnect();
  window.__bvWatch = new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.removedNodes) {
      if (node.nodeType !== 1) continue;
      const inside = change.target.closest(within) || node.matches(within) || node.querySelector(within);
      if (inside) window.__bvRemoved += node.matches('svg, canvas') + node.querySelectorAll('svg, canvas').length;
    }
  });
  window.__bvWatch.observe(document.body, { childList: true, subtree: true });
}"""

RUN_IN_KERNEL = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code, store_history: false });
  const said = [];
  let error = null;
  future.onIOPub = (message) => {
    const { msg_type } = message.header;
    if (msg_type === 'stream') said.push(message.content.text);
    if (msg_type === 'execute_result') said.push(message.content.data['text/plain']);
    if (msg_type === 'error') error = message.content.traceback.join('\\n');
  };
  await future.done;
  return { said: said.join(''), error };
}"""


@dataclass
class NotebookPage:
    """One notebook open in one page."""

    server: Server
    page: Page
    name: str
    outside: list[str] = field(default_factory=list)  # requests to other hosts
    errors: list[str] = field(default_factory=list)  # uncaught in the page
    console: list[str] = field(default_factory=list)  # console messages of level error

    def __post_init__(self) -> None:
        self.page.on("request", self._note_request)
        self.page.on("pageerror", self._note_error)
        self.page.on("console", lambda said: said.type == "error" and self.console.append(said.text))

    def _note_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.hostname == "127.0.0.1" or address.scheme in LOCAL_SCHEMES:
            return
        if not request.url.startswith(ALLOWED):
            self.outside.append(request.url)

    def _note_error(self, error: Error) -> None:
        frames = re.findall(r"\bat .*", error.stack or "")
        if not frames or not all(any(own in frame for own in OWN_SCRIPTS) for frame in frames if "http" in frame):
            self.errors.append(error.stack or str(error))

    # ---- opening and running

    def open(self, run: bool = True) -> None:
        """Open the page and, with ``run``, run all cells."""
        self.page.goto(self.server.address_of(self.name), wait_until="domcontentloaded")
        if self.server.kind == "voila":
            # Voila shows the page when the last cell has run
            self.page.wait_for_selector("#rendered_cells, .jp-Cell", state="attached", timeout=60_000)
            self.assert_no_error_output()
            return
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.wait_for_function(f"{FIND_KERNEL}?.status === 'idle'", timeout=60_000)
        if run:
            self.run_all()

    def run_all(self, seconds: float = 60) -> None:
        """Run all cells and wait until they have ended; fail on an error in any output."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            f"{FIND_ERROR} !== null || "
            "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
            ".every(prompt => /\\[\\d+\\]/.test(prompt.textContent))",
            timeout=seconds * 1000,
        )
        self.assert_no_error_output()

    def assert_no_error_output(self) -> None:
        """Fail with the text of the first error in an output."""
        found = self.page.evaluate(FIND_ERROR)
        assert found is None, f"error in an output of {self.name}:\n{ANSI.sub('', found)}"

    def python(self, code: str) -> str:
        """Run ``code`` in the notebook's kernel; return what it printed and its last value's text."""
        answer = self.page.evaluate(RUN_IN_KERNEL, code)
        assert answer["error"] is None, answer["error"]
        return answer["said"].strip()

    def command(self, name: str, **arguments) -> None:
        """Run a command of the application, such as ``docmanager:save``."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments]
        )

    # ---- waiting and looking

    def wait_for_text(self, selector: str, text: str, seconds: float = 15) -> None:
        """Wait until an element of ``selector`` contains ``text``."""
        self.page.locator(selector).filter(has_text=text).first.wait_for(timeout=seconds * 1000)

    def wait_until(self, script: str, seconds: float = 15) -> None:
        """Wait until a JavaScript expression is true."""
        self.page.wait_for_function(script, timeout=seconds * 1000)

    def wait_until_python(self, condition: str, seconds: float = 15) -> None:
        """Wait until a Python expression is true in the kernel."""
        end = time.monotonic() + seconds
        while self.python(f"bool({condition})") != "True":
            assert time.monotonic() < end, f"not true within {seconds} s: {condition}"
            self.page.wait_for_timeout(50)

    def wait_painted(self, frame: int, selector: str = ".bv-livechart", seconds: float = 15) -> None:
        """Wait until every chart of ``selector`` has painted push number ``frame`` or a later one."""
        self.wait_until(
            f"(() => {{ const all = document.querySelectorAll({selector + ' .bv-chart'!r});"
            f" return all.length && [...all].every(chart => +chart.dataset.frame >= {frame}); }})()",
            seconds,
        )

    def watch_removals(self, within: str = ".bv-livechart") -> None:
        """Start to count drawings (svg, canvas) taken out of the elements of ``within``, or with them."""
        self.page.evaluate(WATCH_REMOVALS, within)

    def removals(self) -> int:
        """Return how many drawings were taken out since ``watch_removals``."""
        return self.page.evaluate("window.__bvRemoved")

    def screenshot(self, name: str, selector: str | None = None, *, show: str | None = None) -> Path:
        """Keep a picture of the page, or of one element, in ``test-artefacts``; ``show`` is scrolled to first."""
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        if show:
            self.page.locator(show).first.scroll_into_view_if_needed()
        (self.page.locator(selector).first if selector else self.page).screenshot(path=path)
        return path

    def set_theme(self, theme: str) -> None:
        """Change JupyterLab's theme ("light" or "dark") and wait until its splash screen is gone."""
        self.command("apputils:change-theme", theme=f"JupyterLab {theme.title()}")
        light = str(theme == "light").lower()
        self.wait_until(f"document.body.dataset.jpThemeLight === '{light}'")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def close(self) -> None:
        """Shut the kernel down and close the page."""
        if self.server.kind != "voila":
            self.page.evaluate("window.jupyterapp?.shell?.currentWidget?.sessionContext?.shutdown()")
        self.page.context.close()

    def verdict(self) -> str:
        """Return what a test must not pass over, or an empty string."""
        said = [f"asked for {address}" for address in self.outside]
        said += [f"uncaught in the page: {error}" for error in self.errors]
        return "\n".join(said)


def write_notebook(server: Server, source: Path | list[str], stem: str) -> str:
    """Copy a notebook, or make one of cells, in the server's folder; return its name there."""
    name = f"{stem}-{secrets.token_hex(3)}.ipynb"
    if isinstance(source, Path):
        shutil.copy(source, server.root / name)
    else:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in source])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, server.root / name)
    return name


class Pages:
    """Opens notebooks in fresh browser contexts, and judges and closes them all at the end."""

    def __init__(self, browser: Browser, stem: str):
        self.browser, self.stem = browser, stem
        self.books: list[NotebookPage] = []

    def __call__(
        self,
        server: Server,
        notebook: Path | list[str] | str,
        *,
        run: bool = True,
        width: int = 1280,
        height: int = 900,
        **context,
    ) -> NotebookPage:
        """Open ``notebook``: a path to copy, a list of cells, or the name of one already on the server.

        ``context`` goes to playwright's ``new_context`` (``color_scheme="dark"``, ``reduced_motion="reduce"``).
        """
        name = notebook if isinstance(notebook, str) else write_notebook(server, notebook, self.stem)
        page = self.browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        book = NotebookPage(server, page, name)
        self.books.append(book)
        try:
            book.open(run)
        except BaseException:
            book.screenshot(f"failed-{name.removesuffix('.ipynb')}")
            raise
        return book

    def close(self) -> None:
        """Close every page; fail on what any of them must not have done."""
        verdicts = [verdict for book in self.books if (verdict := book.verdict())]
        for book in self.books:
            book.close()
        assert not verdicts, "\n".join(verdicts)
