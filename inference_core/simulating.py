"""What a model says of data that it makes up: ``simulate``, ``power``, and the tables they leave."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from . import tables
from .errors import InferenceCoreWarning, InferenceError
from .infer.request import UNSET, only_typed
from .results import SHOWN, ModelState, Results

if TYPE_CHECKING:
    from typing import Self

    from .infer.simulation.power import PowerStream
    from .states import SimulationState

class Simulating(Results):
    """The verbs and tables of simulations; ``inference_core.model`` adds all others."""

    data: pl.DataFrame
    _arguments: dict[str, Any]
    _family: str
    _link: str
    _has_data: bool

    def _build(self, arguments: Mapping[str, Any], data: pl.DataFrame) -> ModelState:
        raise NotImplementedError  # of ``model``

    # ---- verbs -------------------------------------------------------------------------------------------------

    def simulate(
        self,
        nsim: Any = UNSET,
        seed: Any = None,
        *,
        random: Any = UNSET,
        dispersion: Any = UNSET,
        n: Any = UNSET,
        predictors: Any = UNSET,
        coef: Any = UNSET,
        sigma: Any = UNSET,
        spread: Any = UNSET,
        trials: Any = UNSET,
    ) -> Self:
        """Let the fitted model make up responses, or a truth of yours make up data before there are any.

        After ``fit()``: ``infer()`` summarises the responses row by row. Of a model without data: one data set, which
        ``fit()`` then takes.

        Parameters
        ----------
        nsim : int, default 1
            Simulations of a fitted model.
        seed : int, optional
            Simulation i is a function of (seed, i) alone. None picks one (``m.state.simulations.seed``).
        random : {"new", "fitted"}
            Of mixed models: random effects drawn anew in each simulation, the same draws as those of the parametric
            bootstrap; or those of the fit in all of them.
        dispersion : float, optional
            Of an lm (sigma squared) or glm, instead of the fit's own; without data, of gamma and inverse_gaussian.
        n : int
            Rows, of a model without data.
        predictors : mapping or frame, optional
            ``{"x": normal(10, 2), "g": groups(18)}`` of ``inference_core.predictors``, or values. Numbers that are not
            named are standard normal.
        coef : mapping
            True coefficients by name, on the link scale; what is not named is 0.
        sigma : float
            True SD of the noise (gaussian, tdist).
        spread : mapping
            True SDs of random effects, ``{"g": {"Intercept": 24, "x": 6, "cor": 0.1}}``, on the link scale.
        trials : int or values
            Of a binomial ``cbind()``, or of a proportion with weights.

        Returns
        -------
        model
            The same object; read ``m.simulations``, ``m.simulation_check()``.

        Raises
        ------
        InferenceError
            Trials that are not whole numbers, a quasi family, unknown words.

        Warns
        -----
        InferenceCoreWarning
            Simulations with a mean that the family cannot have.

        Examples
        --------
        >>> from inference_core import load_dataset, model
        >>> m = model("mpg ~ wt", load_dataset("mtcars")).fit()
        >>> m.simulate(nsim=200, seed=1).infer().simulation_summary.columns[:4]
        ['row', 'observed', 'mean', 'sd']
        """
        from .infer.simulation.request import check_simulate_request

        typed = only_typed({
            "nsim": nsim, "random": random, "dispersion": dispersion, "n": n, "predictors": predictors, "coef": coef,
            "sigma": sigma, "spread": spread, "trials": trials,
        }) | {"seed": seed}  # fmt: skip
        if self._without_data:
            return self._generate(typed)
        from .infer.simulation.responses import simulations_of_fit

        state = self._fitted("simulate()")
        options = check_simulate_request(typed, state.spec)
        made = simulations_of_fit(state.spec, state.bundle, self._require_fit(state), **options)
        self._state = replace(state, simulations=made, sim_inference=None, last_op="simulate")
        return self

    def power(
        self,
        n: Any = UNSET,
        coef: Any = UNSET,
        *,
        sigma: Any = UNSET,
        dispersion: Any = UNSET,
        spread: Any = UNSET,
        predictors: Any = UNSET,
        trials: Any = UNSET,
        terms: Any = UNSET,
        nsim: Any = UNSET,
        seed: Any = UNSET,
        conf_level: Any = UNSET,
        alternative: Any = UNSET,
        designs: Any = UNSET,
        n_jobs: Any = UNSET,
        verbose: Any = UNSET,
        progress: Any = UNSET,
        cancel: Any = UNSET,
    ) -> Self:
        """Plan a study: simulate many data sets from a truth, refit each, count how often its effects are found.

        A list in ``n``, ``coef``, ``sigma``, ``dispersion`` or ``spread`` spans a grid.

        Parameters
        ----------
        n : int or list of int
            Rows.
        coef : mapping
            True coefficients by name on the link scale, each a number or a list; what is not named is 0.
        sigma, dispersion, spread, predictors, trials
            As in ``simulate``; the first three may hold lists.
        terms : str or sequence of str, optional
            Coefficients to report; all but the intercept if left out.
        nsim : int, default 1000
            Data sets of each cell of the grid.
        seed : int, optional
            Data set i is a function of (seed, i) alone; cells share them, so that a curve is smooth.
        conf_level : float, default 0.95
            A coefficient is found where p < 1 - conf_level.
        alternative : {"two-sided", "greater", "less"}
        designs : int, default 32
            Samples of random predictors among the data sets of a cell.
        n_jobs, verbose, progress, cancel
            As in ``infer``; a cancelled study has what was computed, marked.

        Returns
        -------
        model
            The same object; read ``m.power_table``.

        Raises
        ------
        InferenceError
            As ``simulate`` without data; a model that has data.

        Examples
        --------
        >>> from inference_core import model
        >>> from inference_core.predictors import balanced
        >>> m = model("y ~ group").power(n=[20, 60], coef={"group[b]": 3.7}, sigma=7.48, nsim=200, seed=1,
        ...                              predictors={"group": balanced("a", "b")})
        >>> m.power_table["n"].to_list()
        [20, 60]
        """
        from .infer.simulation.request import check_power_request

        ask, run = check_power_request(only_typed({
            "n": n, "coef": coef, "sigma": sigma, "dispersion": dispersion, "spread": spread,
            "predictors": predictors, "trials": trials, "terms": terms, "nsim": nsim, "seed": seed,
            "conf_level": conf_level, "alternative": alternative, "designs": designs, "n_jobs": n_jobs,
            "verbose": verbose, "progress": progress, "cancel": cancel,
        }), self.formula)  # fmt: skip
        found = self.power_stream(**ask).collect(**run)
        if found.notes:
            warnings.warn(InferenceCoreWarning("\n".join(found.notes)), stacklevel=2)
        self._state = replace(self._state, sim_inference=found)
        return self

    def power_stream(self, **options: Any) -> PowerStream:
        """The data sets behind ``power()`` as a stream of immutable batches; takes its ``n, coef, ...``."""
        from .infer.simulation.design import Plan
        from .infer.simulation.power import open_power

        if not self._without_data:
            raise InferenceError(
                asked=f"power of {self.formula!r}",
                found="the model has data; power is about data that do not exist yet",
                remedy=f"model({self.formula!r}).power(...), with predictors= a frame for a design like theirs",
            )
        return open_power(Plan.of(self.formula, self._family, self._link, self._arguments), **options)

    @property
    def _without_data(self) -> bool:
        """Whether there are no data, or none but simulated ones that were not fitted."""
        return not self._has_data or (self._state.fit is None and self._state.simulations is not None)

    def _generate(self, typed: dict[str, Any]) -> Self:
        from .infer.simulation.design import Plan
        from .infer.simulation.generate import generate
        from .infer.simulation.request import check_generate_request

        plan = Plan.of(self.formula, self._family, self._link, self._arguments)
        made = generate(plan, **check_generate_request(typed, self.formula))
        built = self._build(self._arguments, made.frame)
        self.data, self._has_data = made.frame, True
        self._state = replace(built, simulations=made, last_op="simulate")
        return self

    def _blank(self) -> ModelState:
        from .infer.simulation.design import blank

        return ModelState(*blank(self.formula, self._family, self._link, self._arguments["method"]))

    # ---- tables ------------------------------------------------------------------------------------------------

    @property
    def simulations(self) -> pl.DataFrame:
        """What the last ``simulate()`` made: one row per row of the data, one column ``sim_1 ...`` per simulation.

        On the scale of the formula's left side: ``log(y)`` if it says so, 0 and 1 for a response of two levels,
        proportions where there are trials. Null in rows that took no part in the fit.
        """
        return self._simulated("simulations").frame

    @property
    def simulation_summary(self) -> pl.DataFrame:
        """After ``simulate().infer()``, one row per row used: ``row, observed, mean, sd, lower, median, upper``.

        ``lower`` and ``upper`` are quantiles at the level asked for; last come Monte-Carlo standard errors.
        """
        from .infer.simulation.summary import simulation_summary

        state = self._fitted("simulation_summary")
        if state.sim_inference is None or state.sim_inference.sim_type != "post_fit":
            raise InferenceError("m.simulation_summary", "no simulations were summarised", "simulate(nsim=200).infer()")
        return simulation_summary(state.sim_inference, state.bundle)

    @property
    def power_table(self) -> pl.DataFrame:
        """After ``power()``, one row per cell of the grid and coefficient: what varies, ``term, truth, power``, more.

        ``coverage`` of the intervals, ``bias``, ``rmse``, each with its Monte-Carlo error ``..._mcse``;
        ``mean_significant``: the mean estimate among data sets that found the effect on its right side, and
        ``wrong_sign``: the share of findings on the wrong one. Where the truth is 0, ``power`` is the type I error.
        """
        found = self._state.sim_inference
        if found is None or found.table is None:
            raise InferenceError("m.power_table", "no power study was run", "m.power(n=..., coef=...) first")
        return found.table

    def simulation_check(self, statistics: Any = None, conf_level: float = 0.95) -> pl.DataFrame:
        """Statistics of the data beside those of the simulations: does the model make data like these?

        Parameters
        ----------
        statistics : str, sequence of str, or mapping, optional
            Among mean, sd, min, max, zeros, median; or ``{"name": function of a response}``.
        conf_level : float
            Of the quantiles ``lower`` and ``upper`` of the simulated statistic.

        Returns
        -------
        polars.DataFrame
            ``statistic, observed, mean, sd, lower, upper, share_above, p_value, p_value_mcse``. The model was fitted to
            the same data, so a p-value far from 0 says little.
        """
        from .infer.simulation.check import check_of_model

        state = self._fitted("simulation_check()")
        return check_of_model(state.bundle, self._simulated("simulation_check()").frame, statistics, conf_level)

    def _simulated(self, asked: str) -> SimulationState:
        made = self._state.simulations
        if made is None:
            raise InferenceError(f"m.{asked}", "nothing was simulated", "m.simulate(nsim=200, seed=1) first")
        return made

    def __repr__(self) -> str:
        state = self._state
        found, made = state.sim_inference, state.simulations
        if state.fit is None and found is not None and found.table is not None:
            told = ", cancelled: cells have what was computed" if found.cancelled else ""
            lines = [self._head(), f"power: {found.n_sims:,} data sets a cell, seed {found.seed}{told}"]
            return "\n".join([*lines, tables.text_table(found.table), *found.notes])
        if made is None or state.last_op != "simulate":
            return super().__repr__()
        head = self._head() if state.fit is not None else f"{self._head()}, not fitted"
        what = "1 simulation" if made.n_sims == 1 else f"{made.n_sims:,} simulations"
        table = made.frame.select(made.frame.columns[:8]) if found is None else self.simulation_summary
        more = [f"... {table.height - SHOWN:,} more rows"] if table.height > SHOWN else []
        return "\n".join([head, f"{what}, seed {made.seed}", tables.text_table(table.head(SHOWN)), *more])
