"""Ctrl-C in the middle of a long computation leaves the model as it was, and usable."""

import signal
import threading

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model

CARS, SLEEP, CBPP = load_dataset("mtcars"), load_dataset("sleepstudy"), load_dataset("cbpp")
FITTED = {
    "lm": lambda: model("mpg ~ wt + factor(cyl)", CARS).fit(),
    "glm": lambda: model("am ~ wt", CARS, family="binomial").fit(),
    "lmer": lambda: model("Reaction ~ Days + (Days | Subject)", SLEEP).fit(),
    "glmer": lambda: model("cbind(incidence, size - incidence) ~ period + (1 | herd)", CBPP, family="binomial").fit(),
}
AFTER = {
    "fit": lambda m: m,
    "explore": lambda m: m.explore({"mpg": "pairwise(cyl)", "Reaction": "Days"}[m.spec.response_var]),
    "predict": lambda m: m.predict(),
}
CALLS = [
    ("lm", "fit", {"how": "boot", "n_boot": 3000, "seed": 1}),
    ("lm", "fit", {"how": "perm", "n_perm": 3000, "seed": 1}),
    ("lm", "fit", {"how": "cv", "k": 5, "seed": 1}), ("lm", "explore", {"how": "boot", "n_boot": 3000, "seed": 1}),
    ("lm", "explore", {"how": "perm", "n_perm": 3000, "seed": 1}),
    ("lm", "predict", {"how": "boot", "n_boot": 3000, "seed": 1}),
    ("glm", "fit", {"how": "boot", "n_boot": 2000, "seed": 1}), ("glm", "fit", {"how": "cv", "k": 4, "seed": 1}),
    ("glm", "fit", {"how": "profile"}), ("lmer", "fit", {"how": "boot", "n_boot": 3000, "seed": 1}),
    ("lmer", "fit", {"how": "profile"}), ("lmer", "fit", {"how": "cv", "k": 3, "seed": 1}),
    ("lmer", "explore", {"how": "boot", "n_boot": 3000, "seed": 1}),
    ("glmer", "fit", {"how": "boot", "n_boot": 600, "seed": 1}), ("glmer", "fit", {"how": "profile", "n_steps": 4}),
]  # fmt: skip
TABLES = ("params", "effects", "predictions", "diagnostics", "resamples", "varying_spread", "profile", "cv_terms")


def tables(m):
    out = {}
    for name in TABLES:
        try:
            out[name] = getattr(m, name)
        except ValueError as refusal:  # a table that there is not, and why
            out[name] = str(refusal)
    return out


def same(a, b):
    return a.equals(b, null_equal=True) if isinstance(a, pl.DataFrame) else a == b


class Interrupt:
    """Raises at the ``at``-th report of progress; counts them."""

    def __init__(self, at):
        self.at, self.seen = at, 0

    def __call__(self, done, total):
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("kind", "op", "call"), CALLS, ids=lambda v: v["how"] if isinstance(v, dict) else v)
def test_an_interrupted_call_changes_nothing_and_the_next_is_as_if_there_had_been_none(kind, op, call):
    m = AFTER[op](FITTED[kind]()).infer()
    state, before = m.state, tables(m)
    whole, counted = AFTER[op](FITTED[kind]()), Interrupt(0)
    whole.infer(progress=counted, **call)
    assert counted.seen > 0
    rng = np.random.default_rng(CALLS.index((kind, op, call)))
    # Batches follow the clock, so another run may make fewer of them: the first half is safe.
    moments = {1, *rng.integers(1, max(counted.seen // 2, 1) + 1, 2).tolist()}
    for at in sorted(moments):
        with pytest.raises(KeyboardInterrupt):
            m.infer(progress=Interrupt(at), **call)
        assert m.state is state
        after = tables(m)
        assert all(same(after[name], before[name]) for name in TABLES)
    m.infer(**call)
    found, expected = tables(m), tables(whole)
    assert all(same(found[name], expected[name]) for name in TABLES)
    assert any(not same(found[name], before[name]) for name in TABLES)


@pytest.mark.parametrize("kind", ["lm", "lmer"])
def test_an_interrupt_reaches_workers(kind):
    m = FITTED[kind]()
    with pytest.raises(KeyboardInterrupt):
        m.infer(how="boot", n_boot=20_000, seed=1, n_jobs=2, progress=Interrupt(2))
    few = m.infer(how="boot", n_boot=600, seed=1, n_jobs=2).resamples
    assert few.equals(m.infer(how="boot", n_boot=600, seed=1).resamples)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_signal_in_the_middle_of_a_refit_does_the_same(n_jobs):
    """The real thing, at a moment that no batch ends."""
    m = FITTED["glmer"]()
    state = m.state
    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        m.infer(how="boot", n_boot=10**6, seed=1, n_jobs=n_jobs)
    timer.join()
    assert m.state is state
    m.infer(how="boot", n_boot=200, seed=1, n_jobs=n_jobs, ci_type="percentile")
    assert m.resamples.equals(FITTED["glmer"]().infer(how="boot", n_boot=200, seed=1, ci_type="percentile").resamples)
