r"""Sharpness: functions of the Hessian's spectrum on the zero-loss manifold.

On M the spectrum of the Hessian is that of
:math:`\hat G = C^{1/2} G C^{1/2}`, G the Gram matrix of the residual gradients and C
the curvatures of the loss.  So every sharpness is a function of G alone, with the
symmetric *slope* :math:`A = \partial S / \partial G`, and all share one formula:

.. math:: \nabla S(\theta) = \nabla \langle A, G(\theta) \rangle,
   \qquad A = C^{1/2} Q\, \mathrm{diag}(\psi'(\lambda))\, Q^T C^{1/2}
   \quad\text{for}\quad S = \sum_k \psi(\lambda_k).

Off M these are extensions of S; their tangential gradients on M do not depend on the
extension (theory notes §1.3).
"""

from manifold_flow.sharpness.abstract import Sharpness
from manifold_flow.sharpness.stochastic import TraceEstimate, stochastic_trace
from manifold_flow.sharpness.top import HessianLogTopEigenvalue, HessianTopEigenvalue
from manifold_flow.sharpness.whole import (
    FiniteStepTrace,
    HessianLogPseudoDeterminant,
    HessianTrace,
)

__all__ = [
    "FiniteStepTrace",
    "HessianLogPseudoDeterminant",
    "HessianLogTopEigenvalue",
    "HessianTopEigenvalue",
    "HessianTrace",
    "Sharpness",
    "TraceEstimate",
    "stochastic_trace",
]
