"""LiveChart without a browser: what is sent, when, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bossaviz import runtime as runtime_module
from bossaviz.chartdata import MAX_ROWS, columns_of, dataset_names, encode, param_names, plain, records
from bossaviz.livechart import LiveChart
from inference_core.errors import DataError

SPEC = {
    "params": [{"name": "cut", "value": 0}, {"name": "brush", "select": "interval"}],
    "layer": [
        {"name": "bars", "data": {"name": "bins"}, "mark": "bar", "encoding": {"x": {"field": "x"}}},
        {"data": {"name": "rules"}, "mark": "rule", "encoding": {"x": {"field": "at"}}},
        {"data": {"values": [{"at": 1}]}, "mark": "rule"},
    ],
}  # fmt: skip


def bins(shift=0.0):
    return {"x": np.arange(5.0) + shift, "count": np.arange(5)}


def sent_by(chart, action):
    """The state messages that ``action`` sends, as the widget protocol's (state, number of buffers)."""
    sent = []
    send = chart.comm.send
    chart.comm.send = lambda data=None, buffers=None, **_: sent.append((data["state"], len(buffers or ())))
    try:
        action()
    finally:
        chart.comm.send = send
    return sent


def decode(message):
    """Undo ``encode`` as live.js does."""
    flat = np.frombuffer(message["buffer"], "<f8").reshape(len(message["numbers"]), message["rows"])
    return dict(zip(message["numbers"], flat, strict=True)) | message["lists"]


# ---- data


@given(
    st.integers(0, 30).flatmap(
        lambda n: st.tuples(
            st.lists(st.floats(allow_nan=False), min_size=n, max_size=n),
            st.lists(st.integers(-(2**53), 2**53), min_size=n, max_size=n),
            st.lists(st.text(), min_size=n, max_size=n),
            st.lists(st.booleans(), min_size=n, max_size=n),
        )
    )
)
def test_what_is_sent_is_what_was_given(table):
    names = ("f", "i", "s", "b")
    given_columns = {
        name: np.array(values, dtype)
        for name, values, dtype in zip(names, table, (float, np.int64, object, bool), strict=True)
    }
    message = encode(given_columns)
    assert message["numbers"] == ["f", "i"]
    for name, values in decode(message).items():
        # integers up to 2**53 are floats without loss
        assert list(values) == list(given_columns[name])


def test_frames_lists_and_arrays_are_columns():
    frame = pl.DataFrame({"g": ["a", "b"], "y": [1.5, None]})
    columns = columns_of("d", frame)
    assert records(columns) == [{"g": "a", "y": 1.5}, {"g": "b", "y": None}]
    assert records(columns_of("d", {"g": ["a"], "y": [np.inf]})) == [{"g": "a", "y": None}]
    assert records({}) == []


def test_plain_values_are_json():
    value = {"a": np.float64("nan"), "b": np.arange(2), "c": (np.int64(3), True, None, "x"), "d": -np.inf}
    assert plain(value) == {"a": None, "b": [0, 1], "c": [3, True, None, "x"], "d": None}
    json.dumps(plain(value), allow_nan=False)


def test_datasets_and_params_are_found_in_the_spec():
    assert dataset_names(SPEC) == ["bins", "rules"]
    assert param_names(SPEC) == ["cut"]  # a selection is the reader's
    lookup = {"transform": [{"lookup": "k", "from": {"data": {"name": "other"}, "key": "k"}}]}
    assert dataset_names(lookup) == ["other"]
    assert dataset_names({"data": {"name": "own", "values": []}}) == []


# ---- pushing


def test_a_push_is_one_message_with_only_what_changed():
    chart = LiveChart(SPEC, {"bins": bins(), "rules": {"at": [1.0]}})
    ((state, buffers),) = sent_by(chart, lambda: chart.push({"bins": bins(1)}, {"cut": np.float64(2)}, epoch=1))
    assert set(state) == {"data_bins", "params", "epoch", "frame"}
    assert buffers == 1
    assert state["params"] == {"cut": 2.0}
    assert state["frame"] == 1
    np.testing.assert_array_equal(chart.data["bins"]["x"], np.arange(5) + 1)
    np.testing.assert_array_equal(chart.data["rules"]["at"], [1])


def test_assigning_data_or_params_is_a_push():
    chart = LiveChart(SPEC)
    (first,) = sent_by(chart, lambda: setattr(chart, "data", {"bins": bins()}))
    assert decode(first[0]["data_bins"] | {"buffer": chart.data_bins["buffer"]})["x"].tolist() == [0, 1, 2, 3, 4]
    chart.params = {"cut": 4}
    assert chart.frame == 2


def test_params_not_named_stay():
    chart = LiveChart({"params": [{"name": "a"}, {"name": "b"}], "mark": "point"}, params={"a": 1, "b": 2})
    chart.push(params={"b": 3})
    assert chart.params == {"a": 1, "b": 3}


def test_an_old_run_changes_nothing():
    chart = LiveChart(SPEC, epoch=3)
    assert chart.push(params={"cut": 1}, epoch=3) is True
    messages = sent_by(chart, lambda: chart.push(params={"cut": 9}, epoch=2))
    assert messages == []
    assert chart.push(epoch=2) is False
    assert chart.params == {"cut": 1}


def test_pushes_from_many_threads_keep_data_and_params_together():
    chart = LiveChart(SPEC)

    def work(epoch):
        for _ in range(40):
            chart.push({"bins": bins(epoch)}, {"cut": epoch}, epoch=epoch)

    def messages():
        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    sent = sent_by(chart, messages)
    epochs = [state["epoch"] for state, _ in sent if "epoch" in state]
    assert epochs == sorted(epochs)
    assert chart.epoch == 4
    assert chart.params == {"cut": 4}
    assert decode(chart.data_bins)["x"][0] == 4
    assert all({"data_bins", "params"} & set(state) <= set(state) and "frame" in state for state, _ in sent)


def test_a_new_spec_brings_its_datasets():
    chart = LiveChart(SPEC)
    chart.spec = {"data": {"name": "points"}, "mark": "point"}
    chart.push({"points": {"x": [1.0]}})
    assert chart.datasets == ["points"]
    assert decode(chart.data_points)["x"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("push", "message"),
    [
        (
            {"data": {"bin": bins()}},
            "asked: dataset 'bin' of a chart\n"
            "found: its spec has bins, rules\n"
            "try:   name one of those, or add the dataset to the spec",
        ),
        (
            {"params": {"brush": 1}},
            "asked: param 'brush' of a chart\n"
            "found: its spec has cut\n"
            "try:   name one of those, or add the param to the spec",
        ),
        (
            {"data": {"bins": {"x": [1, 2], "count": [1]}}},
            "asked: dataset 'bins' in a chart\n"
            "found: column 'count' has 1 values, the columns before it 2\n"
            "try:   give columns of one length",
        ),
        (
            {"data": {"bins": {"x": np.zeros((2, 2))}}},
            "asked: column 'x' of dataset 'bins' in a chart\n"
            "found: an array of shape (2, 2)\n"
            "try:   give one value a row",
        ),
        (
            {"data": {"bins": {"x": np.zeros(MAX_ROWS + 1)}}},
            "asked: dataset 'bins' in a chart\n"
            "found: 20,001 rows, and a browser draws at most 20,000 in time\n"
            "try:   bin or thin them in Python",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_sent(push, message):
    chart = LiveChart(SPEC, {"bins": bins()})
    with pytest.raises(DataError) as refusal:
        chart.push(**push)
    assert str(refusal.value) == message
    assert chart.frame == 0


# ---- from the browser


def test_a_click_is_observed():
    chart, clicks = LiveChart(SPEC), []
    chart.observe(lambda change: clicks.append(change.new), "selections")
    chart.set_state({"selections": {"name": "bars", "datum": {"x": 3}, "seq": 1}})
    chart.set_state({"selections": {"name": "bars", "datum": {"x": 3}, "seq": 2}})
    assert [click["seq"] for click in clicks] == [1, 2]  # the same mark twice is two clicks


def test_a_dragged_handle_moves_the_param_for_every_view():
    chart = LiveChart(SPEC, handles={"cut": {"mark": "grip"}})
    chart.set_state({"signals": {"cut": 1.25, "brush": {"x": [0, 1]}}})
    assert chart.params == {"cut": 1.25}
    assert chart.signals["brush"] == {"x": [0, 1]}


# ---- the drawing code


def test_every_chart_shares_one_runtime():
    first, second = LiveChart(SPEC), LiveChart(SPEC)
    assert first.runtime is second.runtime
    assert first.get_state("runtime")["runtime"] == f"IPY_MODEL_{first.runtime.model_id}"
    # a chart itself is small: the vega bundle is in the Runtime only
    assert len(json.dumps(first.get_state(), default=lambda buffer: "x" * len(buffer))) < 20_000
    first.runtime.close()
    assert LiveChart(SPEC).runtime is not second.runtime


def test_a_page_without_the_runtime_gets_a_copy():
    chart = LiveChart(SPEC)
    chart._handle_custom_msg({"type": "something else"}, [])
    assert chart.bundle == {}
    chart._handle_custom_msg({"type": "bundle"}, [])
    assert chart.bundle == runtime_module.drawing_code()


def test_the_stamp_and_the_bytes_are_the_same_in_every_kernel():
    code = "from bossaviz.runtime import stamp, drawing_code; print(stamp(), len(drawing_code()['vega']))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [runtime_module.stamp(), str(len(runtime_module.drawing_code()["vega"]))]


def test_repr_says_what_it_shows_and_is_stable():
    assert repr(LiveChart(SPEC)) == "LiveChart(bins, rules)"
    assert repr(LiveChart(SPEC, description="Slopes")) == "LiveChart(Slopes)"
    assert "0x" not in repr(LiveChart(SPEC).runtime)


def test_altair_charts_are_accepted_and_altair_is_not_imported():
    class Chart:
        def to_dict(self):
            return {"data": {"name": "d"}, "mark": "point"}

    assert LiveChart(Chart()).datasets == ["d"]
    code = "import sys, bossaviz.livechart; print([m for m in ('altair', 'pandas', 'vl_convert') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_misspelt_trait_is_refused():
    with pytest.raises(TypeError, match="no trait 'selectible'"):
        LiveChart(SPEC, selectible=["bars"])
