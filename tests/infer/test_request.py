"""What .infer() and .fit() refuse before any computing, word for word; and what they let through."""

import dataclasses
import inspect
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import InferenceCoreError, InferenceError
from inference_core.infer.cells import (
    BUILT,
    CELLS,
    HOWS,
    KINDS,
    LAST_OPS,
    LATER,
    REFUSED,
    WORKS,
    model_kind,
    require_cell,
)
from inference_core.infer.request import (
    ARGUMENTS,
    CI_TYPES,
    UNSET,
    USES,
    InferRequest,
    check_fit_request,
    check_infer_request,
)
from inference_core.infer.spelling import nearest
from inference_core.model import model

from .handmade import linear, make_bundle, make_spec

SPECS = {
    "lm": make_spec(),
    "glm": make_spec("poisson", "log"),
    "lmer": make_spec(has_random_effects=True),
    "glmer": make_spec("binomial", "logit", has_random_effects=True),
}


def check(how="asymp", spec=SPECS["lm"], bundle=None, last_op="fit", **given):
    return check_infer_request(how, given, spec=spec, bundle=bundle, last_op=last_op)


def refusal(*args, **given):
    with pytest.raises(InferenceError) as caught:
        check(*args, **given)
    return caught.value


# ---- what passes ---------------------------------------------------------------------------------------------


def test_nothing_typed_gives_the_defaults():
    request = check()
    assert (request.how, request.conf_level, request.errors, request.null) == ("asymp", 0.95, "iid", 0.0)
    assert (request.alternative, request.scheme, request.given) == ("two-sided", None, frozenset())
    boot = check("boot")
    assert (boot.n_boot, boot.ci_type, boot.seed, boot.scheme, boot.profile) == (999, "bca", None, "case", False)


def test_a_full_request_comes_back_as_typed():
    stop = threading.Event()
    request = check(
        "boot", conf_level=0.9, errors="HC3", null=1, alternative="less", n_boot=np.int64(500), ci_type="studentized",
        seed=7, n_jobs=-1, save_resamples=False, verbose=True, scheme="case", progress=print, cancel=stop,
        profile=False,
    )  # fmt: skip
    assert request.n_boot == 500 and type(request.n_boot) is int
    assert (request.conf_level, request.errors, request.ci_type) == (0.9, "HC3", "studentized")
    assert request.cancel is stop and request.progress is print and request.n_jobs == -1
    assert request.given == frozenset(USES["boot"])


def test_none_means_the_default():
    request = check("boot", ci_type=None, seed=None, scheme=None, progress=None, cancel=None, errors=None)
    assert (request.ci_type, request.scheme, request.errors, request.seed) == ("bca", "case", "iid", None)


def test_hetero_is_resolved_by_family():
    assert check(errors="hetero").errors == "HC3"
    assert check(errors="hetero", spec=SPECS["glm"]).errors == "HC0"


def test_nulls_are_held_against_the_parameters():
    _, bundle, _ = linear()
    assert check(bundle=bundle, null={"b1": 2}).null.tolist() == [0, 2, 0]
    assert check(bundle=bundle, null=[1, 2, 3]).null.tolist() == [1, 2, 3]
    assert refusal(bundle=bundle, null=[1, 2]).found == "the model has 3 parameters: b0, b1, b2"


def test_requests_are_frozen():
    request = check(bundle=linear()[1], null=[1.0, 2.0, 3.0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.n_boot = 5
    with pytest.raises(ValueError, match="read-only"):
        request.null[0] = 9.0


def test_dispatch_arguments_are_what_dispatch_takes():
    from inference_core.infer.dispatch import dispatch_infer

    taken = inspect.signature(dispatch_infer).parameters
    assert set(check("boot").dispatch_arguments()) <= set(taken)
    fields = {f.name for f in dataclasses.fields(InferRequest)}
    assert set(ARGUMENTS) == fields - {"how", "given", "last_op"}


def test_the_users_signature_names_every_argument():
    typed = inspect.signature(model.infer).parameters
    assert {name for name in typed if name not in ("self", "how", "unknown")} == set(ARGUMENTS)
    assert all(p.default is UNSET for name, p in typed.items() if name in ARGUMENTS)
    assert repr(UNSET) == "not given"


# ---- messages a user can meet --------------------------------------------------------------------------------

SNAPSHOTS = [
    (
        {"nboot": 100, "how": "boot"},
        "asked: .infer(nboot=100)\n"
        "found: no argument 'nboot'; how='boot' takes alternative, cancel, ci_type, conf_level, errors, n_boot, n_jobs,"
        " null, profile, progress, save_resamples, scheme, seed, verbose\n"
        "try:   did you mean n_boot=100?",
    ),
    (
        {"by": "group"},
        "asked: .infer(by='group')\n"
        "found: no argument 'by'; how='asymp' takes alternative, cluster, conf_level, errors, null\n"
        "try:   leave by out",
    ),
    (
        {"how": "bootstrap"},
        "asked: how='bootstrap'\n"
        "found: how is one of asymp, boot, perm, cv, profile, joint\n"
        "try:   did you mean 'boot'?",
    ),
    (
        {"how": 3},
        "asked: how=3\nfound: how is one of asymp, boot, perm, cv, profile, joint\ntry:   how='asymp'",
    ),
    (
        {"how": "perm", "scheme": "group_flip"},
        "asked: .infer(how='perm', scheme='group_flip')\n"
        "found: schemes of an lm are freedman_lane, y, ter_braak, score_flip, sign_flip\n"
        "try:   scheme='freedman_lane'",
    ),
    (
        {"how": "boot", "n_perm": 99},
        "asked: .infer(how='boot', n_perm=99)\n"
        "found: n_perm takes no part in how='boot'\n"
        "try:   leave n_perm out; it belongs to how='perm'",
    ),
    (
        {"seed": 1},
        "asked: .infer(how='asymp', seed=1)\n"
        "found: how='asymp' draws nothing at random\n"
        "try:   leave seed out; it belongs to how='boot' or how='perm' or how='cv'",
    ),
    (
        {"ci_type": "bca"},
        "asked: .infer(how='asymp', ci_type='bca')\n"
        "found: how='asymp' has one interval, estimate -/+ critical value x se\n"
        "try:   leave ci_type out; it belongs to how='boot'",
    ),
    (
        {"threshold": 3.8, "how": "boot"},
        "asked: .infer(how='boot', threshold=3.8)\n"
        "found: threshold takes no part in how='boot'\n"
        "try:   leave threshold out; it belongs to how='profile'",
    ),
    (
        {"how": "boot", "ci_type": "BCA"},
        "asked: ci_type='BCA'\n"
        "found: ci_type is one of percentile, basic, normal, bca, studentized, expanded\n"
        "try:   did you mean 'bca'?",
    ),
    (
        {"alternative": "two.sided"},
        "asked: alternative='two.sided'\n"
        "found: alternative is one of two-sided, greater, less\n"
        "try:   did you mean 'two-sided'?",
    ),
    (
        {"conf_level": 95},
        "asked: conf_level=95\nfound: a level is a share between 0 and 1\ntry:   type 0.95 for 95%",
    ),
    (
        {"how": "boot", "n_boot": 0},
        "asked: n_boot=0\nfound: n_boot is a whole number of at least 1\ntry:   n_boot=999",
    ),
    (
        {"how": "boot", "n_boot": 1e4},
        "asked: n_boot=10000.0\nfound: n_boot is a whole number of at least 1\ntry:   n_boot=10000",
    ),
    (
        {"how": "boot", "n_jobs": 0},
        "asked: n_jobs=0\nfound: n_jobs is a number of processes: 1 or more, or -1 for all processors\ntry:   n_jobs=1",
    ),
    (
        {"how": "boot", "seed": -1},
        "asked: seed=-1\nfound: a seed is a whole number of at least 0\n"
        "try:   seed=1, or leave it out: the result tells the one used",
    ),
    (
        {"how": "boot", "verbose": 1},
        "asked: verbose=1\nfound: verbose is True or False\ntry:   verbose=True",
    ),
    (
        {"how": "boot", "cancel": True},
        "asked: cancel=True\nfound: cancel is asked is_set() between batches\ntry:   cancel=threading.Event()",
    ),
    (
        {"how": "boot", "progress": "bar"},
        "asked: progress='bar'\nfound: progress is called with (done, total)\n"
        "try:   progress=lambda done, total: print(done, total)",
    ),
    (
        {"how": "boot", "scheme": "parametric"},
        "asked: .infer(how='boot', scheme='parametric') of a model of kind lm\n"
        "found: schemes built for it in this version: case\n"
        "try:   scheme='case', or leave it out",
    ),
    (
        {"how": "boot", "scheme": "cases"},
        "asked: scheme='cases'\n"
        "found: scheme is one of case, parametric, cluster, residual, wild, y, freedman_lane, ter_braak, score_flip,"
        " sign_flip, group_flip, within, rows, groups\n"
        "try:   did you mean 'case'?",
    ),
    (
        {"how": "boot", "profile": True},
        "asked: .infer(how='boot', profile=True)\n"
        "found: profile=True adds intervals of variance components; this model has no random effects\n"
        "try:   leave profile out",
    ),
    (
        {"how": "boot", "errors": "HC3"},
        "asked: .infer(how='boot', ci_type='bca', errors='HC3')\n"
        "found: bca limits come from the draws alone; no standard error takes part\n"
        "try:   ci_type='studentized' takes HC3 errors; else leave errors out",
    ),
    (
        {"how": "boot", "errors": "unequal_var", "ci_type": "studentized"},
        "asked: .infer(how='boot', ci_type='studentized', errors='unequal_var')\n"
        "found: the error inside each draw is iid or HC0 to HC4; a resampled cell may hold one row only\n"
        "try:   errors='HC3'",
    ),
]


@pytest.mark.parametrize(("given", "message"), SNAPSHOTS, ids=[str(list(g.items())[-1]) for g, _ in SNAPSHOTS])
def test_messages(given, message):
    arguments = dict(given)
    assert str(refusal(arguments.pop("how", "asymp"), **arguments)) == message


@pytest.mark.parametrize(
    ("how", "name", "values"),
    [
        ("asymp", "conf_level", [1.5, 0, 1, -1, np.nan, "0.9", None, True, [0.9]]),
        ("asymp", "errors", ["hc3", 3, "CR0"]),
        ("asymp", "alternative", [None, 1, "", "up"]),
        ("boot", "n_boot", [-1, 2.5, "100", None, True, np.nan, 10**30]),
        ("boot", "n_jobs", [1.0, "all", None, True]),
        ("boot", "seed", [1.5, "1", True, -3]),
        ("boot", "save_resamples", [0, "yes", None]),
        ("boot", "ci_type", ["perc", 5, ""]),
        ("boot", "scheme", [3, "bayesian"]),
        ("boot", "cancel", [1, "stop", lambda: True]),
        ("boot", "profile", [None, 1]),
    ],
)
def test_values_out_of_range(how, name, values):
    for value in values:
        assert name in refusal(how, **{name: value}).asked


def test_values_of_kinds_to_come_are_checked_already():
    """perm, cv and profile are not open yet; their arguments have their checks."""
    from inference_core.infer.request import _CHECKS

    assert set(_CHECKS) == set(ARGUMENTS)
    assert _CHECKS["k"]("k", "loo") == "loo" and _CHECKS["k"]("k", 5) == 5
    for name, bad in [
        ("k", 1),
        ("k", "ten"),
        ("n_perm", 0),
        ("n_steps", 0),
        ("threshold", -1.0),
        ("threshold", "x"),
        ("holdout_group", 3),
    ]:
        with pytest.raises(InferenceError, match=f"{name}="):
            _CHECKS[name](name, bad)
    assert (
        _CHECKS["threshold"]("threshold", None) is None
        and _CHECKS["holdout_group"]("holdout_group", "school") == "school"
    )


def test_welch_is_refused_before_computing():
    _, bundle, _ = linear()
    assert refusal(bundle=bundle, errors="unequal_var").found.startswith("no factor in the model")
    weighted = make_bundle(bundle.X, bundle.y, weights=np.ones(25), factor_levels={"g": ("a", "b")})
    assert refusal(bundle=weighted, errors="unequal_var").found.startswith("weights:")
    assert refusal(spec=SPECS["glm"], bundle=bundle, errors="unequal_var").found.startswith("a poisson model")


@pytest.mark.parametrize("ci_type", CI_TYPES)
def test_too_few_draws_are_refused_before_the_first_refit(ci_type):
    _, bundle, _ = linear()
    caught = refusal("boot", bundle=bundle, n_boot=1, ci_type=ci_type)
    assert "B = 1 cannot give 95 % limits" in caught.found


@given(
    st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(max_size=5), st.floats())),
    st.sampled_from(HOWS),
)
def test_whatever_is_typed_is_a_request_or_a_refusal(given_, how):
    try:
        request = check_infer_request(how, given_, spec=SPECS["lm"])
    except InferenceCoreError as caught:
        assert caught.asked and caught.found and caught.remedy
    else:
        assert request.how == how and request.given == frozenset(given_)


@given(name=st.sampled_from(ARGUMENTS), how=st.sampled_from(["asymp", "boot"]))
def test_an_argument_that_takes_no_part_is_never_ignored(name, how):
    if name not in USES[how]:
        assert refusal(how, **{name: None}).remedy.startswith(f"leave {name} out; it belongs to how=")


@given(name=st.sampled_from([a for a in ARGUMENTS if len(a) > 4]), at=st.integers(0, 30), letter=st.sampled_from("qxz"))
def test_one_wrong_letter_is_recognised(name, at, letter):
    at %= len(name)
    typed = name[:at] + letter + name[at + 1 :]
    if typed not in ARGUMENTS:
        assert refusal("boot", **{typed: 1}).remedy == f"did you mean {name}=1?"


@pytest.mark.parametrize(
    ("word", "argument", "meant"),
    [("permutation", "how", "perm"), ("Wald", "how", "asymp"), ("kfold", "how", "cv"),
     ("perc", "ci_type", "percentile"),
     (">", "alternative", "greater"), ("White", "errors", "HC0"), ("pairs", "scheme", "case"),
     ("R", "argument", "n_boot")],
)  # fmt: skip
def test_words_of_other_programs(word, argument, meant):
    valid = {"how": HOWS, "ci_type": CI_TYPES, "alternative": ("two-sided", "greater", "less"),
             "errors": ("HC0", "HC3"),
             "scheme": ("case",), "argument": ARGUMENTS}[argument]  # fmt: skip
    assert nearest(word, valid, argument) == meant


# ---- the table of cells --------------------------------------------------------------------------------------


def test_every_cell_is_decided():
    assert set(CELLS) == {(op, how, kind) for op in LAST_OPS for how in HOWS for kind in KINDS}
    assert {key for key, cell in CELLS.items() if cell.status == WORKS} == BUILT
    for cell in CELLS.values():
        assert (cell.status == WORKS) == (cell.found == cell.remedy == "")


def test_what_no_version_will_do():
    refused = {key[:2] for key, cell in CELLS.items() if cell.status == REFUSED}
    assert refused == {("explore", "cv"), ("predict", "perm"), *(("simulate", h) for h in HOWS if h != "asymp")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("last_op", LAST_OPS)
def test_a_cell_works_or_says_why_not(last_op, how, kind):
    cell = CELLS[last_op, how, kind]
    if cell.status == WORKS:
        assert check(how, spec=SPECS[kind], last_op=last_op).how == how
        return
    caught = refusal(how, spec=SPECS[kind], last_op=last_op)
    assert (caught.found, caught.remedy) == (cell.found, cell.remedy)
    assert f"how={how!r}" in caught.asked and f"after {last_op}() of a" in caught.asked
    assert ("not built yet" in caught.found) == (cell.status == LATER)


@pytest.mark.parametrize("last_op", [None, "", "dance"])
def test_no_operation_no_inference(last_op):
    assert refusal(last_op=last_op).remedy == "fit() first, then how='asymp' or how='boot'"


def test_kinds_of_models():
    assert {name: model_kind(spec) for name, spec in SPECS.items()} == {name: name for name in SPECS}
    assert model_kind(make_spec("gaussian", "log")) == "glm"
    require_cell("fit", "asymp", SPECS["glm"])


def test_mixed_models_are_told_what_works():
    found = refusal("perm", last_op="predict", spec=SPECS["glmer"])
    assert found.asked == ".infer(how='perm') after predict() of a glmer"
    assert found.remedy.startswith("how='boot' or how='asymp'")


# ---- fit -----------------------------------------------------------------------------------------------------


def test_fit_requests_are_split():
    weights = np.ones(3)
    data, options = check_fit_request({"weights": weights, "tol": 1e-9, "max_iter": 50}, SPECS["glm"])
    assert data == {"weights": weights} and options == {"tol": 1e-9, "max_iter": 50}
    assert check_fit_request({"nAGQ": None, "method": None}, SPECS["lm"]) == ({}, {})


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"maxiter": 5}, "glm",
         "asked: .fit(maxiter=5)\nfound: no argument 'maxiter'; fit takes weights, offset, tol, max_iter,"
         " nAGQ, method, solver\ntry:   did you mean max_iter=5?"),
        ({"zzz": 5}, "glm",
         "asked: .fit(zzz=5)\nfound: no argument 'zzz'; fit takes weights, offset, tol, max_iter, nAGQ,"
         " method, solver\ntry:   leave zzz out"),
        ({"nAGQ": 1}, "glm", "asked: .fit(nAGQ=1)\nfound: nAGQ belongs to mixed models; this is a model of kind glm\n"
         "try:   leave nAGQ out"),
        ({"tol": 1e-8}, "lm", "asked: .fit(tol=1e-08)\nfound: a linear model is solved in one step; nothing iterates\n"
         "try:   leave tol out"),
        ({"tol": 2}, "glm", "asked: tol=2\nfound: tol is a relative change, above 0 and below 1\ntry:   tol=1e-10"),
        ({"max_iter": 0}, "glm",
         "asked: max_iter=0\nfound: max_iter is a whole number of at least 1\ntry:   max_iter=999"),
    ],
)  # fmt: skip
def test_fit_refusals(given, kind, message):
    with pytest.raises(InferenceError) as caught:
        check_fit_request(given, SPECS[kind])
    assert str(caught.value) == message
