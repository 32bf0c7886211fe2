"""Comparison: ensembles at several learning rates, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manifold_flow.comparison.ensemble import Ensemble
from manifold_flow.comparison.judgement import Evidence, judge, leading_order
from manifold_flow.comparison.statistics import (
    Estimate,
    Order,
    convergence_order,
    extrapolated,
)
from theory.statement import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison"]

Array = NDArray[np.float64]

#: relative to the sharpness: below it a difference is rounding, not an error
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """An optimizer beside its limiting flow, at several learning rates.

    Attributes
    ----------
    ensembles : tuple of Ensemble
        By descending learning rate.
    rate_predicted : float
        Rate of the flow, per unit of slow time.
    optimizer, flow, model, loss : str
        What was compared.
    caveats : tuple of str
        Hypotheses that the model does not satisfy.
    """

    ensembles: tuple[Ensemble, ...]
    rate_predicted: float
    optimizer: str
    flow: str
    model: str
    loss: str
    caveats: tuple[str, ...] = ()

    @property
    def learning_rates(self) -> Array:
        """Descending, shape (L,)."""
        return np.array([e.learning_rate for e in self.ensembles])

    @property
    def replicas(self) -> int:
        """Number of replicas of every ensemble."""
        return self.ensembles[-1].replicas

    @property
    def errors(self) -> list[Estimate]:
        """The weak error at every learning rate."""
        return [ensemble.weak_error for ensemble in self.ensembles]

    @cached_property
    def at_rest(self) -> bool:
        """Whether nothing differs from the flow by more than rounding."""
        return all(
            bool((np.abs(e.error) <= ROUNDING * np.abs(e.reference)).all())
            for e in self.ensembles
        )

    @cached_property
    def fitted_order(self) -> Order | None:
        """Order of the weak error; None where all errors are rounding."""
        if self.at_rest:
            return None
        return convergence_order(
            self.learning_rates,
            [error.value for error in self.errors],
            [error.standard_error for error in self.errors],
        )

    @property
    def leading_order(self) -> int:
        """What is extrapolated with: 1, or the integer next to a faster order."""
        return 1 if self.fitted_order is None else leading_order(self.fitted_order)

    def _limit(self, values: list[Estimate]) -> Estimate:
        """Extrapolate to learning rate 0."""
        steps = self.learning_rates[: len(values)]
        return extrapolated(steps, values, self.leading_order)

    @property
    def richardson(self) -> Estimate:
        """The weak error at learning rate 0: 2e(η/2) − e(η) where it is of order 1."""
        return self._limit(self.errors)

    @property
    def rate_measured(self) -> Estimate:
        """The rate at which the flow fits best, extrapolated to learning rate 0."""
        return self._limit([e.rate for e in self.ensembles])

    @property
    def _drift(self) -> float:
        """How far the extrapolated rate moved at the last refinement."""
        rates = [e.rate for e in self.ensembles]
        before = rates[-1]
        if len(rates) > 2:
            before = self._limit(rates[:-1])
        return abs(self.rate_measured.value - before.value)

    @cached_property
    def evidence(self) -> Evidence | None:
        """The numbers that the verdict rests on; None where all errors are rounding."""
        if self.fitted_order is None:
            return None
        return Evidence(
            order=self.fitted_order,
            last_error=self.errors[-1],
            richardson=self.richardson,
            predicted=self.rate_predicted,
            measured=self.rate_measured,
            drift=self._drift,
            replicas=self.replicas,
        )

    @cached_property
    def _judged(self) -> tuple[Verdict, str]:
        if self.evidence is None:
            worst = max(float(np.abs(e.error).max()) for e in self.ensembles)
            return Verdict.HOLDS, f"no difference beyond rounding, at most {worst:.1e}"
        return judge(self.evidence)

    @property
    def verdict(self) -> Verdict:
        """Whether the algorithm follows the flow as its learning rate goes to 0."""
        return self._judged[0]

    @property
    def reason(self) -> str:
        """Why, in words and numbers."""
        return self._judged[1]

    def __str__(self) -> str:
        """Return a line for every learning rate, and the verdict."""
        head = (
            *("learning rate", "steps", "error", "sup-distance", "in parameters"),
            *("rate", "seconds"),
        )
        rows = [head, *(_cells(ensemble) for ensemble in self.ensembles)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        last = self.ensembles[-1]
        lines = [f"{self.optimizer}, {self.replicas} replicas", f"beside {self.flow}"]
        lines.append(
            f"whose S is {last.reference[0]:.4g} at slow time {last.times[0]:.3g} "
            f"and {last.reference[-1]:.4g} at {last.times[-1]:.3g}"
        )
        lines.append(f"on {self.model}, loss {self.loss}")
        lines += [f"note: {caveat}" for caveat in self.caveats]
        for row in rows:
            padded = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
        why = self.reason.replace("; ", ";\n  ")
        return "\n".join([*lines, f"{self.verdict.name}: {why}."])

    def __repr__(self) -> str:
        """Return the verdict, the order and the rates."""
        return (
            f"Comparison({self.verdict.name}, order {self.fitted_order}, rate "
            f"{self.rate_measured} for {self.rate_predicted:.4g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for JSON."""
        order, evidence = self.fitted_order, self.evidence
        return {
            "verdict": self.verdict.name,
            "reason": self.reason,
            "exit_status": self.verdict.exit_code,
            "fitted_order": order and order.value,
            "fitted_order_interval": order and list(order.interval),
            "richardson": self.richardson.value,
            "richardson_standard_error": self.richardson.standard_error,
            "richardson_tolerance": evidence and evidence.tolerance,
            "rate_predicted": self.rate_predicted,
            "rate_measured": self.rate_measured.value,
            "rate_measured_interval": list(self.rate_measured.interval),
            "replicas": self.replicas,
            "ensembles": [_as_data(ensemble) for ensemble in self.ensembles],
            "optimizer": self.optimizer,
            "flow": self.flow,
            "model": self.model,
            "loss": self.loss,
            "caveats": list(self.caveats),
        }

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the sup-distance against the learning rate, on log-log axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib Axes
            With the fitted slope.
        """
        from manifold_flow import plots

        sup = [ensemble.sup_distance for ensemble in self.ensembles]
        return plots.plot_convergence(
            self.learning_rates,
            np.array([each.value for each in sup]),
            np.array([each.standard_error for each in sup]),
            label=f"order of the mean error {self.fitted_order}",
            ax=ax,
        )


def _cells(ensemble: Ensemble) -> tuple[str, ...]:
    return (
        f"{ensemble.learning_rate:g}",
        str(ensemble.n_steps),
        str(ensemble.weak_error),
        str(ensemble.sup_distance),
        f"{ensemble.distance.max():.3g}",
        str(ensemble.rate),
        f"{ensemble.seconds:.1f}",
    )


def _as_data(ensemble: Ensemble) -> dict[str, Any]:
    return {
        "learning_rate": ensemble.learning_rate,
        "n_steps": ensemble.n_steps,
        "seconds": ensemble.seconds,
        "times": ensemble.times.tolist(),
        "sharpness": ensemble.mean.tolist(),
        "standard_error": ensemble.standard_error.tolist(),
        "flow": ensemble.reference.tolist(),
        "distance": ensemble.distance.tolist(),
        "weak_error": ensemble.weak_error.value,
        "weak_error_standard_error": ensemble.weak_error.standard_error,
        "sup_distance": ensemble.sup_distance.value,
        "rate": ensemble.rate.value,
        "rate_standard_error": ensemble.rate.standard_error,
    }
