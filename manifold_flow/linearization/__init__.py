r"""A model seen from one point: one factorisation, all the geometry.

Write :math:`J` (n, p) for the Jacobian of the residuals, :math:`G = J J^T` for its
Gram matrix and :math:`c` for the curvatures of the loss.  On the zero-loss manifold M

* the Hessian of the loss is :math:`J^T \mathrm{diag}(c) J`, so its non-zero spectrum is
  that of :math:`\mathrm{diag}(\sqrt c)\, G\, \mathrm{diag}(\sqrt c)`;
* the tangent space is :math:`\ker J` and the normal space is the row space of J;
* every sharpness is a function of G, so that its gradient is
  :math:`\nabla \langle A, G(\theta) \rangle` with a symmetric A held fixed.

This is the only place where dense and structured models differ.
"""

from manifold_flow.linearization.abstract import Linearization
from manifold_flow.linearization.dense import DenseLinearization
from manifold_flow.linearization.neuronwise import NeuronwiseLinearization
from manifold_flow.linearization.regular import REGULAR_MARGIN, RegularPoint

__all__ = [
    "REGULAR_MARGIN",
    "DenseLinearization",
    "Linearization",
    "NeuronwiseLinearization",
    "RegularPoint",
]
