"""Every template of the sentences, by its fixed row id: data only, nothing is chosen here.

The tables of ``tests/bossaviz/sentences/SENTENCES.md`` are the authority: the suite compares both, character by
character, and fills each template with its worked example. To add a row, change the table first, then its module here.
"""

from __future__ import annotations

from . import charts, effects, laboratories, more, parameters, predictions, states, status, variance

ROWS: dict[str, str] = {
    **parameters.TEMPLATES,
    **effects.TEMPLATES,
    **predictions.TEMPLATES,
    **variance.TEMPLATES,
    **laboratories.TEMPLATES,
}
"""Rows of section 4 that can be the main sentence."""

STATES: dict[str, str] = states.TEMPLATES
MORE: dict[str, str] = more.TEMPLATES
STATUS: dict[str, str] = status.TEMPLATES
CHARTS: dict[str, str] = charts.TEMPLATES

__all__ = ["CHARTS", "MORE", "ROWS", "STATES", "STATUS"]
