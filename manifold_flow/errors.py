"""The errors of the package, each carrying the numbers that explain it.

Every message says what happened, with the number; why it matters here; and what
to type next.  Errors about bad arguments are also a ``ValueError`` or a
``TypeError``, so that ordinary ``except`` clauses keep working.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from manifold_flow.trajectory import Trajectory

__all__ = [
    "ActivationError",
    "ArgumentError",
    "CallbackError",
    "ConvergenceError",
    "DataError",
    "DegenerateEigenvalueError",
    "DerivativeError",
    "DivergenceError",
    "EmptyManifoldError",
    "FileFormatError",
    "HypothesisError",
    "IntegrationError",
    "Interrupted",
    "ManifoldFlowError",
    "ModelError",
    "NoLimitingFlowError",
    "NonFiniteError",
    "OffManifoldError",
    "ProjectionError",
    "RankDeficientJacobianError",
    "ShapeError",
    "StabilityError",
    "UnknownKeywordError",
    "UnknownNameError",
]


class ManifoldFlowError(Exception):
    """Root of every error raised on purpose by manifold_flow."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the numbers, whatever the constructor takes."""
        return _revived, (type(self), self.args), self.__dict__


def _revived(kind: type[ManifoldFlowError], args: tuple[Any, ...]) -> ManifoldFlowError:
    return kind.__new__(kind, *args)


class ShapeError(ManifoldFlowError, ValueError):
    """An array has the wrong shape."""

    def __init__(
        self, what: str, expected: object, got: object, advice: str = ""
    ) -> None:
        self.expected, self.got = expected, got
        super().__init__(
            f"{what}: expected shape {expected}, got {got}. {advice}".rstrip()
        )


class ArgumentError(ManifoldFlowError, TypeError):
    """An object of another kind than the function takes; says which kind it takes."""

    def __init__(self, name: str, wanted: type, got: object, advice: str = "") -> None:
        self.wanted, self.got = wanted, got
        if got is None or isinstance(got, str):
            found = reprlib.repr(got)
        elif isinstance(got, type):
            found = f"the class {got.__name__}"
        else:
            found = f"of type {type(got).__name__}"
        super().__init__(
            f"{name} is {found} where a {wanted.__name__} is needed. {advice}".rstrip()
        )


class CallbackError(ManifoldFlowError):
    """A user's callback raised; its own error is the ``__cause__``."""


class DataError(ManifoldFlowError, ValueError):
    """Inputs, targets or numbers that no computation could use."""


class ModelError(ManifoldFlowError, ValueError):
    """A model that defines no zero-loss manifold, or whose own function raised."""


class ActivationError(ManifoldFlowError, ValueError):
    """An activation that cannot be built, inverted or evaluated as asked."""


class DerivativeError(ManifoldFlowError, ValueError):
    """A derivative of a user's function is wrong or cannot be computed."""


class StabilityError(ManifoldFlowError, ValueError):
    """A learning rate at which an optimizer leaves the zero-loss manifold."""

    def __init__(self, message: str, learning_rate: float, threshold: float) -> None:
        self.learning_rate, self.threshold = learning_rate, threshold
        super().__init__(message)


class HypothesisError(ManifoldFlowError, ValueError):
    """A theorem was asked for outside its hypotheses; says which one fails."""


class ConvergenceError(ManifoldFlowError, ArithmeticError):
    """An exact answer exists but was not reached to its accuracy in float64."""


class EmptyManifoldError(ManifoldFlowError, ValueError):
    """No parameters reach the targets; names the sample."""

    def __init__(self, message: str, sample: int) -> None:
        self.sample = sample
        super().__init__(message)


class UnknownNameError(ManifoldFlowError, ValueError):
    """A name that is not in the list; suggests the nearest one.

    Where the list is too long to read, ``where`` says how to see it.
    """

    def __init__(
        self, kind: str, name: object, known: Iterable[str], where: str = ""
    ) -> None:
        self.name, self.known = name, tuple(known)
        listed = where or f"Choose from: {', '.join(self.known)}."
        super().__init__(
            f"unknown {kind} {name!r}{nearest(str(name), self.known)} {listed}"
        )


class UnknownKeywordError(ManifoldFlowError, TypeError):
    """A keyword the function does not take; suggests the nearest one."""

    def __init__(self, function: str, keyword: str, known: Iterable[str]) -> None:
        self.keyword, self.known = keyword, tuple(known)
        super().__init__(
            f"{function}() has no keyword {keyword!r}{nearest(keyword, self.known)} "
            f"It takes: {', '.join(self.known)}."
        )


class OffManifoldError(ManifoldFlowError, ValueError):
    """A point that should lie on the zero-loss manifold does not."""

    def __init__(self, violation: float, tolerance: float) -> None:
        self.violation, self.tolerance = violation, tolerance
        super().__init__(
            f"the start has max |residual| = {violation:.3g} "
            f"(tolerance {tolerance:.1g}); a limiting flow starts on the zero-loss "
            "manifold. Pass manifold.projection(start)."
        )


class RankDeficientJacobianError(ManifoldFlowError):
    """The residual gradients are linearly dependent: not a regular point."""

    def __init__(self, message: str, singular_values: NDArray[Any]) -> None:
        self.singular_values = singular_values
        super().__init__(message)


class NonFiniteError(ManifoldFlowError, ArithmeticError):
    """A model overflowed at finite parameters."""


class ProjectionError(ManifoldFlowError):
    """Gauss-Newton did not reach the zero-loss manifold; carries its log."""

    def __init__(self, reason: str, log: tuple[tuple[int, float, float], ...]) -> None:
        self.log = log
        rows = [
            f"  iteration {k}: max |residual| {r:.3e}, step {s:.3e}" for k, r, s in log
        ]
        if len(rows) > 8:
            rows = [*rows[:3], "  ...", *rows[-4:]]
        super().__init__("\n".join([reason, *rows]))


class IntegrationError(ManifoldFlowError):
    """The flow could not reach its end; ``trajectory`` holds the path so far."""

    def __init__(self, reason: str, trajectory: Trajectory) -> None:
        self.reason, self.trajectory = reason.rstrip("."), trajectory
        super().__init__(
            f"{self.reason}. The path so far is in the exception's .trajectory."
        )


class Interrupted(IntegrationError, KeyboardInterrupt):
    """Ctrl-C during a long run; ``trajectory`` holds the path so far."""


class DivergenceError(ManifoldFlowError):
    """An optimizer left the finite numbers; has the step and the last finite params."""

    def __init__(self, message: str, step: int, params: NDArray[Any]) -> None:
        self.step, self.params = step, params
        super().__init__(message)


class DegenerateEigenvalueError(ManifoldFlowError):
    """The top eigenvalue is not simple, so it has no gradient."""

    def __init__(self, largest: float, second: float) -> None:
        self.largest, self.second = largest, second
        self.gap = largest - second
        super().__init__(
            f"the two largest Hessian eigenvalues are {largest:.6g} and {second:.6g} "
            f"(gap {self.gap:.1e}); at a crossing the top eigenvalue is not "
            "differentiable and its flow is undefined. Use HessianTrace(), or start "
            "elsewhere."
        )


class NoLimitingFlowError(ManifoldFlowError, TypeError):
    """No theorem gives the limit of this optimizer."""


class FileFormatError(ManifoldFlowError, ValueError):
    """A file that cannot be read safely as what it should be."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, else a full stop."""
    spelled = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.5)
    return f"; did you mean {spelled[close[0]]!r}?" if close else "."


def require(name: str, value: object, wanted: type, advice: str = "") -> None:
    """Raise an ArgumentError unless ``value`` is of the kind a function takes."""
    if not isinstance(value, wanted):
        raise ArgumentError(name, wanted, value, advice)


P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def suggest_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a mistyped keyword into an error that names the nearest one."""
    known = tuple(n for n in inspect.signature(function).parameters if n != "self")
    label = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for keyword in kwargs:
            if keyword not in known:
                raise UnknownKeywordError(label, keyword, known)
        return function(*args, **kwargs)

    return checked


def suggests_keywords(kind: C) -> C:
    """Let the generated constructor of a dataclass suggest keywords."""
    kind.__init__ = suggest_keywords(kind.__init__)  # type: ignore[misc]
    return kind
