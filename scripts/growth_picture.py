"""Draw how long a plan takes, from 1,000 to 1,000,000 ready tasks: python -m scripts.growth_picture OUT.svg.

Both axes are logarithmic, so that growth in proportion is a line of the same slope as the dashed one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench_plan import Load, a_load, decide
from benchmarks.figure import median_of

__all__ = ["Point", "measured", "picture"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 420, 84, 64
_PLOT_W, _PLOT_H = _WIDTH - _LEFT - 48, _HEIGHT - _BOTTOM - 48
_LEAST_MS = 1.0
_SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_STYLE = (
    "text{font:14px sans-serif;fill:#222}.t{font-size:16px;font-weight:bold}.g{stroke:#ddd}.l{fill:none;stroke-width:2}"
)


class Point(NamedTuple):
    """The time of a plan for so many ready tasks."""

    tasks: int
    ms: float


def measured(sizes: Iterable[int] = _SIZES) -> Iterator[Point]:
    """Yield the median processor time of some plans of each size, for 1,000 projects and 2,000 nodes.

    A plan has one thread and waits for nothing: on an idle machine that is its time by the clock, too.
    """
    for tasks in sizes:
        load = a_load(tasks, 1_000, 2_000)
        runs = 3 if tasks > 300_000 else 9
        yield Point(tasks, _plan_ms(load, runs))


def _plan_ms(load: Load, runs: int) -> float:
    return 1000 * median_of(lambda: _processor_s(load), runs=runs)


def _processor_s(load: Load) -> float:
    began = time.process_time()
    decide(load)
    return time.process_time() - began


def picture(points: Sequence[Point]) -> str:
    """Return the drawing, as SVG."""
    top_ms = 10 ** math.ceil(math.log10(max(point.ms for point in points)))
    frame = _Frame(points[0].tasks, points[-1].tasks, top_ms)
    dots = "".join(f'<circle cx="{frame.x(p.tasks):.1f}" cy="{frame.y(p.ms):.1f}" r="4" fill="#06c"/>' for p in points)
    labels = "".join(_label(frame, point, is_first=point is points[0]) for point in points)
    last = points[-1]
    start_ms = last.ms * points[0].tasks / last.tasks
    begin = points[0].tasks if start_ms >= _LEAST_MS else round(last.tasks * _LEAST_MS / last.ms)
    ideal = [Point(begin, max(start_ms, _LEAST_MS)), last]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>Time of a plan against ready tasks</title><style>{_STYLE}</style>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        f'<text class="t" x="{_LEFT}" y="28">Processor time of a whole plan in ms; 1,000 projects, 2,000 nodes</text>'
        + frame.grid()
        + _line(frame, ideal, 'stroke="#999" stroke-dasharray="6 5"')
        + _line(frame, points, 'stroke="#06c"')
        + dots
        + labels
        + f'<text x="{_LEFT + _PLOT_W / 2}" y="{_HEIGHT - 14}" text-anchor="middle">ready tasks '
        "(dashed: in proportion)</text></svg>\n"
    )


def _label(frame: _Frame, point: Point, *, is_first: bool) -> str:
    x, anchor = (frame.x(point.tasks) + 8, "start") if is_first else (frame.x(point.tasks) - 8, "end")
    return f'<text x="{x:.1f}" y="{frame.y(point.ms) - 10:.1f}" text-anchor="{anchor}">{point.ms:,.0f}</text>'


class _Frame:
    """Where numbers lie on the drawing."""

    def __init__(self, least_tasks: int, most_tasks: int, most_ms: float) -> None:
        self._tasks = (math.log10(least_tasks), math.log10(most_tasks))
        self._ms = (math.log10(_LEAST_MS), math.log10(most_ms))

    def x(self, tasks: float) -> float:
        low, high = self._tasks
        return _LEFT + _PLOT_W * (math.log10(tasks) - low) / (high - low)

    def y(self, ms: float) -> float:
        low, high = self._ms
        return _HEIGHT - _BOTTOM - _PLOT_H * (math.log10(ms) - low) / (high - low)

    def grid(self) -> str:
        """Return a line and its number for each power of ten."""
        tasks = [10**power for power in range(math.ceil(self._tasks[0]), math.floor(self._tasks[1]) + 1)]
        times = [10**power for power in range(round(self._ms[0]), round(self._ms[1]) + 1)]
        down, right = _HEIGHT - _BOTTOM, _LEFT + _PLOT_W
        columns = (
            f'<path class="g" d="M{self.x(n):.1f} {down}V{down - _PLOT_H}"/>'
            f'<text x="{self.x(n):.1f}" y="{down + 20}" text-anchor="middle">{n:,}</text>'
            for n in tasks
        )
        rows = (
            f'<path class="g" d="M{_LEFT} {self.y(ms):.1f}H{right}"/>'
            f'<text x="{_LEFT - 8}" y="{self.y(ms) + 5:.1f}" text-anchor="end">{ms:,}</text>'
            for ms in times
        )
        return "".join([*columns, *rows])


def _line(frame: _Frame, points: Iterable[Point], style: str) -> str:
    path = " ".join(f"{frame.x(point.tasks):.1f},{frame.y(point.ms):.1f}" for point in points)
    return f'<polyline class="l" points="{path}" {style}/>'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(list(measured())), encoding="utf-8")
