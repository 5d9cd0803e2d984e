"""How often to save: the optimum between work lost at a failure and time spent on saving."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Choice", "choose_interval", "optimum_s"]

USUAL_SHARE = 0.01
"""The share of the run time that saving may take while nothing is known of failures."""

LARGEST_SHARE = 0.05
"""The share that saving may take where measured failures ask for it."""

_USUAL_MTBF_S = 24 * 3600.0  # one failure or preemption a day: a guess, until a site has measured its own
_SMALLEST_COST_S = 1e-4


class Choice(NamedTuple):
    """An interval and what it follows from. `bound` names what decided: optimum, overhead, remaining or fixed."""

    interval_s: float
    bound: str
    save_s: float
    mtbf_s: float
    optimum_s: float


def optimum_s(save_s: float, mtbf_s: float) -> float:
    """Return the interval between saves that loses the least time.

    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22 (2006), eq. 37;
    for saves that are short against the time between failures it is Young's square root of 2 * mtbf * save.
    """
    if save_s >= 2 * mtbf_s:
        return mtbf_s
    ratio = save_s / (2 * mtbf_s)
    return math.sqrt(2 * mtbf_s * save_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save_s


def choose_interval(save_s: float, *, mtbf_s: float | None = None, remaining_s: float = math.inf) -> Choice:
    """Return how long to compute between two saves that block the program for `save_s` each.

    `mtbf_s` is the measured time between failures here (None: not known), `remaining_s` the walltime that is left: at
    least two saves fall into it, if they do not cost too much.
    """
    save_s = max(save_s, _SMALLEST_COST_S)
    assumed_s = _USUAL_MTBF_S if mtbf_s is None else max(mtbf_s, save_s)
    best_s = optimum_s(save_s, assumed_s)
    least_s = save_s / (USUAL_SHARE if mtbf_s is None else LARGEST_SHARE)
    most_s = max(remaining_s / 2, save_s / LARGEST_SHARE)
    interval_s = min(max(best_s, least_s), most_s)
    bound = "optimum" if interval_s == best_s else ("remaining" if interval_s == most_s else "overhead")
    return Choice(interval_s, bound, save_s, assumed_s, best_s)
