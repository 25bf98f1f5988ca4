"""What a reader must know about a model and its draws before using the numbers: messages of the status line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .compute.reading import Reading
from .sentences import Labels, ink, status
from .sentences.thresholds import FAILURES_MANY, FEW_DRAWS, FEW_GROUPS
from .sentences.words import BETTER, REASONS, REMEDIES
from .spreads import AT_EDGE, AT_ZERO, observed_statistics, spreads_of

SAME = 1e-8  # share of a column: a smaller part of it is rounding


def standing_notes(model: Any, labels: Labels | None = None) -> list[str]:
    """Return what holds before any draw: rows left out, columns that repeat others, a random part at its limit."""
    bundle = model.bundle
    notes = []
    if bundle.n_total > bundle.n:
        columns = ", ".join(bundle.missing_in) or "a used column"
        notes.append(status("S1", k=bundle.n_total - bundle.n, n=bundle.n_total, cols=columns).text)
    kept = [int(j) for j in bundle.rank_info.kept]
    for j in sorted(set(range(bundle.p)) - set(kept)):
        others = [name for name in _repeated_by(bundle, j, kept) if name != "(Intercept)"]
        said = status("S6", term=bundle.X_names[j], others=" or ".join(others) or "the others").text
        notes.append(said if len(others) != 1 else said.replace("one of ", ""))
    return notes + _random_notes(model, labels)


def _random_notes(model: Any, labels: Labels | None) -> list[str]:
    """Spreads of 0, correlations of 1, few groups."""
    bundle = model.bundle
    notes, few = [], set()
    for spread, value in zip(spreads_of(bundle), observed_statistics(model)[bundle.p :], strict=True):
        if spread.block < 0:
            continue
        block = bundle.re_metadata.blocks[spread.block]
        words = ink.finish(ink.bare(labels.term(spread.name).groups))[0] if labels else f"{block.group_name} groups"
        if spread.kind == "spread" and value < AT_ZERO * model.fit_state.sigma:
            notes.append(status("S8", groups=words).text)
        if spread.kind == "correlation" and 1.0 - abs(value) < AT_EDGE:
            x = block.column_names[spread.first]
            notes.append(status("S9", est=f"{value:.0f}".replace("-", "−"), x=x, g=block.group_name).text)
        if block.n_levels < FEW_GROUPS and block.group_name not in few:
            few.add(block.group_name)
            notes.append(status("S10", k=block.n_levels, groups=words).text)
    return notes


def _repeated_by(bundle: Any, j: int, kept: list[int]) -> list[str]:
    """Names of the columns whose combination column ``j`` is."""
    scale = np.linalg.norm(bundle.X, axis=0)
    scale[scale == 0] = 1.0
    weights = np.linalg.lstsq(bundle.X[:, kept] / scale[kept], bundle.X[:, j] / scale[j], rcond=None)[0]
    return [bundle.X_names[k] for k, weight in zip(kept, weights, strict=True) if abs(weight) > SAME]


def draw_notes(reading: Reading) -> list[str]:
    """Return what holds of the draws made so far: refits that failed, too few draws, fall-backs of the limits."""
    failed = reading.count - reading.usable
    notes = []
    if failed:
        reason = max(reading.failures, key=lambda name: reading.failures[name]) if reading.failures else ""
        said = REASONS.get(reason, reason)
        if not reading.usable:
            return [status("S32", B=reading.count, reason=said, remedy=REMEDIES.get(reason, REMEDIES[""])).text]
        if failed > FAILURES_MANY * reading.count:
            notes.append(status("S14", reason=said, better=BETTER.get(reason, BETTER[""])).text)
        else:
            notes.append(status("S13", fail=failed, B=reading.count, reason=said).text)
    if reading.inference is None:
        return notes
    if reading.usable < FEW_DRAWS:
        notes.append(status("S12", B=reading.usable, level=f"{100 * reading.query.conf_level:g}%").text)
    if reading.singular:
        notes.append(
            f"{reading.singular:,} of {reading.count:,} resamples fitted at the boundary (correlation ±1 or SD 0); kept"
        )
    # What the table says of itself: limits beyond the draws, types that promise too much here.
    own = ("stopped after", f"{failed:,} of")
    return notes + [_as_sentence(note) for note in reading.inference.notes if not note.startswith(own)]


def _as_sentence(note: str) -> str:
    few = re.fullmatch(r"limits rest on (\d+) draws?", note)
    if few:
        return f"A limit in the table rests on {few[1]} draw{'s' * (few[1] != '1')} in its tail: press +1000."
    text = note.removeprefix("bca_fallback: ")
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
