"""The user's class. Thin: every method is a call into design/, fit/ or infer/.

A model may be shared by threads (widget callbacks run in several), so it holds *one* frozen state and every operation
replaces that reference once, after it has succeeded. A failed or interrupted operation leaves the model as it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from .backends import check_backend, using_backend
from .design import build_bundle, read_frame
from .errors import InferenceCoreWarning, InferenceError
from .families import get_family
from .fit import fit_model
from .formula import parse_formula
from .infer.request import UNSET, check_fit_request, check_infer_request, only_typed
from .results import ModelState
from .simulating import Simulating
from .states import JointTestState, MeeState

if TYPE_CHECKING:
    from .infer.cv.stream import FoldStream
    from .infer.dispatch import InferResult
    from .infer.resample.stream import DrawStream



class model(Simulating):
    """A statistical model: a formula and data; then ``fit()``, then ``infer()``.

    Parameters
    ----------
    formula : str
        As in R: ``"mpg ~ wt + hp"``, ``"cbind(ncases, ncontrols) ~ agegp"``, ``"log(y) ~ poly(x, 2) * group"``.
    data : frame, dict or path
        A polars frame, anything narwhals can turn into one (pandas, pyarrow), a dict of columns, or a path to csv,
        tsv, parquet, json or ndjson (text also gzipped). None: a model to simulate data from.
    family : str
        gaussian, binomial, poisson, gamma, inverse_gaussian, negative_binomial or tdist.
    link : str, optional
        identity, log, logit, probit, cloglog, cauchit, inverse, sqrt or inverse_squared; the family's default if not
        given.
    method : str, optional
        Estimation method of mixed models ("reml", "ml"); linear and generalized linear models have one.
    missing : {"drop", "raise"}
        What to do with rows that lack a value in a used column. They go once, before any transform is learned.
    contrasts : mapping, optional
        Coding by column: treatment, sum, helmert, poly, sequential, or a matrix.
    weights, offset : str or array, optional
        A column's name, an expression, or one value per row of ``data``.
    backend : {"auto", "numpy", "jax"}
        Which library runs the batched kernels; "auto" is what :func:`inference_core.set_backend` chose.

    Examples
    --------
    >>> from inference_core import load_dataset, model
    >>> m = model("mpg ~ wt", load_dataset("mtcars")).fit()
    >>> m.infer(how="boot", n_boot=1000, seed=1).params.columns
    ['term', 'estimate', 'se', 'ci_lower', 'ci_upper', 'statistic', 'df', 'p_value']
    """

    def __init__(
        self,
        formula: str,
        data: Any = None,
        family: Any = "gaussian",
        link: str | None = None,
        method: str | None = None,
        missing: str = "drop",
        contrasts: Mapping[str, Any] | None = None,
        weights: Any = None,
        offset: Any = None,
        backend: str = "auto",
    ) -> None:
        check_backend(backend, f"model(backend={backend!r})")
        self._backend = None if backend == "auto" else backend
        parsed = parse_formula(formula)
        if method is not None and not parsed.random_terms:
            raise InferenceError(
                asked=f"model(method={method!r})",
                found="a model without random effects has one method: least squares, or maximum likelihood by IRLS",
                remedy="leave method out; 'reml' and 'ml' belong to mixed models",
            )
        # Shares the columns; what the frame's owner puts in their place later stays out.
        self.data: pl.DataFrame = pl.DataFrame() if data is None else read_frame(data).clone()
        self._has_data = data is not None
        chosen = get_family(family, link)
        # A typed parameter ("negative_binomial(theta=2)") stays in the name; everything else is known from the table.
        self._family = family if isinstance(family, str) and "(" in family else chosen.name
        self._link = chosen.link.name
        self._arguments = {
            "missing": missing,
            "contrasts": contrasts,
            "weights": weights,
            "offset": offset,
            "method": _default_method(chosen.name, self._link, bool(parsed.random_terms)),
        }
        self.formula = formula
        self._state = self._build(self._arguments, self.data) if self._has_data else self._blank()
        if method is not None:
            self._arguments |= check_fit_request({"method": method}, self.spec)[0]
            self._state = replace(self._state, spec=replace(self.spec, method=self._arguments["method"]))

    def _build(self, arguments: Mapping[str, Any], data: pl.DataFrame) -> ModelState:
        spec, bundle = build_bundle(self.formula, data, family=self._family, link=self._link, **arguments)
        return ModelState(spec=spec, bundle=bundle)

    # ---- verbs -----------------------------------------------------------------------------------------------

    def fit(
        self,
        *,
        weights: Any = UNSET,
        offset: Any = UNSET,
        nAGQ: Any = UNSET,
        method: Any = UNSET,
        solver: Any = UNSET,
        tol: Any = UNSET,
        max_iter: Any = UNSET,
        **unknown: Any,
    ) -> model:
        """Estimate the model; every earlier result goes.

        Parameters
        ----------
        weights, offset : str or array, optional
            Replace those given to ``model``.
        tol : float
            Where the search stops: of a glm the relative change of the deviance, of a linear mixed model the fall still
            to be had, in deviance units.
        max_iter : int
            Most steps.
        nAGQ : int, default 1
            Of generalized mixed models: 1 is Laplace, more that many nodes of adaptive quadrature (one random effect a
            group), 0 a rougher fit.
        method : {"reml", "ml"}
            Of linear mixed models.
        solver
            Has no use: the kernel follows from the model.

        Returns
        -------
        model
            The same object, so that ``model(...).fit().infer()`` reads in order.

        Raises
        ------
        FitError
            If the data cannot estimate the model: no rows, a constant response, values that the family excludes.

        Warns
        -----
        InferenceCoreWarning
            Separation, or a search that did not settle: the numbers of the table are no estimates.
        """
        given = {
            "weights": weights, "offset": offset, "nAGQ": nAGQ, "method": method, "solver": solver, "tol": tol,
            "max_iter": max_iter,
        }  # fmt: skip
        if not self._has_data:
            raise InferenceError(
                asked=f"fit() of {self.formula!r}",
                found="no data",
                remedy="model(formula, data): a frame, a dict of columns or a path; or simulate(n=100, coef=...) first",
            )
        arguments, options = check_fit_request(only_typed(given) | unknown, self.spec)
        state = self._state
        if arguments:
            kept = {**self._arguments, **arguments}
            state = self._build(kept, self.data)
            self._arguments = kept
        fit = fit_model(state.spec, state.bundle, **options)
        self._state = ModelState(spec=state.spec, bundle=state.bundle, fit=fit, last_op="fit")
        if fit.is_separated or not fit.converged:
            # Whoever reads only the table would take these numbers for estimates.
            warnings.warn(InferenceCoreWarning("\n".join(fit.messages)), stacklevel=2)
        return self

    def infer(
        self,
        how: str = "asymp",
        conf_level: Any = UNSET,
        errors: Any = UNSET,
        null: Any = UNSET,
        alternative: Any = UNSET,
        *,
        n_boot: Any = UNSET,
        n_perm: Any = UNSET,
        ci_type: Any = UNSET,
        seed: Any = UNSET,
        n_jobs: Any = UNSET,
        save_resamples: Any = UNSET,
        k: Any = UNSET,
        n_steps: Any = UNSET,
        verbose: Any = UNSET,
        threshold: Any = UNSET,
        profile: Any = UNSET,
        holdout_group: Any = UNSET,
        scheme: Any = UNSET,
        repeats: Any = UNSET,
        cluster: Any = UNSET,
        ss_type: Any = UNSET,
        progress: Any = UNSET,
        cancel: Any = UNSET,
        **unknown: Any,
    ) -> model:
        """Draw inference from the last operation: of coefficients, effects, predictions or simulations.

        Parameters
        ----------
        how : {"asymp", "boot", "perm", "cv", "profile", "joint"}
            "asymp": the t or z reference (Satterthwaite's t for linear mixed models). "boot": refit to resampled rows,
            or to data simulated from a mixed model (see ``scheme``). "profile": profile likelihood.
            "perm": shuffle or flip signs under the null model of each coefficient; whole groups of a mixed model.
            "joint": one test per term (``m.effects``), or of all rows that were explored together.
            "cv": what each term is worth for prediction, by cross-validation (``m.cv``, ``m.cv_terms``).
        conf_level : float, default 0.95
            Between 0 and 1.
        errors : str, default "iid"
            "iid", "hetero", "HC0" to "HC4", or "unequal_var" (Welch); "CR0", "CR1", "CR1S" or "CR2" let whole clusters
            scatter as they like. Linear mixed models have "iid" (with Satterthwaite's df), "kenward-roger" and the CR;
            generalized ones "iid", "CR0" and "CR1" (t with one df a group, less one).
        null : float or sequence, default 0
            The value tested, one for all parameters or one each.
        alternative : {"two-sided", "greater", "less"}
            One-sided alternatives give one-sided limits.
        n_boot : int, default 999
            Draws of the bootstrap.
        n_perm : int, default 999
            Draws of how="perm"; all arrangements are tried where there are no more than these, or than 5,000.
        ci_type : str, optional
            percentile, basic, normal, bca, studentized or expanded; None picks bca for lm and glm, expanded for mixed
            models.
        seed : int, optional
            Draw i is a function of (seed, i) alone. None picks one, and the result carries it.
        n_jobs : int, default 1
            Workers, -1 for all cores: processes, or threads where these are quicker; ``joblib.parallel_config("dask")``
            or ``("ray")`` around the call takes a cluster. The draws do not depend on it.
        save_resamples : bool, default True
            Keep the draws (``m.resamples``).
        profile : bool, default False
            Beside how="boot" or "perm" of a mixed model: limits of its SDs and correlations by profile likelihood.
        cluster : str or sequence, optional
            Of "CR0" to "CR2": a column, or a label a row. A linear mixed model has its outermost grouping factor.
        k : int or "loo", default 10
            Folds of how="cv"; "loo" leaves out one row, or one group, at a time.
        holdout_group : str, optional
            The column whose groups are held out whole; a mixed model has its outermost grouping factor.
        scheme : str, optional
            What is drawn anew, or held out. Of how="boot" and mixed models "parametric" (new effects and noise from the
            fit), "cluster" (whole groups), and of linear ones "residual" (the fit's own effects and residuals,
            reflated) and "wild" (signs of whole groups of residuals; coefficients only). Of how="perm"
            "freedman_lane", "y", "ter_braak", "sign_flip" (lm) and "score_flip" (glm too); of linear mixed models
            "group_flip" (signs of whole groups), "residual" (signs of effects and of residuals, for crossed factors),
            "within" (shuffles within groups) and "y"; of generalized ones "score_flip" (signs of the groups' scores).
            None picks by the model, and the table names it. Of how="cv" "rows" or "groups": a mixed model holds out
            whole groups; with scheme="rows" it predicts new rows of known groups.
        ss_type : {"III", "II", "I"}
            What how="joint" adjusts each term for: all others, balanced; those that do not contain it; those before it.
        repeats : int, default 1
            How many times how="cv" divides the rows.
        n_steps : int, default 20
            Points of each trace of a profile, beside its limits; mixed models get more where a trace bends.
        threshold : float, optional
            Rise of the deviance at the limits of a profile, in place of the chi-square quantile of ``conf_level``.
        verbose : bool
            Show a progress bar.
        progress, cancel
            ``progress(done, total)`` is called and ``cancel.is_set()`` looked at between batches.

        Returns
        -------
        model
            The same object; read ``m.params``, ``m.effects``, ``m.predictions``, ...

        Raises
        ------
        InferenceError
            Unknown words, numbers out of range and combinations that make no sense are refused before any computing.
        """
        from .infer.dispatch import dispatch_infer

        state = self._fitted("infer()")
        given = {
            "conf_level": conf_level, "errors": errors, "null": null, "alternative": alternative, "n_boot": n_boot,
            "n_perm": n_perm, "ci_type": ci_type, "seed": seed, "n_jobs": n_jobs, "save_resamples": save_resamples,
            "k": k, "n_steps": n_steps, "verbose": verbose, "threshold": threshold, "profile": profile,
            "holdout_group": holdout_group, "scheme": scheme, "repeats": repeats, "cluster": cluster,
            "ss_type": ss_type, "progress": progress, "cancel": cancel,
        }  # fmt: skip
        typed = only_typed(given) | unknown
        checked = check_infer_request(
            how, typed, last_op=state.last_op, spec=state.spec, bundle=state.bundle, names=self._row_names(state)
        )
        with using_backend(self._backend):
            result = dispatch_infer(
                **checked.dispatch_arguments(),
                last_op=state.last_op,
                spec=state.spec,
                bundle=state.bundle,
                fit=self._require_fit(state),
                data=self.data,
                holdout_group_ids=checked.groups(self.data, state.spec, state.bundle),
                link_override=None,
                mee=state.mee,
                pred=state.pred,
                simulations=None if state.simulations is None else state.simulations.frame,
                varying_spread=None,
                is_mixed=state.spec.has_random_effects,
            )
        self._state = self._after(state, result)
        return self

    @staticmethod
    def _after(state: ModelState, result: InferResult) -> ModelState:
        """The state with what one inference found; what it has nothing to say about stays."""
        if result.sim_inference is not None:
            return replace(state, sim_inference=result.sim_inference)
        if result.pred is not None:
            return replace(state, pred=result.pred, resamples=result.resamples, cv=result.cv or state.cv)
        if isinstance(result.mee, JointTestState):
            return replace(state, joint=result.mee)
        if result.mee is not None:
            return replace(state, mee=result.mee, resamples=result.resamples, joint=None)
        return replace(
            state, inference=result.params_inference, resamples=result.resamples, profile=result.profile,
            spread=result.varying_spread, cv=result.cv,
        )  # fmt: skip

    @staticmethod
    def _row_names(state: ModelState) -> tuple[str, ...] | None:
        if state.last_op != "explore" or not isinstance(state.mee, MeeState):
            return None
        from .infer.mee_bootstrap import row_names

        return row_names(state.mee)

    def explore(
        self,
        what: str,
        *,
        by: str | Sequence[str] | None = None,
        effect_scale: str | None = None,
        how: str | None = None,
        weights: str | Mapping[str, Any] = "equal",
        p_adjust: str = "none",
        comparison: str = "difference",
        average_on: str = "link",
    ) -> model:
        """Ask for marginal means, slopes or contrasts; ``infer()`` then gives them intervals.

        Parameters
        ----------
        what : str
            ``"group"``: means. ``"x"``: the slope of a number. ``"pairwise(group) ~ sex"``: differences within each
            sex. ``"x@[1, 2]"``, ``"x@range(3)"``, ``"x@quantile(3)"``: means at values. ``"group[(A + B) - C]"``:
            comparisons written out. ``"pairwise(a):pairwise(b)"``: differences of differences. Also revpairwise,
            sequential, treatment(x, ref = A), sum, helmert, poly(x, 2) and slope(x@[1, 2]).
        by : str or sequence of str, optional
            Conditions beside those after ``~``.
        effect_scale : {"response", "link"}, optional
            The response scale; "link" is the default where the formula transforms the response.
        how : {"mem", "ame"}, optional
            "mem": at a reference grid, with other numbers at their mean. "ame": averages over the rows of the data, in
            each of which the named columns are set. Slopes on a curved scale are averaged if nothing is said.
        weights : str or mapping
            How factors that are not named are averaged on a grid: equal, proportional, outer, cells, flat, or
            ``{"factor": {"level": weight}}``.
        p_adjust : str
            none, tukey, mvt, bonferroni, holm, sidak, fdr or scheffe; of p-values and limits alike.
        comparison : {"difference", "ratio", "odds_ratio"}
            Of contrasts on the response scale.
        average_on : {"link", "response"}
            Where factors are averaged on a grid: before the inverse link, as emmeans does, or after.

        Returns
        -------
        model
            The same object; read ``m.effects``.

        Raises
        ------
        FormulaError
            The text cannot be read; the message points at the character.
        InferenceError
            Options that do not go together.

        Notes
        -----
        Equivalence within a margin is two one-sided calls, and the larger p counts; the same as whether the interval at
        1 - 2 alpha lies within the margin (Schuirmann 1987). Non-inferiority is one of the two.

        Examples
        --------
        >>> from inference_core import load_dataset, model
        >>> m = model("breaks ~ wool * tension", load_dataset("warpbreaks")).fit()
        >>> m.explore("pairwise(tension)", p_adjust="tukey").infer().effects["contrast"].to_list()
        ['L - M', 'L - H', 'M - H']
        >>> m = m.explore("tension[M - H]")  # are medium and high within 15 breaks of each other?
        >>> above = m.infer(null=-15, alternative="greater").effects["p_value"].item()
        >>> below = m.infer(null=15, alternative="less").effects["p_value"].item()
        >>> round(max(above, below), 4)
        0.0035
        """
        from .marginal import explore

        state = self._fitted("explore()")
        mee = explore(
            state.spec, state.bundle, self._require_fit(state), self.data, what, by=by, effect_scale=effect_scale,
            how=how, weights=weights, p_adjust=p_adjust, comparison=comparison, average_on=average_on,
        )  # fmt: skip
        self._state = replace(state, mee=mee, joint=None, last_op="explore")
        return self

    def predict(
        self,
        newdata: Any = None,
        *,
        type: str = "response",
        varying: str = "exclude",
        allow_new_levels: bool = False,
        offset: Any = None,
        weights: Any = None,
    ) -> model:
        """Predict for new rows, a grid, or the rows of the fit; ``infer()`` then gives the predictions limits.

        Parameters
        ----------
        newdata : frame, dict, path or str, optional
            Rows with the predictors. A text describes a grid: ``"wt ~ cyl"`` is 50 values over the range of wt for
            every level of cyl, ``"wt@range(10)"``, ``"wt@quantile(3)"`` and ``"wt@[2, 3]"`` name other values; columns
            that are not named stand at their mean, or at the level of most rows. None: the rows of the fit.
        type : {"response", "link"}
            The scale. ``log(y)`` on the left of the formula is predicted as such.
        varying : {"exclude", "include"}
            Of mixed models: the population, random effects at 0; or each row's own groups.
        allow_new_levels : bool
            With varying="include": groups that are not in the data have the population's value, and limits that count
            the variance between groups.
        offset : str or array, optional
            Of a model whose offset was given as an array.
        weights : str, number or array, optional
            Weights of single new observations (of the binomial their trials), which prediction limits of a weighted
            model need.

        Returns
        -------
        model
            The same object; read ``m.predictions``.

        Raises
        ------
        DataError
            A level that is not in the data, by name; a missing value.
        InferenceError, FormulaError
            Words, columns or grids that are not understood, arguments that have no use here.

        Examples
        --------
        >>> from inference_core import load_dataset, model
        >>> m = model("mpg ~ wt", load_dataset("mtcars")).fit()
        >>> m.predict({"wt": [2, 3]}).infer().predictions.columns
        ['wt', 'fitted', 'se', 'ci_lower', 'ci_upper', 'pi_lower', 'pi_upper']
        """
        from .marginal.predict import predict

        state = self._fitted("predict()")
        pred = predict(
            state.spec, state.bundle, self._require_fit(state), self.data, newdata, type=type, varying=varying,
            allow_new_levels=allow_new_levels, offset=offset, weights=weights,
        )  # fmt: skip
        self._state = replace(state, pred=pred, last_op="predict")
        return self

    def draw_stream(
        self, how: str = "boot", *, scheme: str | None = None, seed: int | None = None, **options: Any
    ) -> DrawStream:
        """The draws behind ``infer(how=...)`` as a stream of immutable batches, for whoever watches them grow.

        Parameters
        ----------
        how : {"boot", "perm"}
            Resamples, or shuffles and sign flips under the null.
        scheme : str, optional
            What is drawn anew; None picks by the model.
        seed : int, optional
            Draw i is a function of (seed, i) alone.
        """
        from .infer.resample.stream import open_stream

        state = self._fitted("draw_stream()")
        with using_backend(self._backend):
            return open_stream(how, scheme, state.spec, state.bundle, self._require_fit(state), seed=seed, **options)

    def fold_stream(self, **options: Any) -> FoldStream:
        """The folds behind ``infer(how="cv")``, one after the other; takes its ``k, seed, scheme, ...``."""
        from .infer.cv.stream import open_folds

        state = self._fitted("fold_stream()")
        checked = check_infer_request("cv", options, last_op="fit", spec=state.spec, bundle=state.bundle)
        with using_backend(self._backend):
            return open_folds(checked, self.data, state.spec, state.bundle, self._require_fit(state))


def _default_method(family: str, link: str, mixed: bool) -> str:
    linear = family == "gaussian" and link == "identity"
    if mixed:
        return "reml" if linear else "ml"
    return "ols" if linear else "irls"
