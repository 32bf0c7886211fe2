"""The clocks: how fast label-noise SGD follows the flow, update by update.

The rates are per step and unit η², in units of grad F with F = Tr ∇²Σ_i (f_i − y_i)².
The covariance is that of the update as coded, at a zero-loss point of three undefined
models of two parameters; n = 3 stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

import sympy

from theory.germs import INTERPOLATION, gradient, on_zero_loss, residuals
from theory.li2021.definitions import INDEPENDENT_NOISE
from theory.statement import Scope, statement

HALF, QUARTER = sympy.Rational(1, 2), sympy.Rational(1, 4)
n = 3
s, sigma, eta = sympy.symbols("s sigma eta", positive=True)
PARAMETERS = sympy.symbols("theta_1:3", real=True)
MODELS = residuals(n, PARAMETERS)

#: (sample, number of its label noise) for each term of a gradient
Draw = tuple[tuple[int, int], ...]
FULL: tuple[Draw, ...] = (tuple((i, i) for i in range(n)),)


def without_replacement(size: int) -> tuple[Draw, ...]:
    """Return all batches, equally likely, each sample with its own noise."""
    return tuple(tuple((i, i) for i in b) for b in combinations(range(n), size))


def with_replacement(size: int, *, shared: bool) -> tuple[Draw, ...]:
    """Return all batches of draws; duplicates share one noise, or each has its own."""
    return tuple(
        tuple((i, i if shared else place) for place, i in enumerate(batch))
        for batch in product(range(n), repeat=size)
    )


def mean_over_noise(
    matrix: sympy.Matrix, noise: Sequence[sympy.Symbol]
) -> sympy.Matrix:
    """Return the mean over independent ε with E ε = 0, E ε² = σ²; terms to ε² only."""

    def mean(entry: sympy.Expr) -> sympy.Expr:
        terms = sympy.Poly(entry, *noise).terms()
        return sum(
            factor * sigma ** sum(powers)
            for powers, factor in terms
            if all(power in (0, 2) for power in powers)
        )

    return matrix.applyfunc(mean)


def covariance(scale: sympy.Expr, draws: tuple[Draw, ...]) -> sympy.Matrix:
    """Return the covariance of the update ∇ scale·Σ_batch (f_i − y_i − ε)² on Γ."""
    noise = sympy.symbols(f"epsilon_0:{n}", real=True)
    total = sympy.zeros(2, 2)
    for draw in draws:
        loss = scale * sum((MODELS[i] - noise[k]) ** 2 for i, k in draw)
        update = on_zero_loss(gradient(loss, PARAMETERS))
        if mean_over_noise(update, noise) != sympy.zeros(2, 1):
            raise ValueError("the update is biased on Γ")
        total += mean_over_noise(update * update.T, noise)
    return total / len(draws)


def hessian(scale: sympy.Expr) -> sympy.Matrix:
    """Return ∇² scale·Σ_i (f_i − y_i)² on Γ."""
    return on_zero_loss(sympy.hessian(scale * sum(r**2 for r in MODELS), PARAMETERS))


def row(
    name: str,
    update: sympy.Matrix,
    of_loss: sympy.Expr,
    constant: sympy.Expr,
    rate: sympy.Expr,
) -> list[tuple[str, Any]]:
    """Return the defects of Σ = c∇²L and of (c/4)Tr ∇²L = κF."""
    matched = update - constant * hessian(of_loss)
    slow = constant / 4 * hessian(of_loss).trace() - rate * hessian(sympy.S.One).trace()
    return [(f"{name}: Σ = c∇²L", matched), (f"{name}: (c/4) Tr ∇²L = κF", slow)]


@statement(
    "li2021/clock-full-batch",
    title="The clock of full-batch label noise, for three normalisations",
    claim=r"\nabla s\sum_i(f_i - y_i - \varepsilon_i)^2: \quad c = 2s\sigma^2, \quad "
    r"\kappa = \tfrac12 s^2\sigma^2, \quad s = 1, \tfrac12, \tfrac1n",
    hypotheses=(INTERPOLATION, INDEPENDENT_NOISE),
    reference="theory notes 0.4, rows 1 to 3",
    scope=Scope.FIXED_SIZE,
    control={"half": sympy.S.One},
)
def clock_full_batch(half: sympy.Expr = HALF) -> Iterator[tuple[str, Any]]:
    """On Γ the update is −2sΣ ε_i∇f_i, so its covariance is 4s²σ² Σ ∇f_i∇f_iᵀ.

    That is c times ∇²L = 2sΣ ∇f_i∇f_iᵀ; the law −η²(c/4) grad Tr ∇²L and
    Tr ∇²L = sF give κ = cs/4.
    """
    yield from row(
        "any s", covariance(s, FULL), s, 2 * s * sigma**2, half * s**2 * sigma**2
    )
    table = (
        ("Σ(·)²", sympy.S.One, 2 * sigma**2, sigma**2 / 2),
        ("½Σ(·)²", HALF, sigma**2, sigma**2 / 8),
        ("(1/n)Σ(·)²", sympy.Rational(1, n), 2 * sigma**2 / n, sigma**2 / (2 * n**2)),
    )
    for name, scale, constant, rate in table:
        yield from row(name, covariance(scale, FULL), scale, constant, rate)


@statement(
    "li2021/clock-minibatch",
    title="The clock of minibatch label noise, for three normalisations",
    claim=r"\tfrac1B\nabla\sum_{i \in B} s(f_i - y_i - \varepsilon)^2: \quad "
    r"\kappa = \frac{s^2\sigma^2}{2nB}, \qquad "
    r"\tfrac nB\nabla\sum_{i \in B}(f_i - y_i - \varepsilon)^2: \quad "
    r"\kappa = \frac{n\sigma^2}{2B}",
    hypotheses=(INTERPOLATION, INDEPENDENT_NOISE),
    reference="theory notes 0.4, rows 4 and 5 and the paragraph below",
    scope=Scope.FIXED_SIZE,
    control={"samples": 1},
)
def clock_minibatch(samples: int = n) -> Iterator[tuple[str, Any]]:
    """Average the covariance of the update over every batch of 1, 2 and 3 samples.

    Without replacement, or with replacement and fresh noise for every draw, each of
    the B terms is an independent ε on a uniform sample.
    """
    for size in range(1, n + 1):
        draws = without_replacement(size)
        unit = sigma**2 / size
        table = (
            ("mean of (·)²", 1, sympy.S.One / n, 2 * unit, unit / (2 * samples)),
            ("mean of ½(·)²", HALF, HALF / n, unit, unit / (8 * n)),
            ("n/B times the sum", n, sympy.S.One, 2 * n * unit, n * unit / 2),
        )
        for name, scale, of_loss, constant, rate in table:
            update = covariance(sympy.sympify(scale) / size, draws)
            yield from row(f"{name}, B = {size}", update, of_loss, constant, rate)
    size = 2
    fresh = covariance(s / size, with_replacement(size, shared=False))
    rate = s**2 * sigma**2 / (2 * n * size)
    yield from row("fresh noise", fresh, s / n, 2 * s * sigma**2 / size, rate)


@statement(
    "li2021/clock-shared-noise",
    title="Duplicates of a batch that share their noise are faster",
    claim=r"\text{drawn with replacement, one } \varepsilon \text{ per sample}: \quad "
    r"\kappa = \frac{s^2\sigma^2}{2nB}\Bigl(1 + \frac{B - 1}{n}\Bigr)",
    hypotheses=(INTERPOLATION, INDEPENDENT_NOISE),
    reference="theory notes 0.4, last paragraph",
    scope=Scope.FIXED_SIZE,
    control={"fewer": 0},
)
def clock_shared_noise(fewer: int = 1) -> Iterator[tuple[str, Any]]:
    """Average over all batches of one, two and three draws from three samples.

    A sample drawn k times moves by kε, and E k² = (B/n)(1 + (B − 1)/n).
    """
    for size in range(1, n + 1):
        factor = 1 + sympy.Rational(size - fewer, n)
        update = covariance(s / size, with_replacement(size, shared=True))
        constant = 2 * s * sigma**2 / size * factor
        rate = s**2 * sigma**2 / (2 * n * size) * factor
        yield from row(f"B = {size}", update, s / n, constant, rate)


@statement(
    "li2021/expected-loss",
    title="The expected loss of label noise at stationarity",
    claim=r"\mathbb{E}L = \tfrac{\eta c}{4}\operatorname{Tr}\nabla^2L + O(\eta^2); "
    r"\quad \text{full batch, } s = 1: \ \tfrac12\eta\sigma^2F",
    hypotheses=(INTERPOLATION, INDEPENDENT_NOISE),
    reference="theory notes 0.4, last line",
    scope=Scope.FIXED_SIZE,
    control={"quarter": HALF},
)
def expected_loss(
    quarter: sympy.Expr = QUARTER,
) -> Iterator[tuple[str, Any]]:
    """Let the update of a linear model with two samples be stationary.

    Its covariance C solves a linear system; EL is the mean of the loss over it, and
    its coefficient of η the claim.  The frame is that of the singular vectors of J.
    """
    g = sympy.symbols("g_1:3", positive=True)
    noise = sympy.symbols("epsilon_0:2", real=True)
    delta = sympy.symbols("delta_1:3", real=True)
    losses = [(gi * x - e) ** 2 for gi, x, e in zip(g, delta, noise, strict=True)]
    after = sympy.Matrix(delta) - eta * gradient(sum(losses), delta)
    names = sympy.symbols("C_1:3", positive=True)
    second = [sympy.Poly(entry**2, *delta, *noise) for entry in after]
    means = [
        sum(p.coeff_monomial(x**2) * v for x, v in zip(delta, names, strict=True))
        + sigma**2 * sum(p.coeff_monomial(e**2) for e in noise)
        for p in second
    ]
    fixed = [mean - name for mean, name in zip(means, names, strict=True)]
    solution = sympy.solve(fixed, names, dict=True)[0]
    mean_loss = sum(gi**2 * solution[v] for gi, v in zip(g, names, strict=True))
    clean = sum(losses).subs(dict.fromkeys(noise, 0))
    trace = sympy.hessian(clean, delta).trace()
    leading = sympy.cancel(sympy.together(mean_loss / eta)).subs(eta, 0)
    yield "EL = (ηc/4) Tr ∇²L, c = 2σ²", leading - quarter * 2 * sigma**2 * trace
    yield "F = Tr ∇²L", leading - sigma**2 * trace / 2
