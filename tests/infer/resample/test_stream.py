"""The stream of draws: growth, batches, workers, cancel, and any single draw rebuilt."""

import pickle
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.resample.stream import case_bootstrap_stream, open_stream
from inference_core.solvers.lstsq import lstsq

LM, GLM = "mpg ~ wt + hp", "am ~ wt"


@pytest.fixture(scope="module")
def models():
    cars = load_dataset("mtcars")
    return {"lm": model(LM, cars).fit(), "glm": model("carb ~ wt", cars, family="poisson").fit()}


def stream_of(m, seed=3, **options):
    return case_bootstrap_stream(m.spec, m.bundle, m.fit_state, seed=seed, **options)


@settings(max_examples=20)  # each draws a few thousand refits
@given(kind=st.sampled_from(["lm", "glm"]), cuts=st.lists(st.integers(0, 5000), min_size=2, max_size=5, unique=True))
def test_any_slice_in_any_order_is_the_same_to_the_last_bit(models, kind, cuts):
    whole = stream_of(models[kind], want_se=True).batch(0, 5000)
    pieces = stream_of(models[kind], want_se=True)
    for start, stop in zip(sorted(cuts), sorted(cuts)[1:], strict=False):
        batch = pieces.batch(start, stop)
        assert batch.start == start
        assert batch.stop == stop
        np.testing.assert_array_equal(batch.samples, whole.samples[start:stop])
        np.testing.assert_array_equal(batch.se, whole.se[start:stop])
        np.testing.assert_array_equal(batch.status, whole.status[start:stop])


@pytest.mark.parametrize("kind", ["lm", "glm"])
@pytest.mark.parametrize("n_jobs", [2, -1])
def test_workers_change_no_draw(models, kind, n_jobs):
    stream = stream_of(models[kind], want_se=True)
    alone, together = stream.collect(3000, start=17), stream.collect(3000, start=17, n_jobs=n_jobs)
    np.testing.assert_array_equal(together.samples, alone.samples)
    np.testing.assert_array_equal(together.se, alone.se)


def test_growth_by_one_ten_and_a_hundred_keeps_what_was_drawn(models):
    stream = stream_of(models["lm"])
    grown = np.concatenate([stream.batch(lo, hi).samples for lo, hi in ((0, 1), (1, 11), (11, 111), (111, 1111))])
    np.testing.assert_array_equal(grown, stream_of(models["lm"]).collect(1111).samples)


def test_a_draw_is_rebuilt_from_its_seed_and_number(models):
    m = models["lm"]
    draws = stream_of(m).collect(50)
    for i in (0, 7, 49):
        rows = draws.draw(i)
        np.testing.assert_allclose(draws.samples[i], lstsq(m.bundle.X[rows], m.bundle.y[rows]).coef, rtol=1e-9)
    again = pickle.loads(pickle.dumps(draws))
    np.testing.assert_array_equal(again.draw(7), draws.draw(7))


def test_batches_are_short_contiguous_and_report_progress(models):
    stream, seen, sizes = stream_of(models["glm"]), [], []
    begin = time.perf_counter()
    first = None
    for batch in stream.batches(20_000, start=5, progress=lambda done, total: seen.append((done, total))):
        first = first or time.perf_counter() - begin
        assert batch.start == 5 + sum(sizes)
        assert batch.total == 20_000
        assert not batch.samples.flags.writeable
        sizes.append(len(batch.status))
    assert sum(sizes) == 20_000
    assert seen == [(done, 20_000) for done in np.cumsum(sizes)]
    assert first < 1.0, "the first batch is one small chunk, whatever was asked for"


def test_cancel_between_batches_returns_what_is_there_marked(models):
    stream, cancel = stream_of(models["lm"]), threading.Event()
    partial = stream.collect(10**7, progress=lambda done, total: cancel.set(), cancel=cancel)
    assert partial.cancelled
    assert 0 < len(partial.samples) < 10**7
    assert partial.n_requested == 10**7
    np.testing.assert_array_equal(partial.samples, stream_of(models["lm"]).collect(len(partial.samples)).samples)
    assert len(stream.collect(100, cancel=cancel).samples) == 0, "set before the start: not one draw"
    assert stream.collect(100, cancel=cancel, n_jobs=2).cancelled
    assert not stream_of(models["lm"]).collect(100).cancelled


def test_cancel_stops_workers_too(models):
    cancel = threading.Event()
    partial = stream_of(models["glm"]).collect(200_000, n_jobs=2, progress=lambda d, t: cancel.set(), cancel=cancel)
    assert partial.cancelled
    assert 0 < len(partial.samples) < 200_000


def test_threads_share_a_stream(models):
    stream, expected = stream_of(models["lm"]), stream_of(models["lm"]).collect(9000).samples
    found = {}

    def work(k):
        found[k] = np.concatenate([stream.batch(at, at + 300).samples for at in range(300 * k, 9000, 900)])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(3):
        wanted = np.concatenate([expected[at : at + 300] for at in range(300 * k, 9000, 900)])
        np.testing.assert_array_equal(found[k], wanted)


def test_a_stream_without_a_seed_tells_the_one_it_picked(models):
    first = stream_of(models["lm"], seed=None)
    again = stream_of(models["lm"], seed=first.seed)
    np.testing.assert_array_equal(first.batch(0, 9).samples, again.batch(0, 9).samples)


def test_weights_offset_and_trials_take_part_in_every_draw():
    """The mean of many draws lies at the weighted estimate, not at the unweighted one."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    data = {"x": x, "y": x + rng.normal(size=200), "w": np.where(x > 0, 9.0, 0.1), "o": 5 * x}
    for options in ({"weights": "w"}, {"offset": "o"}, {}):
        m = model("y ~ x", data, **options).fit()
        draws = stream_of(m).collect(1000).samples
        se = draws.std(0, ddof=1)
        # the bias of a slope is far below its SE; 0.2 SE leaves 6 Monte-Carlo errors
        assert np.all(np.abs(draws.mean(0) - m.fit_state.coef) < 0.2 * se)


def test_the_jackknife_is_computed_once(models):
    stream = stream_of(models["lm"])
    assert stream.jackknife() is stream.jackknife()


def test_what_has_no_stream_is_refused(models):
    m = models["lm"]
    for scheme in ("cluster", "residual", "wild"):
        with pytest.raises(InferenceError, match="scheme='case'"):
            open_stream("boot", scheme, m.spec, m.bundle, m.fit_state)
    with pytest.raises(InferenceError, match="scheme='tame'"):
        open_stream("boot", "tame", m.spec, m.bundle, m.fit_state)
    with pytest.raises(InferenceError, match="how='cv'"):
        open_stream("cv", None, m.spec, m.bundle, m.fit_state)
