"""Live panels for statistical inference in Jupyter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Imported now: a name that is also a module would turn into that module as soon as somebody imports it.
from .labels import labels

if TYPE_CHECKING:
    from .panels.bootstrap import BootstrapPanel

__all__ = ["bootstrap", "from_code", "labels"]


def bootstrap(
    m: Any,
    n_boot: int = 0,
    ci_type: str | None = None,
    seed: int | None = None,
    conf_level: float = 0.95,
    term: str | None = None,
    scheme: str | None = None,
    **choices: Any,
) -> BootstrapPanel:
    """Show the bootstrap of a fitted model, draw by draw.

    Parameters
    ----------
    m : inference_core.model
        A fitted model. The panel keeps it as it is now.
    n_boot : int
        Draws to begin with; more come with the buttons, ``p.draw(k)``, or ``p.state.n_boot = ...``.
    ci_type : str, optional
        percentile, basic, normal, bca, studentized or expanded; bca if not given. Mixed models have percentile,
        basic, normal and expanded limits, expanded if not given; their SDs and correlations percentile ones only.
    seed : int, optional
        Draw i is a function of (seed, i). None picks one, and the panel shows it.
    conf_level : float
        0.5 to 0.999.
    term : str, optional
        The number whose distribution is shown; the first slope or difference if not given. Of a mixed model also
        "sd_Days|Subject", "cor_Days.(Intercept)|Subject" or "sigma".
    scheme : str, optional
        What is drawn anew. "case": whole rows, with replacement. "parametric", for mixed models: new groups and new
        values from the fitted model. What a model allows is its control on the screen; its first is the default.
    **choices
        Any other trait of the panel's state: ``null``, ``alternative``, ``shown``, ``bins``, ``overlay``.

    Returns
    -------
    BootstrapPanel
        Shown by a notebook as the last value of a cell. ``p.state`` holds every choice, ``p.result`` the table,
        ``p.code()`` the code without the panel; ``p.wait()``, ``p.stop()``, ``p.save("fig.svg")``.

    Raises
    ------
    InferenceError
        For a model that is not fitted, and for choices that make no sense, before anything is drawn.

    Examples
    --------
    >>> import bossaviz as bv
    >>> from inference_core import model
    >>> from inference_core.datasets import load_dataset
    >>> bv.bootstrap(model("mpg ~ wt", load_dataset("mtcars")).fit(), n_boot=999, seed=7).wait()
    bootstrap of 'mpg ~ wt': wt, 999 draws (case, seed 7), 95% BCa interval -6.41 to -4.25
    """
    from .panels.making import make

    return make(
        m, n_boot=n_boot, ci_type=ci_type, seed=seed, conf_level=conf_level, term=term, scheme=scheme, **choices
    )


def from_code(text: str, **frames: Any) -> BootstrapPanel:
    """Return the panel whose ``p.code()`` gave ``text``. The text is read, never run.

    Parameters
    ----------
    text : str
        Code of a panel.
    **frames
        Frames that the code names: ``bv.from_code(text, df=df)``. Shipped data sets need none.

    Raises
    ------
    InferenceError
        For a text that holds anything else, naming the line, or a frame that is not given.
    """
    from inference_core import model
    from inference_core.datasets import load_dataset
    from inference_core.errors import InferenceError

    from .code import read_code

    recipe = read_code(text)
    if recipe.dataset is not None:
        data = load_dataset(recipe.dataset)
    elif recipe.frame in frames:
        data = frames[recipe.frame]
    else:
        name = recipe.frame or "df"
        raise InferenceError("from_code(text)", f"no frame called {name!r}", f"from_code(text, {name}={name})")
    m = model(recipe.formula, data, **recipe.model_words).fit(**recipe.fit_words)
    return bootstrap(m, **recipe.choices)


def __getattr__(name: str) -> Any:
    """Load the live chart and its pictures when they are first asked for."""
    if name == "LiveChart":
        from .livechart import LiveChart

        return LiveChart
    raise AttributeError(f"module 'bossaviz' has no attribute {name!r}")
