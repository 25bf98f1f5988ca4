"""What the user asked of ``.infer(...)`` and ``.fit(...)``, checked before any computing.

Only what was typed is checked against the kind of inference; defaults never trip. Each refusal names the
argument, says what stands in the way, and gives the nearest thing that works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from inference_core.errors import InferenceError
from inference_core.states import Array, DataBundle, Frozen, ModelSpec

from . import arguments
from .asymptotic import ERROR_TYPES, cluster_without_its_errors, resolve_error_type
from .cells import HOWS, model_kind, require_cell
from .coefficient import resolve_null
from .intervals.requirements import ALTERNATIVES, CI_TYPES, check_interval_request
from .sandwich import CLUSTER_KINDS, KENWARD_ROGER, check_error_type
from .spelling import nearest
from .welch import check_welch


class _Unset:
    """The value of an argument that was not typed."""

    def __repr__(self) -> str:
        return "not given"


UNSET = _Unset()


def only_typed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller typed: defaults must not trip the checks of combinations."""
    return {name: value for name, value in arguments.items() if value is not UNSET}

DEFAULT_CI_TYPE = MappingProxyType({"lm": "bca", "glm": "bca", "lmer": "expanded", "glmer": "expanded"})

# What is drawn anew; the first is the default.
SCHEMES = MappingProxyType(
    {
        ("cv", "lm"): ("rows", "groups"),
        ("cv", "glm"): ("rows", "groups"),
        ("cv", "lmer"): ("groups", "rows"),
        ("cv", "glmer"): ("groups", "rows"),
        ("boot", "lm"): ("case",),
        ("boot", "glm"): ("case",),
        ("boot", "lmer"): ("parametric", "cluster", "residual", "wild"),
        ("boot", "glmer"): ("parametric", "cluster"),
        ("perm", "lm"): ("freedman_lane", "y", "ter_braak", "score_flip", "sign_flip"),
        ("perm", "glm"): ("score_flip", "y"),
        ("perm", "lmer"): ("group_flip", "residual", "within", "y"),
        ("perm", "glmer"): ("score_flip",),
    }
)
_ALL_SCHEMES = (
    "case", "parametric", "cluster", "residual", "wild", "y", "freedman_lane", "ter_braak", "score_flip",
    "sign_flip", "group_flip", "within", "rows", "groups",
)  # fmt: skip

_ALWAYS = frozenset({"conf_level"})
_TEST = frozenset({"errors", "null", "alternative"})
_LOOP = frozenset({"seed", "n_jobs", "verbose", "progress", "cancel"})

# Which arguments take part in which kind of inference.
USES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "asymp": _ALWAYS | _TEST | {"cluster"},
        "boot": _ALWAYS | _TEST | _LOOP | {"n_boot", "ci_type", "scheme", "save_resamples", "profile"},
        "perm": _ALWAYS | _TEST | _LOOP | {"n_perm", "scheme", "save_resamples", "profile"},
        "cv": _ALWAYS | _LOOP | {"k", "holdout_group", "scheme", "repeats"},
        "profile": _ALWAYS | {"n_steps", "threshold", "verbose", "progress", "cancel"},
        "joint": _ALWAYS | {"errors", "cluster", "ss_type"},
    }
)
ARGUMENTS = tuple(sorted(frozenset().union(*USES.values())))

# Sentences better than "belongs to how=...".
_WHY_NOT = MappingProxyType(
    {
        (
            "joint",
            "alternative",
        ): "a joint test asks whether several numbers are all equal, so it has no direction",
        ("cv", "alternative"): "loss of prediction has no 'less' or 'greater'",
        ("asymp", "seed"): "how='asymp' draws nothing at random",
        ("asymp", "ci_type"): "how='asymp' has one interval, estimate -/+ critical value x se",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest(Frozen):
    """A request that can be carried out: every field has a value that makes sense with the others."""

    how: str = "asymp"
    conf_level: float = 0.95
    errors: str = "iid"  # canonical: iid, HC0 to HC4, unequal_var, CR0 to CR2, kenward-roger
    null: float | Array = 0.0  # one for all, or (p,)
    alternative: str = "two-sided"
    n_boot: int = 999
    n_perm: int = 999
    ci_type: str = "bca"
    seed: int | None = None
    n_jobs: int = 1
    save_resamples: bool = True
    k: int | str = 10
    n_steps: int = 20
    verbose: bool = False
    threshold: float | None = None
    profile: bool = False
    holdout_group: str | None = None
    repeats: int = 1
    ss_type: str = "III"
    scheme: str | None = None
    cluster: Any = None  # a column's name, or a label a row
    progress: Any = None
    cancel: Any = None
    given: frozenset[str] = frozenset()  # what the user typed, beside ``how``
    last_op: str | None = "fit"

    def dispatch_arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``dispatch.dispatch_infer``; ``holdout_group`` is not among them."""
        names = (
            "how", "conf_level", "errors", "null", "alternative", "n_boot", "n_perm", "ci_type", "seed",
            "n_jobs", "save_resamples", "k", "n_steps", "verbose", "threshold", "scheme", "progress",
            "cancel", "cluster", "repeats", "ss_type",
        )  # fmt: skip
        asked = {name: getattr(self, name) for name in names} | {"profile_auto": self.profile}
        if self.how == "cv" and "k" not in self.given:
            asked["k"] = None  # 10, or as many as there are rows or groups
        return asked

    def groups(self, data: Any, spec: ModelSpec, bundle: DataBundle) -> Array | None:
        """(n,) groups that cross-validation keeps together, or None."""
        if self.how != "cv" or (self.scheme in ("rows", None) and self.holdout_group is None):
            return None
        from .cv import resolve_holdout_group_ids

        return resolve_holdout_group_ids(self.holdout_group, data, spec, bundle)


def check_infer_request(
    how: Any,
    given: Mapping[str, Any],
    *,
    spec: ModelSpec,
    bundle: DataBundle | None = None,
    last_op: str | None = "fit",
    names: Sequence[str] | None = None,
) -> InferRequest:
    """Turn what was typed into a request, or refuse it.

    Parameters
    ----------
    how : str
        asymp, boot, perm, cv, profile or joint.
    given : mapping
        The arguments that were typed, by name; unknown names included, defaults not.
    spec, bundle
        The model; the bundle is needed to check ``null`` and weights against it.
    last_op : str
        fit, explore, predict or simulate.
    names : sequence of str, optional
        What the rows of the table are called, for ``null``; the coefficients if not given.

    Raises
    ------
    InferenceError
        Unknown words, numbers out of range, combinations that make no sense, and kinds of inference that are
        not built.
    """
    how = arguments.word("how", how, HOWS)
    _refuse_unknown(how, given)
    require_cell(last_op, how, spec)
    _refuse_foreign(how, given)
    _refuse_after(last_op, given)
    values = {name: _CHECKS[name](name, value) for name, value in given.items()}
    blank = InferRequest(how=how, given=frozenset(given), last_op=last_op)
    request = replace(blank, **{k: v for k, v in values.items() if v is not None})
    request = _resolve(request, values, spec, bundle, names)
    for rule in _RULES:
        rule(request, spec, bundle)
    return request


def _resolve(
    request: InferRequest,
    values: Mapping[str, Any],
    spec: ModelSpec,
    bundle: DataBundle | None,
    names: Sequence[str] | None,
) -> InferRequest:
    """Fill in what depends on the model."""
    kind = model_kind(spec)
    null = request.null if bundle is None else resolve_null(request.null, names or bundle.X_names)
    schemes = SCHEMES.get((request.how, kind), ())
    if request.how == "cv" and request.holdout_group is not None:
        schemes = ("groups",)
    mixed_cv = request.how == "cv" and spec.has_random_effects
    open_question = mixed_cv and request.last_op == "predict" and request.holdout_group is None
    return replace(
        request,
        errors=resolve_error_type(request.errors, spec.family),
        null=null,
        ci_type=values.get("ci_type") or DEFAULT_CI_TYPE.get(kind, "percentile"),
        # That of how="perm" depends on the fit as well, that of held-out predictions on what was predicted.
        scheme=values.get("scheme") or (None if request.how == "perm" or open_question else next(iter(schemes), None)),
    )


def _refuse_unknown(how: str, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in ARGUMENTS:
            near = nearest(name, ARGUMENTS, "argument")
            raise InferenceError(
                asked=f".infer({name}={arguments.show(value)})",
                found=f"no argument {name!r}; how={how!r} takes {', '.join(sorted(USES[how]))}",
                remedy=f"did you mean {near}={arguments.show(value)}?" if near else f"leave {name} out",
            )


def _refuse_foreign(how: str, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in USES[how]:
            owners = " or ".join(f"how={other!r}" for other in HOWS if name in USES[other])
            raise InferenceError(
                asked=f".infer(how={how!r}, {name}={arguments.show(value)})",
                found=_WHY_NOT.get((how, name), f"{name} takes no part in how={how!r}"),
                remedy=f"leave {name} out; it belongs to {owners}",
            )


def _refuse_after(last_op: str | None, given: Mapping[str, Any]) -> None:
    """Simulated responses have a mean, an SD and quantiles; nothing of them is tested, nor of predictions."""
    if last_op == "predict" and "null" in given:
        raise InferenceError(
            asked=f".infer(null={arguments.show(given['null'])}) after predict()",
            found="a prediction is not tested",
            remedy="leave null out; explore() and infer(null=...) test means and comparisons",
        )
    for name in given if last_op == "simulate" else ():
        if name != "conf_level":
            raise InferenceError(
                asked=f".infer({name}={arguments.show(given[name])}) after simulate()",
                found="mean, sd and quantiles of simulated responses; conf_level alone takes part in them",
                remedy=f"leave {name} out; of the coefficients, fit() and infer({name}=...)",
            )


# ---- one argument at a time: each takes (name, value) and returns the value as it will be used ---------


_CHECKS = MappingProxyType(
    {
        "conf_level": arguments.level,
        "errors": lambda name, value: None if value is None else arguments.text(name, value, ERROR_TYPES),
        "null": lambda name, value: value,  # held against the parameters' names in _resolve
        "alternative": lambda name, value: arguments.word(name, value, ALTERNATIVES),
        "n_boot": arguments.count,
        "n_perm": arguments.count,
        "ci_type": lambda name, value: None if value is None else arguments.word(name, value, CI_TYPES),
        "seed": arguments.seed,
        "n_jobs": arguments.jobs,
        "save_resamples": arguments.flag,
        "k": arguments.folds,
        "n_steps": arguments.count,
        "verbose": arguments.flag,
        "threshold": arguments.positive,
        "profile": arguments.flag,
        "holdout_group": lambda name, value: None if value is None else arguments.text(name, value, ()),
        "repeats": arguments.count,
        "scheme": lambda name, value: None if value is None else arguments.word(name, value, _ALL_SCHEMES),
        "progress": arguments.function,
        "cancel": arguments.event,
        "cluster": arguments.labels,
        "ss_type": lambda name, value: arguments.word(name, value, ("I", "II", "III")),
    }
)


# ---- several arguments at a time ------------------------------------------------------------------------


def _rule_scheme(request: InferRequest, spec: ModelSpec, bundle: DataBundle | None) -> None:
    kind = model_kind(spec)
    if request.how == "perm" and (request.scheme or bundle is not None):
        from .permutation.rules import check_scheme, default_scheme

        # Null values of effects are none of the coefficients'; their scheme is chosen where their rows are known.
        null, known = (request.null, bundle) if request.last_op == "fit" else (0.0, None)
        chosen = request.scheme or ("" if known is None else default_scheme(spec, known, null))
        if chosen:
            check_scheme(spec, known, chosen, request.errors, null)
    schemes = SCHEMES.get((request.how, kind), ())
    if "scheme" in request.given and request.scheme is not None and request.scheme not in schemes:
        if kind == "glmer" and request.how == "boot" and request.scheme in ("residual", "wild"):
            from .resample.mixed_limits import refuse_residuals

            refuse_residuals(request.scheme)
        raise InferenceError(
            asked=f".infer(how={request.how!r}, scheme={request.scheme!r}) of a model of kind {kind}",
            found=f"schemes built for it in this version: {', '.join(schemes) or 'none'}",
            remedy=f"scheme={schemes[0]!r}, or leave it out" if schemes else "leave scheme out",
        )


def _rule_errors(request: InferRequest, spec: ModelSpec, bundle: DataBundle | None) -> None:
    if request.cluster is not None and request.errors not in CLUSTER_KINDS:
        raise cluster_without_its_errors(request.errors, spec)
    if request.how in ("boot", "perm") and request.errors in (*CLUSTER_KINDS, KENWARD_ROGER):
        raise InferenceError(
            asked=f".infer(how={request.how!r}, errors={request.errors!r})",
            found=f"{request.errors} errors go with how='asymp'",
            remedy=f"how='asymp', errors={request.errors!r}, or leave errors out",
        )
    check_error_type(spec, request.errors, request.cluster)
    if request.errors == "unequal_var" and request.how in ("asymp", "perm") and bundle is not None:
        check_welch(spec, bundle)
    if request.how != "boot" or request.errors == "iid":
        return
    if request.ci_type != "studentized":
        raise InferenceError(
            asked=f".infer(how='boot', ci_type={request.ci_type!r}, errors={request.errors!r})",
            found=f"{request.ci_type} limits come from the draws alone; no standard error takes part",
            remedy=f"ci_type='studentized' takes {request.errors} errors; else leave errors out",
        )
    if request.errors == "unequal_var":
        raise InferenceError(
            asked=".infer(how='boot', ci_type='studentized', errors='unequal_var')",
            found="the error inside each draw is iid or HC0 to HC4; a resampled cell may hold one row only",
            remedy="errors='HC3'",
        )


def _rule_profile(request: InferRequest, spec: ModelSpec, bundle: DataBundle | None) -> None:
    if request.profile and not spec.has_random_effects:
        raise InferenceError(
            asked=f".infer(how={request.how!r}, profile=True)",
            found="profile=True adds intervals of variance components; this model has no random effects",
            remedy="leave profile out",
        )


    if request.profile and request.last_op != "fit":
        raise InferenceError(
            asked=f".infer(how={request.how!r}, profile=True) after {request.last_op}()",
            found="profile=True adds intervals of variance components, which are none of this table's",
            remedy="leave profile out, or how='profile'",
        )


def _rule_draws(request: InferRequest, spec: ModelSpec, bundle: DataBundle | None) -> None:
    """Enough draws for the level, as far as that is known before the first refit."""
    if request.how != "boot" or bundle is None:
        return
    if spec.has_random_effects:
        from .resample.mixed_limits import refuse_interval

        # The degrees of freedom of expanded limits depend on the scheme and are checked with the draws.
        ci_type = "percentile" if request.ci_type == "expanded" else request.ci_type
        refuse_interval(ci_type, spread=False, linear=spec.is_lmer)
        check_interval_request(ci_type, request.n_boot, request.conf_level, request.alternative)
        return
    df = bundle.n - bundle.rank_info.rank
    inflation = bundle.n / df if df > 0 else 1.0
    check_interval_request(
        request.ci_type, request.n_boot, request.conf_level, request.alternative, df or None, inflation
    )


def _rule_folds(request: InferRequest, spec: ModelSpec, bundle: DataBundle | None) -> None:
    """Rows or groups are held out, not both; leaving out one at a time has one division."""
    if request.how != "cv":
        return
    if request.scheme == "rows" and request.holdout_group is not None:
        raise InferenceError(
            asked=f".infer(how='cv', scheme='rows', holdout_group={request.holdout_group!r})",
            found="scheme='rows' holds single rows out, holdout_group whole groups",
            remedy="leave one of the two out",
        )
    if request.scheme == "groups" and request.holdout_group is None and not spec.has_random_effects:
        raise InferenceError(
            asked=".infer(how='cv', scheme='groups')",
            found="the model has no groups of its own",
            remedy="name the column that holds them: holdout_group='...'",
        )
    if request.k == "loo" and request.repeats > 1:
        raise InferenceError(
            asked=f".infer(how='cv', k='loo', repeats={request.repeats})",
            found="leaving out one at a time has one division only",
            remedy="leave repeats out, or k=10",
        )


_RULES = (_rule_scheme, _rule_errors, _rule_profile, _rule_draws, _rule_folds)


# ---- fit ------------------------------------------------------------------------------------------------

_DATA_ARGUMENTS = ("weights", "offset")
_FIT_OPTIONS = MappingProxyType(
    {"tol": arguments.tolerance, "max_iter": arguments.count, "nAGQ": arguments.nodes, "method": arguments.method}
)
_MIXED_ONLY = ("nAGQ", "method", "solver")

# Options that one kind of model cannot use, and why.
_NO_USE = MappingProxyType(
    {
        ("lm", "tol"): "a linear model is solved in one step; nothing iterates",
        ("lm", "max_iter"): "a linear model is solved in one step; nothing iterates",
        ("lmer", "nAGQ"): "the likelihood of a linear mixed model is exact; there is nothing to integrate by nodes",
        ("lmer", "solver"): "the kernel follows from the random terms",
        ("glmer", "method"): "a generalized mixed model has one method, maximum likelihood",
        ("glmer", "solver"): "the kernel follows from the random terms",
        ("glmer", "tol"): "its search always runs to the rounding of the deviance",
    }
)


def check_fit_request(given: Mapping[str, Any], spec: ModelSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split what was typed into ``.fit(...)`` into data (weights, offset, method) and options, or refuse it.

    Returns
    -------
    data : dict
        What the bundle or the specification is made from: weights, offset, method.
    options : dict
        Keyword arguments of ``fit_model``.

    Raises
    ------
    InferenceError
        Unknown names, numbers out of range, options of mixed models, and iteration limits for a linear model.
    """
    known = (*_DATA_ARGUMENTS, *_FIT_OPTIONS, "solver")
    kind = model_kind(spec)
    for name, value in given.items():
        if name not in known:
            near = nearest(name, known, "argument")
            raise InferenceError(
                asked=f".fit({name}={arguments.show(value)})",
                found=f"no argument {name!r}; fit takes {', '.join(known)}",
                remedy=f"did you mean {near}={arguments.show(value)}?" if near else f"leave {name} out",
            )
        if name in _MIXED_ONLY and value is not None and not spec.has_random_effects:
            raise InferenceError(
                asked=f".fit({name}={arguments.show(value)})",
                found=f"{name} belongs to mixed models; this is a model of kind {kind}",
                remedy=f"leave {name} out",
            )
        if (kind, name) in _NO_USE and value is not None:
            raise InferenceError(
                asked=f".fit({name}={arguments.show(value)})",
                found=_NO_USE[kind, name],
                remedy=f"leave {name} out",
            )
    data = {name: given[name] for name in _DATA_ARGUMENTS if name in given}
    options = {name: check(name, given[name]) for name, check in _FIT_OPTIONS.items() if given.get(name) is not None}
    if "method" in options:
        data["method"] = options.pop("method")
    if "nAGQ" in options:
        options["n_agq"] = options.pop("nAGQ")
    return data, options
