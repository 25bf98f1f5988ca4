"""Stored draws and the pace of frames, with a stream that counts."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bossaviz.compute.draws import KEPT, DrawCache, DrawStore
from bossaviz.compute.query import DrawQuery
from bossaviz.compute.worker import Run, SyncWorker, ThreadWorker, drain, watch_seconds, watched


class Counting:
    """Draw i is (i, -i); batches of ``size``."""

    names = ("a", "b")

    def __init__(self, size=7, with_se=False):
        self.size, self.with_se, self.asked = size, with_se, []

    def batches(self, n, start=0, cancel=None):
        self.asked.append((start, n))
        stop = start + n
        while start < stop and not (cancel is not None and cancel.is_set()):
            end = min(start + self.size, stop)
            i = np.arange(start, end, dtype=float)
            samples = np.column_stack([i, -i])
            yield SimpleNamespace(
                start=start, samples=samples, status=(i % 10 == 9).astype(np.int8), se=samples if self.with_se else None
            )
            start = end


@given(goals=st.lists(st.integers(1, 700), min_size=1, max_size=6), size=st.integers(1, 90), with_se=st.booleans())
def test_growing_in_any_steps_gives_the_same_draws_and_draws_nothing_twice(goals, size, with_se):
    store = DrawStore(Counting(size, with_se))
    views = []
    for goal in goals:
        for _ in store.batches(lambda goal=goal: goal, threading.Event()):
            pass
        views.append((store.count, store.first()))
    total = max(goals)
    assert store.count == total
    np.testing.assert_array_equal(store.first().samples[:, 0], np.arange(total))
    for count, view in views:  # what was given out before did not change
        np.testing.assert_array_equal(view.samples[:, 1], -np.arange(count))
        assert not view.samples.flags.writeable
    assert sum(n for _, n in store.stream.asked) == total
    assert (store.first().se is not None) == with_se


def test_a_run_can_be_lengthened_while_it_runs_and_stopped():
    store, cancel, goal = DrawStore(Counting(10)), threading.Event(), [20]
    seen = []
    for done in store.batches(lambda: goal[0], cancel):
        seen.append(done)
        if done == 20:
            goal[0] = 50
        if done == 40:
            cancel.set()
    assert seen == [10, 20, 30, 40]


def test_a_bound_makes_batches_small_enough_to_watch():
    store = DrawStore(Counting(1000))
    steps = list(store.batches(lambda: 100, threading.Event(), most=lambda: 25))
    assert steps == [25, 50, 75, 100]


def test_a_batch_that_was_overtaken_is_ignored():
    store = DrawStore(Counting())
    first = next(Counting(5).batches(5))
    store.append(first)
    store.append(first)
    assert store.count == 5
    store.append(SimpleNamespace(start=9, samples=np.ones((2, 2)), status=np.zeros(2, np.int8), se=None))
    assert store.count == 5


def test_streams_come_back_by_what_decides_the_draws_and_the_oldest_go():
    opened = []
    cache = DrawCache(lambda query: opened.append(query) or Counting())
    queries = [DrawQuery("boot", "case", seed) for seed in range(KEPT + 1)]
    assert cache.count(queries[0]) == 0 and not opened
    first = cache.store(queries[0])
    assert cache.store(queries[0]) is first
    for query in queries[1:]:
        cache.store(query)
    assert cache.store(queries[0]) is not first  # it was the oldest
    assert len(opened) == KEPT + 2


class Clock:
    """Time that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def frames_of(costs, draws_each, goal):
    """Return (time, last) of each frame when batches cost so much."""
    clock, run, out = Clock(), Run(1, goal), []

    def draws():
        done = 0
        for cost in costs:
            clock.now += cost
            done += draws_each
            yield done

    drain(run, draws(), lambda run, last: out.append((round(clock.now, 3), last)), clock=clock)
    return out


def test_the_first_frame_comes_after_100_ms_then_20_a_second_and_always_the_last():
    out = frames_of([0.02] * 50, 1, 50)
    assert out[0] == (0.1, False)
    gaps = np.diff([t for t, last in out if not last])
    assert (gaps >= 0.05 - 1e-9).all()
    assert out[-1] == (1.0, True)


def test_fifty_draws_are_enough_for_a_first_frame():
    assert frames_of([0.01] * 10, 60, 600)[0] == (0.01, False)
    assert frames_of([0.01] * 10, 49, 490)[0] == (0.02, False)


def test_a_run_of_one_batch_has_one_frame_the_exact_one():
    assert frames_of([0.005], 1000, 1000) == [(0.005, True)]


def test_a_watched_run_is_held_but_not_when_stopped():
    run = Run(1, 100)
    run.cancel.set()
    assert list(watched(run, iter([50, 100]), 0, 60.0)) == [50, 100]  # at once: a minute would time out


@pytest.mark.parametrize(("draws", "seconds"), [(1, 0.0), (10, 0.8 / 3), (1000, 0.8), (100_000, 0.8)])
def test_how_long_a_run_is_worth_watching(draws, seconds):
    assert watch_seconds(draws, 0.8) == pytest.approx(seconds)


@pytest.mark.parametrize("worker", [SyncWorker(), ThreadWorker()])
def test_workers_do_the_work_and_say_when_it_is_done(worker):
    run, done = Run(1, 1), []
    worker.start(run, done.append)
    assert worker.wait(run, 5.0)
    assert done == [run]
