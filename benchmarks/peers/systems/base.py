"""The interface of every measured system."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from .. import timing
from ..problems import Problem

T = TypeVar("T")


class System:
    """What is measured: `prepare` once for a problem and a number of threads, then `run` again and again.

    A subclass has a method for each of its `modes`, named like it, which does the work once and returns the results
    as the library gives them.
    """

    name: str
    packages: tuple[str, ...] = ()  # what must be installed; the first one's version is reported
    extra = "peers"  # which extra of pyproject.toml brings them
    modes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "float64")
    held_to_isa = True  # whether --isa holds it to that instruction set, too

    @classmethod
    def missing(cls) -> list[str]:
        """Return the packages that are missing."""
        return [package for package in cls.packages if importlib.util.find_spec(package) is None]

    @classmethod
    def available(cls) -> bool:
        """Tell whether all packages that it needs are installed."""
        return not cls.missing()

    def supports(self, problem: Problem) -> bool:
        """Tell whether the library supports the problem."""
        return problem.mode in self.modes and problem.case.dtype in self.dtypes

    def prepare(self, problem: Problem, num_threads: int) -> None:
        """Make the layer and its input; set the threads and make sure of them."""
        raise NotImplementedError

    def run(self) -> Any:
        """Run it once; return the results as the library gives them."""
        return getattr(self, self.problem.mode)()

    def arrays(self, results: Any) -> dict[str, np.ndarray]:
        """Return the results of `run` by name, in PyTorch's shapes.

        y, h_n and c_n in inference, y of all steps as a stream; y, dx and weight gradients in training; the loss and
        weight gradients of the classifier.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return what `prepare` chose, for the report."""
        return {}

    def expect_threads(self, got: int, wanted: int) -> None:
        if got != wanted:
            raise RuntimeError(f"{self.name} has {got} threads, not {wanted}")


def fastest(choices: Iterable[T], use: Callable[[T], None], run: Callable[[], Any]) -> T:
    """Return the choice with which `run` is fastest, after having used it last."""
    choices = list(choices)
    seconds = {}
    for choice in choices if len(choices) > 1 else ():
        use(choice)
        calls = timing.calls_in_sample(run)
        seconds[choice] = min(timing.sample(run, calls) for _ in range(3))
    best = min(choices, key=lambda choice: seconds.get(choice, 0))
    use(best)
    return best
