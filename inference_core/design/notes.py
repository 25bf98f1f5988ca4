"""What a reader should know about a design, as short messages with stable codes. Nothing here stops anything."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inference_core.errors import DataError
from inference_core.states import DataBundle

from .state import DesignState


class Note(NamedTuple):
    """One message: ``kind`` is "i" (information) or "w" (warning; the result stands)."""

    code: str
    kind: str
    text: str


def bundle_notes(bundle: DataBundle) -> tuple[Note, ...]:
    """Rows left out, text among numbers, numbers used as groups, columns without an estimate."""
    state: DesignState = bundle.design_state
    notes: list[Note] = []
    left_out = bundle.n_total - bundle.n
    if left_out:
        verb = "lacks" if left_out == 1 else "lack"
        were = "was" if left_out == 1 else "were"
        notes.append(
            Note(
                "S1",
                "i",
                f"{left_out:,} of {bundle.n_total:,} rows {verb} a value in {_listed(bundle.missing_in)} and {were} "
                "left out. To keep them, drop that column from the formula.",
            )
        )
    for column, example in state.text_numbers.items():
        notes.append(
            Note(
                "S2",
                "w",
                f'Column "{column}" holds text ({example}) among numbers, so it is treated as groups. Clean it, or '
                f"write `as_number({column})` before the fit.",
            )
        )
    for column, count in state.number_groups.items():
        notes.append(
            Note(
                "S3",
                "w",
                f'"{column}" is a number with {count:,} values used as a group. Write `factor({column})` if that is '
                "meant.",
            )
        )
    for j in bundle.rank_info.dropped:
        others = _listed(repeated_by(bundle, int(j)))
        notes.append(
            Note(
                "S6",
                "w",
                f'"{bundle.X_names[j]}" repeats other columns and gets no estimate. Remove it, or one of {others}.',
            )
        )
    return tuple(notes)


def repeated_by(bundle: DataBundle, j: int) -> tuple[str, ...]:
    """Names of the kept columns whose combination equals the dropped column ``j``."""
    kept = bundle.rank_info.kept
    if j in kept:
        raise DataError(f"what repeats {bundle.X_names[j]}", "that column has an estimate", "ask for a dropped one")
    X = bundle.X[:, kept]
    scale = np.linalg.norm(X, axis=0)
    scale[scale == 0] = 1.0
    target = bundle.X[:, j]
    coef = np.linalg.lstsq(X / scale, target, rcond=None)[0]
    size = float(np.linalg.norm(target))
    # 1e-6 of the column's own length: well above rounding, well below any coefficient of an exact repetition
    return tuple(bundle.X_names[k] for k, c in zip(kept, coef, strict=True) if abs(c) > 1e-6 * size)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "the others"
