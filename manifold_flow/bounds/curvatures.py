"""The coefficients of Tr ∇²L and of its Hessian on M, and where they are proved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import HypothesisError
from manifold_flow.models.two_layer import TwoLayerNetwork

__all__ = [
    "hessian_coefficients",
    "need_independent_rows",
    "need_two_layers",
    "sample_curvatures",
]

Array = NDArray[np.float64]


def sample_curvatures(model: TwoLayerNetwork) -> Array:
    """Return w_i = c_i ‖x_i‖²/2, shape (n,), so that S = 2 Σ w_i Σ a_j² φ'(z_ij)²."""
    need_two_layers(model)
    return 0.5 * model.loss.curvatures * np.diag(model.inputs_gram)


def hessian_coefficients(model: TwoLayerNetwork, point: Array) -> Array:
    r"""Return the coefficients of the Riemannian Hessian of Tr ∇²L, shape (n, m).

    :math:`\mathrm{Hess}_M S(u, u) = \sum_{ij} h_{ij} (x_i^T u_j)^2` for tangent u with
    :math:`h_{ij} = 4 w_i a_j^2 [\phi'\phi''' + \phi''\Delta]_{ij}`,
    :math:`\Delta_{ij} = \phi''_{ij} - \beta_i / a_j`, :math:`\beta_i = \alpha_i/4w_i`
    and the multipliers α of the gradient (theory notes §1.4, §1.6).

    Parameters
    ----------
    model : TwoLayerNetwork
        The model.
    point : array, shape (p,)
        Point of the zero-loss manifold.

    Returns
    -------
    array, shape (n, m)
        h; positive where the trace is convex along that preactivation.
    """
    weights = sample_curvatures(model)[:, None]
    here = model.linearize(point)
    multipliers = here.multipliers(here.gram_gradient(np.diag(model.loss.curvatures)))
    ratio = (multipliers[:, None] / (4.0 * weights)) / model.output_weights
    excess = here.second - ratio
    inner = here.slopes * here.third + here.second * excess
    return 4.0 * weights * model.output_weights**2 * inner


def need_two_layers(model: TwoLayerNetwork) -> None:
    """Raise unless a model is the one that the constants are proved for.

    Parameters
    ----------
    model : TwoLayerNetwork
        The model.

    Raises
    ------
    HypothesisError
        For any other.
    """
    if not isinstance(model, TwoLayerNetwork):
        raise HypothesisError(
            f"these constants are proved for TwoLayerNetwork, not for {model!r}. For "
            "other models, take the spectrum of ZeroLossManifold.riemannian_hessian."
        )


def need_independent_rows(model: TwoLayerNetwork) -> None:
    """Raise unless a two-layer network has independent input rows, so that μ > 0.

    Parameters
    ----------
    model : TwoLayerNetwork
        The model.

    Raises
    ------
    HypothesisError
        For dependent rows, or another model.
    """
    need_two_layers(model)
    if model.rank < model.n_residuals:
        raise HypothesisError(f"{model.caveats[0]} (mu = lambda_min(XX^T) is 0).")
