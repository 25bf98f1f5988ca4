"""A stream of draws: an endless sequence of refits, any part of which can be had at any time, in any order.

Draw i is a function of (seed, i) alone, so nothing needs to be stored: the sequence can be grown, cut into batches of
any size, spread over workers, and any draw rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.sandwich import DISAGREEMENT, hc3_ratio
from inference_core.progress import Cancel, Monitor, Progress
from inference_core.rng import RNG
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import Batch, ResamplesState
from inference_core.states.spec import ModelSpec

from . import engine
from .common import RefitKernel
from .glm_operators import GlmKernel
from .leave_out import leave_one_out_for_bca
from .lm_operators import LmKernel

Part = tuple[Array, Array, Array | None]  # samples (b, p), status (b,), se (b, p) or None
Drawn = Callable[[RNG, int, int], Array]  # what a kernel refits for draws start .. stop - 1: (b, n)


@dataclass(slots=True, eq=False)
class DrawStream:
    """Resamples of one fitted model.

    Attributes
    ----------
    seed : int
        What rebuilds every draw.
    names : tuple of str
        One per statistic.
    observed : (p,)
        The statistics of the data themselves.
    scheme : str
        What is drawn. ``"case"``: n rows of n, with replacement; ``"parametric"``: new responses from the fit; of
        linear mixed models also ``"cluster"``: whole groups, ``"residual"``: their own effects and residuals,
        ``"wild"``: whole groups of residuals with random signs.
    """

    kernel: RefitKernel
    rng: RNG
    names: tuple[str, ...]
    observed: Array
    observed_se: Array | None = None  # (p,) by the same formula as the draws' own
    scheme: str = "case"
    want_se: bool = False
    errors: str = "iid"
    df_resid: float | None = None
    robust_ratio: Callable[[], Array] | None = None  # (p,) HC3 over classical standard errors of the fit
    leave_one_out: Callable[[], Array] | None = None  # the jackknife of the same model, (n, p)
    drawn: Drawn | None = None  # None: how often each row is drawn
    responses: Callable[[RNG, int], Array] | None = None  # the new response (n,) of draw i, where there is one
    rows_of: Callable[[RNG, int], Array] | None = None  # rows of draw i where they are not n of n
    interval_df: Callable[[], Array] | None = None  # (k,) of expanded limits; None: df_resid for all
    inflation: float | None = None  # of expanded limits; None: n / df_resid
    _df: Array | None = field(default=None, repr=False)
    _jackknife: Array | None = field(default=None, repr=False)
    _unequal: bool | None = field(default=None, repr=False)
    _last_chunk: tuple[int, Part] | None = field(default=None, repr=False)

    @property
    def seed(self) -> int:
        """The seed that rebuilds every draw."""
        return self.rng.seed

    @property
    def n(self) -> int:
        """Rows of the data."""
        return self.kernel.n

    @property
    def task(self) -> str:
        """The label of a progress bar."""
        return "bootstrap"

    def batch(self, start: int, stop: int) -> Batch:
        """Draws ``start .. stop - 1``, a pure function of (seed, i) for each of them, to the last bit."""
        size = self.kernel.chunk_rows
        parts = []
        for chunk in range(start // size, -(-stop // size)):
            rows = slice(max(start - chunk * size, 0), min(stop - chunk * size, size))
            parts.append(tuple(None if part is None else part[rows] for part in self._chunk(chunk)))
        samples, status, se = _join(parts, len(self.names))
        return Batch(start, samples, status, se, total=stop)

    def batches(
        self,
        n: int,
        start: int = 0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        n_jobs: int = 1,
    ) -> Generator[Batch, None, None]:
        """Draws ``start .. start + n - 1`` as batches of at most some 50 ms; stops early when ``cancel`` is set.

        ``progress(done, n)`` is called after each batch. The size of a batch follows the time the last one took; the
        draws do not depend on it, nor on ``n_jobs``.
        """
        monitor = Monitor(n, progress=progress, cancel=cancel)
        size, stop = self.kernel.chunk_rows, start + n
        compute = self._chunk if n_jobs == 1 else partial(_draw_chunk, self.kernel, self.drawn, self.rng)
        chunks = range(start // size, -(-stop // size)) if n > 0 else range(0)
        # Compiled steps of JAX leave the interpreter lock alone too, and do not travel.
        threads = getattr(self.kernel, "threads", False) or getattr(self.kernel, "jax", None) is not None
        first = chunks.start * size
        with closing(engine.batches(compute, chunks, n_jobs=n_jobs, threads=threads, cancel=cancel)) as work:
            for parts in work:
                rows = slice(max(start - first, 0), stop - first)
                samples, status, se = _join(parts, len(self.names))
                batch = Batch(first + rows.start, samples[rows], status[rows], None if se is None else se[rows], n)
                first += len(parts) * size
                yield batch
                if not monitor.tick(min(first, stop) - start):
                    return

    def collect(
        self,
        n: int,
        start: int = 0,
        n_jobs: int = 1,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        verbose: bool = False,
    ) -> ResamplesState:
        """Draws ``start .. start + n - 1`` in one container; the same for any ``n_jobs``.

        Parameters
        ----------
        n, start : int
            Which draws.
        n_jobs : int
            1 computes here, -1 on all cores; ``joblib.parallel_config`` chooses another backend.
        progress, cancel, verbose
            The protocol of every long loop; a cancelled run returns the draws it has, marked ``cancelled``.
        """
        monitor = Monitor(n, progress=progress, cancel=cancel, verbose=verbose, desc=self.task)
        samples = np.empty((n, len(self.names)))
        status = np.empty(n, np.int8)
        se = np.empty_like(samples) if self.want_se else None
        done = 0
        with closing(monitor), closing(self.batches(n, start, cancel=cancel, n_jobs=n_jobs)) as pieces:
            for batch in pieces:
                rows = slice(done, done + len(batch.status))
                samples[rows], status[rows] = batch.samples, batch.status
                if se is not None:
                    se[rows] = batch.se
                done = rows.stop
                if not monitor.tick(done):
                    break
        return self.resamples(samples[:done], status[:done], None if se is None else se[:done],
                              n_requested=n, cancelled=done < n)  # fmt: skip

    def resamples(
        self, samples: Array, status: Array, se: Array | None = None, *, n_requested: int, cancelled: bool = False
    ) -> ResamplesState:
        """The container of draws 0, 1, .. of this stream."""
        rows = partial(_rows_of_draw, self.rng, self.kernel.n, self.rows_of)
        return ResamplesState(
            samples=samples, observed=self.observed, names=self.names, method="boot", context="params",
            status=status, seed=self.seed, n_requested=n_requested, scheme=self.scheme, se=se, cancelled=cancelled,
            indices_of=rows if self.responses is None else None,
            response_of=None if self.responses is None else partial(self.responses, self.rng),
        )  # fmt: skip

    def indices_of(self, i: int) -> Array:
        """(n,) row positions of draw ``i``; of draws of whole groups, as many as these have.

        Raises
        ------
        InferenceError
            Draws of this scheme keep every row and have new responses.
        """
        if self.responses is not None:
            raise InferenceError(
                asked=f"the rows of draw {i}",
                found=f"a draw of scheme={self.scheme!r} has the rows of the data and a new response",
                remedy=f"response_of({i})",
            )
        return _rows_of_draw(self.rng, self.kernel.n, self.rows_of, i)

    def response_of(self, i: int) -> Array:
        """(n,) the new response of draw ``i``, on the scale of the data.

        Raises
        ------
        InferenceError
            Draws of this scheme are rows of the data.
        """
        if self.responses is None:
            raise InferenceError(
                asked=f"the response of draw {i}",
                found=f"a draw of scheme={self.scheme!r} is a choice of rows",
                remedy=f"indices_of({i})",
            )
        return self.responses(self.rng, i)

    def df_of_limits(self) -> Array | float | None:
        """Degrees of freedom of expanded limits, (k,) or one for all statistics; computed once."""
        if self._df is None and self.interval_df is not None:
            self._df = self.interval_df()
        return self.df_resid if self.interval_df is None else self._df

    def jackknife(self) -> Array:
        """(n, p) coefficients without each row in turn, computed once; one step each for a glm of many rows."""
        if self._jackknife is None:
            if self.leave_one_out is None:
                raise InferenceError(
                    asked="leave-one-out estimates of these statistics",
                    found="this stream was made without a jackknife",
                    remedy="ci_type='percentile' or 'expanded' needs none",
                )
            self._jackknife = self.leave_one_out()
        return self._jackknife

    def looks_unequal(self) -> bool:
        """Whether HC3 and classical standard errors of the fit differ by more than a quarter somewhere."""
        if self._unequal is None:
            ratio = np.ones(1) if self.robust_ratio is None else self.robust_ratio()
            self._unequal = bool(np.any(np.abs(ratio[np.isfinite(ratio)] - 1.0) > DISAGREEMENT))
        return self._unequal

    def _chunk(self, chunk: int) -> Part:
        """Draws ``chunk * size ..`` of a fixed grid, the last one computed kept at hand.

        Always whole chunks: the rounding of a matrix product depends on its shape, so a draw would otherwise differ in
        the last digit with the batch it came in. What is computed beyond the request waits for the next one.
        """
        kept = self._last_chunk
        if kept is None or kept[0] != chunk:
            kept = (chunk, _draw_chunk(self.kernel, self.drawn, self.rng, chunk))
            self._last_chunk = kept
        return kept[1]


def case_indices(rng: RNG, n: int, i: int) -> Array:
    """(n,) row positions of case resample ``i`` of n rows."""
    return rng.indices(i, i + 1, n)[0]


def _rows_of_draw(rng: RNG, n: int, rows_of: Callable[[RNG, int], Array] | None, i: int) -> Array:
    return case_indices(rng, n, i) if rows_of is None else rows_of(rng, i)


def _draw_chunk(kernel: RefitKernel, drawn: Drawn | None, rng: RNG, chunk: int) -> Part:
    """A pure function of (seed, chunk); module-level so that other processes can import it."""
    first, stop = chunk * kernel.chunk_rows, (chunk + 1) * kernel.chunk_rows
    return kernel.refit(rng.counts(first, stop, kernel.n) if drawn is None else drawn(rng, first, stop))


def _join(parts: Sequence[Part], p: int) -> Part:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.empty((0, p)), np.empty(0, np.int8), None
    samples, status, se = zip(*parts, strict=True)
    return np.concatenate(samples), np.concatenate(status), None if se[0] is None else np.concatenate(se)


def case_bootstrap_stream(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    seed: int | None = None,
    errors: str = "iid",
    want_se: bool = False,
) -> DrawStream:
    """The case bootstrap of a fitted lm or glm.

    Parameters
    ----------
    spec, bundle, fit
        The model; weights, offset, trials, link and dropped columns take part in every refit.
    seed : int, optional
        None picks one; the stream tells it.
    errors : str
        Standard error inside each draw, if ``want_se``: ``"iid"`` or ``"HC0"`` to ``"HC4"``.
    want_se : bool
        Compute it: studentized intervals need it, the others do not.

    Raises
    ------
    InferenceError
        For a mixed model: its rows are not exchangeable.
    """
    if spec.has_random_effects:
        raise InferenceError(
            asked="a bootstrap that draws single rows",
            found=f"the random effects {', '.join(spec.random_terms)}: rows of one group belong together",
            remedy="scheme='parametric': data simulated from the fitted model",
        )
    with one_blas_thread():
        kernel = refit_kernel(spec, bundle, fit, errors=errors, want_se=want_se)
        observed_se = kernel.refit(np.ones((1, bundle.n)))[2] if want_se else None
    return DrawStream(
        kernel=kernel,
        rng=RNG.from_seed(seed),
        names=tuple(bundle.X_names),
        observed=fit.coef,
        observed_se=None if observed_se is None else observed_se[0],
        want_se=want_se,
        errors=errors,
        df_resid=fit.df_resid,
        robust_ratio=partial(hc3_ratio, spec, bundle, fit),
        leave_one_out=partial(leave_one_out_for_bca, kernel),
    )


def refit_kernel(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, *, errors: str = "iid", want_se: bool = False
) -> LmKernel | GlmKernel:
    """What refits this model to any resample of its rows."""
    if spec.is_lm:
        return LmKernel.from_bundle(bundle, kept=np.flatnonzero(np.isfinite(fit.coef)), errors=errors, want_se=want_se)
    return GlmKernel.from_fit(spec, bundle, fit, errors=errors, want_se=want_se)


def open_stream(
    how: str,
    scheme: str | None,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    *,
    seed: int | None = None,
    errors: str = "iid",
    want_se: bool = False,
    **options: Any,
) -> DrawStream:
    """The stream behind ``infer(how, scheme)``; a table and a lookup.

    ``how="perm"`` takes further ``options``: those of ``permutation.open_permutation_stream``.

    Raises
    ------
    InferenceError
        For a ``how`` or a ``scheme`` that has no stream.
    """
    if how == "perm":
        from inference_core.infer.permutation import open_permutation_stream

        return open_permutation_stream(spec, bundle, fit, scheme=scheme, seed=seed, errors=errors, **options)
    opener = STREAMS.get((how, scheme or ("parametric" if spec.has_random_effects else "case")))
    if opener is None:
        known = ", ".join(f"how={h!r} with scheme={s!r}" for h, s in STREAMS)
        raise InferenceError(
            asked=f"a stream of draws for how={how!r}, scheme={scheme!r}",
            found=f"streams there are: {known}",
            remedy="how='boot' or how='perm'",
        )
    return opener(spec, bundle, fit, seed=seed, errors=errors, want_se=want_se, **options)


def parametric_bootstrap_stream(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    seed: int | None = None,
    errors: str = "iid",
    want_se: bool = False,
) -> DrawStream:
    """The parametric bootstrap of a mixed model: new random effects and new noise in every draw.

    Statistics are the coefficients, then SDs and correlations of the random effects, then sigma (``names``), where the
    family has one.

    Parameters
    ----------
    spec, bundle, fit
        The model; weights, offset, REML or ML and dropped columns take part in every refit.
    seed : int, optional
        None picks one; the stream tells it.
    errors, want_se
        As in the other streams; only ``"iid"``, and standard errors inside the draws for a linear mixed model alone.

    Raises
    ------
    InferenceError
        Not a mixed model, other errors, or standard errors where there are none.
    """
    return mixed_bootstrap_stream("parametric", spec, bundle, fit, seed=seed, errors=errors, want_se=want_se)


def mixed_bootstrap_stream(
    scheme: str, spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any
) -> DrawStream:
    """A bootstrap of a mixed model: a table and a lookup, imported when first asked for."""
    if spec.has_random_effects and not spec.is_lmer:
        from .glmer_streams import SCHEMES
    else:
        from .lmer_streams import SCHEMES

    return SCHEMES[scheme](spec, bundle, fit, **options)


STREAMS = MappingProxyType(
    {
        ("boot", "case"): case_bootstrap_stream,
        ("boot", "parametric"): parametric_bootstrap_stream,
        ("boot", "cluster"): partial(mixed_bootstrap_stream, "cluster"),
        ("boot", "residual"): partial(mixed_bootstrap_stream, "residual"),
        ("boot", "wild"): partial(mixed_bootstrap_stream, "wild"),
    }
)
