"""The engine: the same draws whoever makes them, nothing lost with a worker, prompt stops, bounded memory."""

import functools
import itertools
import os
import pickle
import signal
import threading
import time

import joblib
import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.cv.plan import make_plan
from inference_core.infer.cv.run import outcome
from inference_core.infer.resample import engine
from inference_core.infer.resample.stream import open_stream
from inference_core.predictors import groups, normal

# kind, formula, data, family, how, scheme
STREAMS = [
    ("lm", "boot", "case"), ("lm", "perm", "freedman_lane"), ("lm", "perm", "y"), ("lm", "perm", "sign_flip"),
    ("lm", "perm", "ter_braak"), ("glm", "boot", "case"), ("glm", "perm", "score_flip"), ("glm", "perm", "y"),
    ("lmer", "boot", "parametric"), ("lmer", "boot", "cluster"), ("lmer", "boot", "residual"), ("lmer", "boot", "wild"),
    ("crossed", "boot", "parametric"), ("crossed", "boot", "residual"),
    ("glmer", "boot", "parametric"), ("glmer", "boot", "cluster"), ("glmer_crossed", "boot", "parametric"),
    ("lmer", "perm", "group_flip"), ("lmer", "perm", "residual"), ("lmer", "perm", "within"), ("lmer", "perm", "y"),
    ("glmer", "perm", "score_flip"),
]  # fmt: skip


@functools.cache
def fitted(kind):
    if kind in ("lm", "glm"):
        cars = load_dataset("mtcars")
        return (model("mpg ~ wt + hp", cars) if kind == "lm" else model("carb ~ wt", cars, family="poisson")).fit()
    if kind == "lmer":
        return model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    if kind == "glmer":
        return model("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"),
                     family="binomial").fit()  # fmt: skip
    rng = np.random.default_rng(5)
    g, h = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    eta = rng.normal(size=8)[g] + rng.normal(size=6)[h]
    d = pl.DataFrame({"g": g.astype(str), "h": h.astype(str), "x": rng.normal(size=48)})
    d = d.with_columns(y=pl.Series(eta + rng.normal(size=48)), count=pl.Series(rng.poisson(np.exp(0.5 * eta))))
    if kind == "crossed":
        return model("y ~ x + (1 | g) + (1 | h)", d).fit()
    return model("count ~ x + (1 | g) + (1 | h)", d, family="poisson").fit()


def stream_of(kind, how, scheme, seed=3):
    m = fitted(kind)
    options = {"every": False} if how == "perm" else {}
    return open_stream(how, scheme, m.spec, m.bundle, m.fit_state, seed=seed, **options)


def same(found, whole, rows):
    np.testing.assert_array_equal(found.samples, whole.samples[rows])
    np.testing.assert_array_equal(found.status, whole.status[rows])
    if whole.se is not None:
        np.testing.assert_array_equal(found.se, whole.se[rows])


# ---- laws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "how", "scheme"), STREAMS)
def test_workers_order_chunks_and_growth_change_no_draw(kind, how, scheme):
    size = stream_of(kind, how, scheme).kernel.chunk_rows
    n = 2 * size + 3
    whole = stream_of(kind, how, scheme).collect(n)
    assert len(whole.samples) == n
    rng = np.random.default_rng(STREAMS.index((kind, how, scheme)))
    start = int(rng.integers(1, size))
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend):
            same(stream_of(kind, how, scheme).collect(n - start, start=start, n_jobs=2), whole, slice(start, n))
    grown = stream_of(kind, how, scheme)
    last = grown.collect(n - size - 1, start=size + 1)  # the later half first
    same(last, whole, slice(size + 1, n))
    same(grown.collect(size + 1), whole, slice(0, size + 1))
    same(grown.batch(start, start + 1), whole, slice(start, start + 1))


def test_what_suits_threads_goes_by_threads_and_the_rest_by_processes(monkeypatch):
    asked = []

    class Watched(joblib.Parallel):
        def __init__(self, **options):
            asked.append(options["prefer"])
            super().__init__(**options)

    monkeypatch.setattr(joblib, "Parallel", Watched)
    stream_of("lm", "boot", "case").collect(10, n_jobs=2)
    stream_of("glmer", "boot", "cluster").collect(10, n_jobs=2)
    assert asked == ["threads", "processes"]


def test_folds_are_the_same_by_processes():
    m = fitted("glmer")
    plan = make_plan(m.spec, m.bundle, data=m.data, fit=m.fit_state, k=3, seed=1)
    np.testing.assert_array_equal(outcome(plan, n_jobs=2).eta, outcome(plan).eta)


def test_power_studies_are_the_same_by_processes():
    ask = {"n": [40], "coef": {"x": 0.4}, "spread": {"g": 0.6}, "nsim": 60, "seed": 7,
           "predictors": {"g": groups(8), "x": normal()}}  # fmt: skip
    stream = model("y ~ x + (1 | g)", family="poisson").power_stream(**ask, designs=2)
    found = []
    for n_jobs in (1, 2):
        coef = np.full(stream.nsim, np.nan)
        for batch in stream.batches(n_jobs=n_jobs):
            coef[batch.index] = batch.estimates.coef[:, 1]
        found.append(coef)
    assert np.isfinite(found[0]).sum() > 50
    np.testing.assert_array_equal(found[1], found[0])


@pytest.mark.parametrize(("kind", "how", "scheme"), STREAMS)
def test_what_travels_is_small_and_holds_no_frame(kind, how, scheme):
    m = fitted(kind)
    spare = m.data.with_columns(spare=pl.Series(np.random.default_rng(0).normal(size=m.data.height)))
    wide = spare.with_columns(pl.col("spare").alias(f"spare{i}") for i in range(300))
    wide_m = model(m.formula, wide, family=m.spec.family).fit()
    sizes = []
    for one in (m, wide_m):
        stream = open_stream(how, scheme, one.spec, one.bundle, one.fit_state, seed=3)
        sizes.append(len(pickle.dumps((stream.kernel, stream.drawn, stream.rng))))
    assert abs(sizes[0] - sizes[1]) < 200, "a column that the model does not use travels along"
    assert sizes[0] < 300_000  # a few products of columns and of groups


# ---- workers that die, errors, stops -------------------------------------------------------------------------


def killer(folder, deaths):
    """What kills its process at items 3 and 8, the first ``deaths`` times that it gets them."""

    def compute(i):
        time.sleep(0.01)
        for life in range(deaths):
            mark = folder / f"{i}-{life}"
            if i in (3, 8) and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return i * i

    return compute


def test_what_a_killed_worker_had_in_hand_is_computed_again(tmp_path):
    found = list(itertools.chain(*engine.batches(killer(tmp_path, 1), range(30), n_jobs=2)))
    assert found == [i * i for i in range(30)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3-0", "8-0"]


def test_workers_that_die_again_and_again_are_an_error_with_a_way_out(tmp_path):
    with pytest.raises(InferenceError, match=r"workers died 3 times with the same tasks in hand.*\ntry:   n_jobs=1"):
        list(engine.batches(killer(tmp_path, 9), range(30), n_jobs=2))


def test_errors_come_through_from_tasks_and_from_items():
    def compute(i):
        if i == 5:
            raise InferenceError(asked="a", found=f"item {i}", remedy="c")
        return i

    def items():
        yield from range(4)
        raise InferenceError(asked="a", found="no more items", remedy="c")

    for n_jobs, threads in ((1, True), (2, True), (2, False)):
        with pytest.raises(InferenceError, match="found: item 5"):
            list(engine.batches(compute, range(9), n_jobs=n_jobs, threads=threads))
    for n_jobs in (1, 2):
        got = []
        with pytest.raises(InferenceError, match="no more items"):
            for results in engine.batches(compute, items(), n_jobs=n_jobs, threads=True):
                got += results
        assert got == ([0, 1, 2, 3] if n_jobs > 1 else [0, 1, 2])  # here item 3 was to come in one list with the next


@pytest.mark.parametrize("threads", [True, False])
def test_a_stop_is_prompt_and_keeps_what_came(threads):
    cancel, got = threading.Event(), []
    begin = time.perf_counter()
    nap = functools.partial(engine.batches, lambda i: time.sleep(0.05) or i, n_jobs=2, threads=threads, cancel=cancel)
    for results in nap(range(10**6)):
        got += results
        if len(got) > 3:
            cancel.set()
    assert got == list(range(len(got)))
    assert 3 < len(got) < 20
    assert time.perf_counter() - begin < 30  # of half a million seconds; a loaded machine starts processes slowly
    assert not list(nap(range(3))), "set before the start"


def test_items_are_taken_as_results_come():
    taken = []

    def items():
        for i in range(10**9):
            taken.append(i)
            yield i

    with pytest.raises(StopIteration):
        work = engine.batches(lambda i: time.sleep(0.02) or i, items(), n_jobs=2, threads=True)
        for _ in range(10):
            last = next(work)[-1]
        assert len(taken) - last < 50  # of 10^9: two tasks for each worker, and what finished meanwhile
        work.close()
        next(work)


def test_a_batch_takes_some_30_ms_and_the_first_is_one_item():
    sizes = [len(results) for results in engine.batches(lambda i: time.sleep(0.001) or i, range(300))]
    assert sizes[0] == 1 and sizes[1] <= 2
    assert sum(sizes) == 300
    assert max(sizes) <= 30  # sleeps of 1 ms take 1 ms or more


def test_a_worker_unpacks_once_and_remembers_few():
    shared = engine.Shared({"x": np.arange(5)})
    packed = pickle.dumps(shared)
    first, second = pickle.loads(packed), pickle.loads(packed)
    assert first is second
    np.testing.assert_array_equal(first.value["x"], np.arange(5))
    for i in range(engine.KEPT):
        pickle.loads(pickle.dumps(engine.Shared(i)))
    assert pickle.loads(packed) is not first


# ---- a cluster -----------------------------------------------------------------------------------------------


# The cluster's own: sockets and event loops that are collected after it is closed.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_dask_makes_the_same_draws_and_outlives_a_killed_worker():
    import distributed  # takes a second, so not at the top
    stream = stream_of("lmer", "boot", "parametric")
    n = 12 * stream.kernel.chunk_rows
    whole = stream.collect(n)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    killed = []

    def kill_one(done, total):
        if not killed:
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    with cluster, distributed.Client(cluster) as client, joblib.parallel_config("dask"):
        same(stream.collect(n, n_jobs=2), whole, slice(None))
        same(stream.collect(n, n_jobs=2, progress=kill_one), whole, slice(None))
        m = fitted("glmer")
        plan = make_plan(m.spec, m.bundle, data=m.data, fit=m.fit_state, k=3, seed=1)
        np.testing.assert_array_equal(outcome(plan, n_jobs=2).eta, outcome(plan).eta)
    assert killed
