"""Did you mean: the nearest of the names there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAMES = 5_000  # beyond this many names only an exact match but for case is looked for


def suggest(word: str, names: Iterable[str]) -> str | None:
    """The name nearest to ``word`` (case forgiven first, then spelling), or None."""
    known = [str(n) for n in names]
    folded = word.casefold()
    for name in known:
        if name.casefold() == folded:
            return name
    if len(known) > MAX_NAMES or len(word) > 200:
        return None
    near = difflib.get_close_matches(folded, [n.casefold() for n in known], n=1, cutoff=0.6)
    if not near:
        return None
    return next(n for n in known if n.casefold() == near[0])


def first_few(names: Iterable[str], count: int = 5) -> str:
    """The first few names, with a count of the others."""
    known = [str(n) for n in names]
    more = f" and {len(known) - count} more" if len(known) > count else ""
    return ", ".join(known[:count]) + more
