r"""Flatness of two-layer ReLU networks.

.. math::
    f(x) = \sum_j a_j \max(w_j^\top x + b_j, 0), \quad
    L = \frac{1}{2n} \sum_i (f(x_i) - y_i)^2.

A point is smooth when no preactivation is 0.  Around it every unit is linear or off on
every sample, so derivatives are those of the network with a fixed 0-1 pattern; the
statements run over all patterns.  Biases b_j are trained where a statement says so,
and are absent elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import sympy

from theory.matrices import hessian_trace, matrix_of, square_norm
from theory.statement import Hypothesis, Scope, statement

SMOOTH = Hypothesis("smooth-point", "no preactivation of a sample is 0")
SPHERE = Hypothesis("uniform-inputs", "x is uniform on the unit sphere of R^d")
BIASES = Hypothesis("trained-biases", "every unit has a trained bias")
SIGNS = Hypothesis("sign-inputs", "the x_i are distinct points of {−1, 1}^d")
UNIT_TARGETS = Hypothesis("unit-targets", "|y_i| = 1")


class Network:
    """A network around a smooth point: two inputs, two units, a fixed pattern.

    Parameters
    ----------
    inputs : sequence of sympy.Matrix
        The samples, as columns.
    pattern : sequence of sequence of int
        1 where unit j is on at sample i, at ``pattern[i][j]``.
    biased : bool
        Whether the units have biases.
    """

    def __init__(
        self,
        inputs: Sequence[sympy.Matrix],
        pattern: Sequence[Sequence[int]],
        biased: bool,
    ) -> None:
        units, size = len(pattern[0]), inputs[0].rows
        self.w, self.a = matrix_of("w", units, size), matrix_of("a", units, 1)
        self.b = matrix_of("b", units, 1) if biased else sympy.zeros(units, 1)
        self.y = sympy.symbols(f"y_:{len(inputs)}", real=True)
        self.hidden = [
            (self.w * x + self.b).multiply_elementwise(sympy.Matrix(on))
            for x, on in zip(inputs, pattern, strict=True)
        ]
        self.outputs = [(self.a.T * h)[0] for h in self.hidden]
        errors = zip(self.outputs, self.y, strict=True)
        self.loss = sum((f - y) ** 2 for f, y in errors) / (2 * len(inputs))
        self.parameters = [*self.w, *self.a, *(self.b if biased else ())]

    def trace(self) -> sympy.Expr:
        """Return Tr ∇²L, differentiated from the loss."""
        return hessian_trace(self.loss, self.parameters)


def _patterns(samples: int, units: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield every 0-1 pattern."""
    for flat in product((0, 1), repeat=samples * units):
        yield [flat[i * units : (i + 1) * units] for i in range(samples)]


@statement(
    "relu/trace",
    title="Trace of the Hessian of a two-layer ReLU network",
    claim=r"\operatorname{Tr}\nabla^2 L = \tfrac1n \sum_{i,j} \left["
    r"\max(w_j^\top x_i, 0)^2 + a_j^2\, 1_{w_j^\top x_i > 0} \|x_i\|^2\right]",
    hypotheses=(SMOOTH,),
    reference="theory notes 10",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def trace(factor: int = 1) -> Iterator[tuple[str, Any]]:
    """As f is linear in w_j and in a_j separately, Tr ∇²L is the mean of ‖∇f‖²."""
    inputs = [matrix_of(name, 2, 1) for name in "xz"]
    for pattern in _patterns(2, 2):
        net = Network(inputs, pattern, biased=False)
        claimed = sympy.S.Zero
        for x, on, hidden in zip(inputs, pattern, net.hidden, strict=True):
            claimed += square_norm(hidden)
            claimed += sum(on[j] * net.a[j] ** 2 for j in range(2)) * square_norm(x)
        yield f"on at {pattern}", net.trace() - factor * claimed / 2


@statement(
    "relu/population",
    title="On the sphere the flattest network has the least path norm",
    claim=r"\operatorname{Tr}\nabla^2 L = \sum_j \frac{\|w_j\|^2}{2d} + \frac{a_j^2}{2}"
    r" \ge \frac{1}{\sqrt d} \sum_j |a_j| \|w_j\|",
    hypotheses=(SPHERE,),
    reference="Wu and Su 2023; theory notes 10",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def population(factor: int = 1) -> Iterator[tuple[str, Any]]:
    """Integrate over the half sphere where a unit is on, d = 2, 3; complete a square.

    Equality for all d after the rescaling (w, a) → (cw, a/c), which leaves f as it is.
    """
    norm, size = sympy.symbols("omega alpha", positive=True)  # ‖w‖ and |a|
    angle = sympy.Symbol("phi", real=True)  # to w
    density = {2: 2 * sympy.S.One, 3: 2 * sympy.pi * sympy.sin(angle)}
    d = sympy.Symbol("d", positive=True)
    claimed = norm**2 / (2 * d) + size**2 / 2
    for dimension, measure in density.items():
        hidden = norm * sympy.cos(angle)  # positive: on
        whole = sympy.integrate(measure, (angle, 0, sympy.pi))
        squares = (hidden**2 + size**2) * measure  # ‖∇f‖², with ‖x‖ = 1
        mean = sympy.integrate(squares, (angle, 0, sympy.pi / 2)) / whole
        yield f"d = {dimension}", mean - claimed.subs(d, dimension)
    path = factor * norm * size / sympy.sqrt(d)
    square = (norm / sympy.sqrt(d) - size) ** 2 / 2
    yield "the gap is a square", claimed - path - square
    c = sympy.sqrt(sympy.sqrt(d) * size / norm)
    rescaled = claimed.subs({norm: c * norm, size: size / c}, simultaneous=True)
    yield "equality after rescaling", rescaled - path


@statement(
    "relu/bias-bound",
    title="With biases, interpolating sign inputs costs a fixed trace",
    claim=r"\operatorname{Tr}\nabla^2 L \ge 2\sqrt{d+1}\, \tfrac1n \sum_i |f(x_i)|",
    hypotheses=(SMOOTH, BIASES, SIGNS),
    reference="Wen, Li, Ma 2023 (setting); theory notes 10",
    scope=Scope.FIXED_SIZE,
    control={"factor": 3},
)
def bias_bound(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """Use AM-GM per sample, with h_ij the active units and τ_i = sgn f(x_i).

    n Tr = Σ_ij (h_ij − ρ_i a_j 1_ij)² + 2Σ_i ρ_i f(x_i) + rest for all inputs and ρ,
    with rest = Σ_ij (‖x_i‖² + 1 − ρ_i²)a_j²1_ij, which is 0 for sign inputs and
    ρ_i = τ_i√(d+1).  A unit on each sample with h = √(d+1)|a| gives equality: no larger
    factor would do.
    """
    inputs = [matrix_of(name, 2, 1) for name in "xz"]
    rho = sympy.symbols("rho_:2", real=True)
    for pattern in _patterns(2, 2):
        net = Network(inputs, pattern, biased=True)
        split = sympy.S.Zero
        for i, on in enumerate(pattern):
            active = net.a.multiply_elementwise(sympy.Matrix(on))
            split += square_norm(net.hidden[i] - rho[i] * active)
            split += 2 * rho[i] * net.outputs[i]
            split += (square_norm(inputs[i]) + 1 - rho[i] ** 2) * square_norm(active)
        yield f"on at {pattern}", 2 * net.trace() - split
    root = sympy.sqrt(3)  # d = 2
    corners = [sympy.Matrix([1, 1]), sympy.Matrix([1, -1])]
    net = Network(corners, ((1, 0), (0, 1)), biased=True)
    values = [1, 1, 1, -1, 1 / root, 1 / root, -1, -1]  # w, a, b
    at = dict(zip(net.parameters, values, strict=True))
    before = [net.w * x + net.b for x in corners]
    yield (
        "unit j is on at x_j only",
        sympy.Matrix.hstack(*before).subs(at) - sympy.Matrix([[1, -1], [-1, 1]]),
    )
    mean = sum(abs(f.subs(at)) for f in net.outputs) / 2
    yield "equality for factor 2", bool(net.trace().subs(at) >= factor * root * mean)


@statement(
    "relu/memoriser",
    title="A flattest network can be blind to everything it has not seen",
    claim=r"w_j = \gamma x_j,\; b_j = -(d-1)\gamma,\; a_j = y_j/\gamma,\; \gamma = "
    r"(d+1)^{1/4}: \; \operatorname{Tr}\nabla^2 L = 2\sqrt{d+1},\; f = 0 \text{ off "
    r"the sample}",
    hypotheses=(BIASES, SIGNS, UNIT_TARGETS),
    reference="Wen, Li, Ma 2023; theory notes 10",
    scope=Scope.INSTANCE,
    control={"shift": 3},
)
def memoriser(shift: int = 1) -> Iterator[tuple[str, Any]]:
    """x_jᵀx ≤ d − 2 for every other x of {−1, 1}^d: unit j is on at x_j only.

    Flattest by relu/bias-bound, and it does not generalise.  All points of the cube,
    d = 2 and 3, three samples.
    """
    for d in (2, 3):
        cube = [sympy.Matrix(x) for x in product((1, -1), repeat=d)]
        inputs, targets = cube[:3], (1, -1, 1)
        gamma = sympy.Integer(d + 1) ** sympy.Rational(1, 4)
        scaled = [[gamma * ((u.T * x)[0] - (d - shift)) for u in inputs] for x in cube]
        yield f"d = {d}: a smooth point", all(v != 0 for row in scaled for v in row)
        outputs = [
            sum(y / gamma * max(v, 0) for y, v in zip(targets, row, strict=True))
            for row in scaled
        ]
        wanted = [*targets, *([0] * (len(cube) - 3))]
        yield f"d = {d}: outputs", sympy.Matrix(outputs) - sympy.Matrix(wanted)
        pattern = [[int(bool(v > 0)) for v in row] for row in scaled[:3]]
        net = Network(inputs, pattern, biased=True)
        weights = [gamma * entry for x in inputs for entry in x]
        values = [*weights, *(y / gamma for y in targets)]
        values += [-(d - shift) * gamma] * 3
        at = dict(zip(net.parameters, values, strict=True))
        fitted = sympy.Matrix(net.outputs).subs(at) - sympy.Matrix(targets)
        yield f"d = {d}: the pattern is that of the point", fitted
        found = net.trace().subs(at)
        yield f"d = {d}: trace", found - 2 * sympy.sqrt(d + 1)
