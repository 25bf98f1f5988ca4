"""What each dot of a distribution says when it is pointed at or walked to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from inference_core.states import InferenceState

from .sentences import Labels
from .sentences.charts import dot_summary, value_words
from .situations import situation_from, spoken_values

MOST_ROWS = 2_000  # rows of the data up to which the different ones in every resample are counted


class DotWords:
    """The words of the dots of one term: ``pieces`` are the same for all, the rest comes from ``say`` and ``distinct``.

    Parameters
    ----------
    model, labels
        The fitted model and its words.
    table : InferenceState or None
        The table of the fit; its standard error decides the digits.  ``se`` does where there is none.
    term : str
        The number that is drawn.
    scheme : str
        What is drawn anew.
    """

    def __init__(
        self, model: Any, labels: Labels, table: InferenceState | None, term: str, scheme: str = "case",
        se: float | None = None,
    ) -> None:  # fmt: skip
        self._model, self._labels, self._term = model, labels, term
        found = situation_from(model, table, term, how="boot")
        self._situation = replace(found, scheme=scheme, se=se if found.se is None else found.se)
        self.pieces = dot_summary(self._situation, labels)
        observed = value_words(self._situation, labels, np.array([self._situation.estimate or 0.0]))[0]
        self.observed = f"The estimate from the real data: {observed}."

    def say(self, values: np.ndarray) -> list[str]:
        """Draws (B,) in words, in the unit of the sentence."""
        return value_words(self._situation, self._labels, spoken_values(self._model, self._term, values))


def distinct_rows(stream: Any, known: np.ndarray, upto: int) -> np.ndarray:
    """How many different rows each of the first ``upto`` draws holds; ``known`` are the counts of the first ones."""
    if upto <= known.size or stream.n > MOST_ROWS:
        return known
    rows = np.sort(stream.rng.indices(known.size, upto, stream.n), axis=1)
    return np.concatenate([known, 1 + np.count_nonzero(np.diff(rows, axis=1), axis=1)])
