"""The trace of the full Hessian, by random probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.checks import Rng, count, generator
from manifold_flow.errors import UnknownNameError
from manifold_flow.models.model import Model

__all__ = ["TraceEstimate", "stochastic_trace"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TraceEstimate:
    """A stochastic trace with its uncertainty.

    Attributes
    ----------
    estimate : float
        Mean of the samples.
    standard_error : float
        Standard deviation of the mean.
    samples : array, shape (num_matvecs,)
        The values zᵀ H z.
    """

    estimate: float
    standard_error: float
    samples: Array


def stochastic_trace(
    model: Model,
    params: ArrayLike,
    *,
    num_matvecs: int = 100,
    distribution: str = "rademacher",
    rng: Rng = None,
) -> TraceEstimate:
    r"""Estimate Tr ∇²L of the full Hessian at any parameters (Hutchinson).

    :math:`E\, z^T \nabla^2 L\, z = \mathrm{Tr}\,\nabla^2 L` for independent entries of
    mean 0 and variance 1.  The residual term is included, so that it also holds off M.

    Parameters
    ----------
    model : Model
        The model.
    params : array, shape (p,)
        Where; need not lie on M.
    num_matvecs : int
        Number of Hessian-vector products, at least 2.
    distribution : {"rademacher", "gaussian"}
        Law of z; Rademacher has the smaller variance.
    rng : None, int, Generator or SeedSequence
        Source of randomness.

    Returns
    -------
    TraceEstimate
        Estimate, standard error and samples.

    Raises
    ------
    DataError
        If ``num_matvecs < 2``.
    UnknownNameError
        For another distribution.

    References
    ----------
    Hutchinson (1990), Communications in Statistics 19.
    """
    count("num_matvecs", num_matvecs, 2, "A standard error needs at least 2 samples.")
    source = generator(rng)
    draws: dict[str, Callable[[tuple[int, int]], Array]] = {
        "rademacher": lambda size: source.choice([-1.0, 1.0], size=size),
        "gaussian": source.standard_normal,
    }
    if distribution not in draws:
        raise UnknownNameError("distribution", distribution, draws)
    here = model.linearize(np.asarray(params, dtype=float))
    probes = draws[distribution]((num_matvecs, model.n_params))
    samples = np.array([z @ here.loss_hessian_vector(z) for z in probes])
    error = float(samples.std(ddof=1) / np.sqrt(num_matvecs))
    return TraceEstimate(float(samples.mean()), error, samples)
