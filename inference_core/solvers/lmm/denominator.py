"""Denominator degrees of freedom of a linear mixed model: Satterthwaite and Kenward-Roger, from ``Information``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.states import Array, JointDf

from .information import Information, Moves

FLAT = 1e-8  # share of the largest curvature below which the deviance is flat along a direction
_SAME = 1e-8  # denominators closer than this are one
_RANK = 1.5e-8  # share of the largest variance below which a combination of rows has none: sqrt(eps), as lmerTest


@dataclass(frozen=True, slots=True, eq=False)
class Satterthwaite:
    """The variance of each l'b, and how it moves with the covariance parameters."""

    vcov: Array  # (p, p) of the coefficients of X as given, at the REML optimum
    jacobian: Array  # (m + 1, p, p) of it in (T, log sigma)
    vcov_varpar: Array  # (m + 1, m + 1) asymptotic covariance of (T, log sigma)

    @classmethod
    def of(cls, info: Moves) -> Satterthwaite:
        """From the REML optimum. At a singular fit the directions that do not move V drop out by themselves."""
        w, U = np.linalg.eigh(info.hessian)
        keep = w > FLAT * w[-1]
        varpar = 2.0 * (U[:, keep] / w[keep]) @ U[:, keep].T
        Si = np.linalg.inv(info.S)
        jacobian = [info.sigma2 * Si @ R @ Si for R in info.turns]
        jacobian.append(2.0 * info.sigma2 * Si)
        return cls(
            info.outside(info.sigma2 * Si), np.array([info.outside(J) for J in jacobian]), varpar
        )

    def df(self, L: Array) -> Array:
        """Degrees of freedom of each row of L (m, p): 2 (l'Vl)^2 / (g'A g), g_k = l'(dV/dtheta_k) l.

        NaN for a row of zeros. Source: Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Softw. 82(13).
        """
        L = np.atleast_2d(L)
        v = np.einsum("mp,pq,mq->m", L, self.vcov, L)
        g = np.einsum("mp,kpq,mq->mk", L, self.jacobian, L)
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2.0 * v**2 / np.einsum("mk,kl,ml->m", g, self.vcov_varpar, g)

    def joint(self, L: Array) -> JointDf:
        """Degrees of freedom of the F of all rows of L together.

        The rows are turned into uncorrelated ones with df nu_i; df2 = 2 E / (E - q), E = sum nu_i / (nu_i - 2), is
        Fai & Cornelius (1996), J. Stat. Comput. Simul. 54, as lmerTest has it.
        """
        L = np.atleast_2d(L)
        w, U = np.linalg.eigh(L @ self.vcov @ L.T)
        keep = w > max(_RANK * w[-1], 0.0)
        q = int(np.count_nonzero(keep))
        if q == 0:
            return JointDf(0, float("nan"))
        nu = self.df(U[:, keep].T @ L)
        if np.ptp(nu) < _SAME * nu.max():
            return JointDf(q, float(nu.mean()))
        if not np.all(nu > 2.0):
            return JointDf(q, 2.0)
        expected = float(np.sum(nu / (nu - 2.0)))
        return JointDf(q, 2.0 * expected / (expected - q))


@dataclass(frozen=True, slots=True, eq=False)
class KenwardRoger:
    """The adjusted covariance of the coefficients, and the moments that give degrees of freedom.

    V is linear in its parameters and the method depends on their span only, so the basis is V itself and the free
    entries of the random effects' covariance: with V^-1 V = I no trace of V^-2 is needed. Source: Kenward & Roger
    (1997), Biometrics 53, 983-997; (2009) Comput. Stat. Data Anal. 53.
    """

    info: Information
    phi: Array  # (p, p) sigma^2 (X'V^-1 X)^-1, kernel coordinates
    weights: Array  # (s + 1, s + 1) asymptotic covariance of the parameters
    slopes: Array  # (s + 1, p, p) P_i = -X'V^-1 (dV/di) V^-1 X
    vcov: Array  # (p, p) adjusted, for X as given

    @classmethod
    def of(cls, info: Information) -> KenwardRoger:
        """From the REML optimum."""
        s, p, s2 = info.traces.size, info.p, info.sigma2
        phi = s2 * np.linalg.inv(info.S)
        P = np.concatenate([-info.S[None], -info.spans]) / s2
        Q = np.empty((s + 1, s + 1, p, p))
        Q[0, 0] = info.S
        Q[0, 1:] = Q[1:, 0] = info.spans
        Q[1:, 1:] = info.crossed
        Q /= s2
        tr = np.empty((s + 1, s + 1))
        tr[0, 0] = info.n
        tr[0, 1:] = tr[1:, 0] = info.traces
        tr[1:, 1:] = info.trace_pairs
        turned = phi @ P
        expected = tr - 2.0 * np.einsum("pq,ijqp->ij", phi, Q) + np.einsum("ipq,jqp->ij", turned, turned)
        W = 2.0 * _inverse(0.5 * (expected + expected.T))
        U = np.einsum("ij,ijpq->pq", W, Q) - np.einsum("ij,ipq,jqr->pr", W, P, turned, optimize=True)
        adjusted = phi + 2.0 * phi @ (0.5 * (U + U.T)) @ phi
        return cls(info, phi, W, P, info.outside(adjusted))

    def df(self, L: Array) -> Array:
        """Degrees of freedom of each row of L (m, p); NaN for a row of zeros."""
        return np.array([self.joint(row).df2 for row in np.atleast_2d(L)])

    def joint(self, L: Array) -> JointDf:
        """Degrees of freedom and scale of the F of all rows of L together, with the adjusted covariance."""
        rows = self.info.inside(L)
        U, w, _ = np.linalg.svd(rows.T, full_matrices=False)
        basis = U[:, w > _RANK * max(float(w[0]), 1e-300)]
        q = basis.shape[1]
        if q == 0:
            return JointDf(0, float("nan"))
        theta = basis @ np.linalg.solve(basis.T @ self.phi @ basis, basis.T)
        M = theta @ self.phi @ self.slopes @ self.phi
        t = np.einsum("ixx->i", M)
        A1 = float(t @ self.weights @ t)
        A2 = float(np.einsum("ij,ixy,jyx->", self.weights, M, M, optimize=True))
        B = (A1 + 6.0 * A2) / (2.0 * q)
        g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
        below = 3.0 * q + 2.0 * (1.0 - g)
        c1, c2, c3 = g / below, (q - g) / below, (q + 2 - g) / below
        v0, v1, v2 = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B
        v0 = 0.0 if abs(v0) < 1e-10 else v0  # exactly 0 in balanced designs where K-R must be Hotelling's T2
        mean = _ratio(1.0 - A2 / q, v1)
        rho = mean**2 * v0 / v2 / q
        df2 = 4.0 + (q + 2) / (q * rho - 1.0)
        scale = 1.0 if abs(df2 - 2.0) < 1e-2 else df2 * (1.0 - A2 / q) / (df2 - 2.0)
        return JointDf(q, df2, scale)


def _ratio(top: float, bottom: float) -> float:
    """Top over bottom, 1 where both vanish."""
    return 1.0 if abs(top) < 1e-14 and abs(bottom) < 1e-14 else top / bottom


def _inverse(M: Array) -> Array:
    """Inverse of the expected information, directions without information left out.

    The rows are brought to one scale first, so that a slope in small units is not taken for no information.
    """
    size = np.sqrt(np.maximum(np.diagonal(M), 0.0))
    size = np.where(size > 0, size, 1.0)
    w, U = np.linalg.eigh(M / np.outer(size, size))
    keep = w > 1e-12 * w[-1]
    return (U[:, keep] / w[keep]) @ U[:, keep].T / np.outer(size, size)
