"""One measured number, and ways to measure it more than once."""

from __future__ import annotations

import json
import operator
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

__all__ = ["Figure", "Goal", "median_of", "process_cpu_ms", "process_ms", "seconds_of"]

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound written `<=100` or `>=0.9`, in the unit of its figure."""

    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read a goal; ValueError if it is none."""
        comparison, bound = text[:2], text[2:]
        if comparison not in COMPARISONS:
            raise ValueError(f"a goal starts with <= or >=, not {text!r}")
        return cls(comparison, float(bound))

    def is_met_by(self, value: float) -> bool:
        return COMPARISONS[self.comparison](value, self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One result: the median of `runs` measurements, and the goal it should meet (empty: none)."""

    figure: str
    value: float
    unit: str
    goal: str = ""
    runs: int = 1

    def line(self) -> str:
        """Return the JSON line that `python -m benchmarks` prints."""
        return json.dumps({**asdict(self), "value": _rounded(self.value)})

    def verdict(self) -> str:
        """Say in words how the value stands to the goal."""
        if not self.goal:
            return "no goal"
        return "met" if Goal.parse(self.goal).is_met_by(self.value) else "missed"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def median_of(measure: Callable[[], float], runs: int = 5, warm_up: int = 1) -> float:
    """Return the median of `runs` calls, after `warm_up` calls that don't count."""
    for _ in range(warm_up):
        measure()
    return median(measure() for _ in range(runs))


def seconds_of(act: Callable[[], object]) -> float:
    """Return the wall time of one call, in seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def process_ms(argv: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """Return the wall time of one whole process, in milliseconds; CalledProcessError if it fails."""
    began = time.perf_counter()
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return (time.perf_counter() - began) * 1000


def process_cpu_ms(argv: Sequence[str]) -> float:
    """Return the processor time of a process and all it started, in milliseconds; CalledProcessError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
