"""The status line: what happened, then what to do. A message names the column, row or number concerned."""

from __future__ import annotations

import string
from typing import NamedTuple

from . import ink
from .templates import STATUS

KINDS = {
    "info": ("S1", "S15", "S16", "S19"),
    "refusal": tuple(f"S{i}" for i in range(22, 36)),
}
MAX_WORDS = 30


class Status(NamedTuple):
    """One message of the status line: its stable code, its kind (info, warning, refusal) and its words."""

    code: str
    kind: str
    text: str


def kind_of(code: str) -> str:
    """The kind of a message: information, a warning (result shown), or a refusal (last good result stays)."""
    return next((kind for kind, codes in KINDS.items() if code in codes), "warning")


def placeholders(code: str) -> tuple[str, ...]:
    """Names of the values that a message needs, in the order of the text."""
    return tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(STATUS[code]) if name))


def status(code: str, **values: object) -> Status:
    """One message of the status line.

    Parameters
    ----------
    code : str
        "S1" ... "S35", section 7 of the sentences' specification.
    **values
        A value for every brace of the template, as text or as a whole number (which gets its separator).

    Raises
    ------
    KeyError
        For a code that does not exist.
    TypeError
        If values are missing or not asked for; the message names them.
    """
    if code not in STATUS:
        raise KeyError(f"no status message {code!r}; codes run from S1 to S{len(STATUS)}")
    needed = placeholders(code)
    missing = [name for name in needed if name not in values]
    extra = [name for name in values if name not in needed]
    if missing or extra:
        problem = f"lacks {', '.join(missing)}" if missing else f"has no place for {', '.join(extra)}"
        raise TypeError(f"status {code} {problem}; it needs {', '.join(needed) or 'no values'}")
    text = STATUS[code].format_map({name: _said(value) for name, value in values.items()})
    return Status(code, kind_of(code), ink.finish(ink.capital(text))[0])


def _said(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ink.clean(str(value))
