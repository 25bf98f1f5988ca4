"""One family of refusals: every message says what was asked, what was found, and what to try."""

from __future__ import annotations


class InferenceCoreError(ValueError):
    """A request that cannot be met, in three parts.

    Parameters
    ----------
    asked : str
        What the caller asked for, in the caller's own words where possible.
    found : str
        What stands in the way, with names and numbers.
    remedy : str
        What to type instead.
    """

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        self.asked, self.found, self.remedy = asked, found, remedy
        super().__init__(f"asked: {asked}\nfound: {found}\ntry:   {remedy}")

    def __reduce__(self):
        # Exceptions pickle by their args; ours is one string built from three.
        return type(self), (self.asked, self.found, self.remedy)


class DataError(InferenceCoreError):
    """The data cannot serve the model: missing columns, unseen levels, impossible values."""


class FormulaError(InferenceCoreError):
    """The formula cannot be read, or contains something that formulas may not contain."""


class FitError(InferenceCoreError):
    """The model cannot be estimated from these data."""


class InferenceError(InferenceCoreError):
    """The kind of inference asked for does not exist here, or cannot be computed."""


class InferenceCoreWarning(UserWarning):
    """Something a reader of the result must know; the result stands."""
