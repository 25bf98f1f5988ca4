"""From a situation to the sentence: choose the row, fill it, keep 45 words, let the state of the run join."""

from __future__ import annotations

from . import ink, thresholds
from .expansions import expansions
from .fill import CUTS, Filler
from .rows import Row, choose
from .situation import Labels, Sentence, Situation
from .states import State, state_of, state_text

LANGUAGES = ("en",)


def sentence(situation: Situation, labels: Labels, *, lang: str = "en") -> Sentence:
    """What the panel says about one result, in plain words.

    Pure: the same numbers and words give the same sentence.

    Parameters
    ----------
    situation : Situation
        Numbers and flags of the result.
    labels : Labels
        Words of the model.
    lang : str
        Language; only "en" exists.

    Returns
    -------
    Sentence
        At most two sentences and 45 words in ``main``; expansions in ``more``.

    Raises
    ------
    ValueError
        For a language that does not exist.
    LookupError
        For an operation that no row speaks about yet.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"lang={lang!r}: sentences exist in {', '.join(LANGUAGES)}")
    row = choose(situation)
    main, filler, state, spilled = _compose(row, situation, labels)
    more = [*spilled, *expansions(filler, row.id)]
    plain, runs = ink.finish(main)
    tone = state.tone if state is not None and row.tone == "info" else row.tone
    return Sentence(
        main=plain,
        more=tuple(ink.finish(text)[0] for text in more),
        row=row.id,
        tone=tone,
        state="" if state is None else state.id,
        runs=runs,
    )


def _compose(row: Row, s: Situation, labels: Labels) -> tuple[str, Filler, State | None, list[str]]:
    """Main text, the filler that fits, the state that joined, and what was moved to *more*."""
    state = None if row.tone == "refusal" or row.id in ("ST4", "PB12") else state_of(s)
    for cut in CUTS:
        filler = Filler(s, labels, cut)
        text, filler, joined, spilled = _join(_text(row, filler), filler, state)
        if ink.words(text) <= thresholds.MAX_WORDS:
            return text, filler, joined, spilled
    # A reader's own labels may be longer than any wording can bear: then the effect stands alone.
    first, *rest = ink.split_sentences(text)
    return first, filler, joined, [*rest, *spilled]


def _text(row: Row, filler: Filler) -> str:
    return filler.fill(row.variant(filler, row.template), row.extra(filler))


def _join(text: str, filler: Filler, state: State | None) -> tuple[str, Filler, State | None, list[str]]:
    """The row's text with the state's first sentence in place of, or behind, its own; the rest goes to *more*."""
    if state is None:
        return text, filler, None, []
    said = ink.split_sentences(text)
    status, *rest = ink.split_sentences(state_text(state, filler))
    room = len(said) < thresholds.MAX_SENTENCES
    if state.replaces or room:
        kept = f"{said[0]} {status}"
        if state.replaces or ink.words(kept) <= thresholds.MAX_WORDS:
            return kept, filler, state, [*said[1:], *rest]
    return text, filler, None, [" ".join([status, *rest])]
