"""Which work is sent to a type of GPU that its kind was never measured on, so that more is known for all that follow.

One task of a kind at a time, the one that is over soonest, and only where being wrong costs little: without a deadline, of
normal class or worse, on one node, alone, and where such a GPU is idle now. After a few attempts without a measurement the
type is given up. Nothing is drawn by chance: the same facts give the same trials.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from elisa.model.columns import ReadyColumns
from elisa.model.ids import TaskId
from elisa.model.native import ClusterView, NodeState
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, Exploration

__all__ = ["Known", "idle_gpus", "trials", "with_trials"]

_Kind = tuple[str, str, str]

# As many whole runs as make a measurement (`forecast.speeds`).
_TIMES = 3


def idle_gpus(clusters: Iterable[ClusterView]) -> Mapping[str, int]:
    """Return how many GPUs of each type are free on the node that has most."""
    idle: dict[str, int] = {}
    for node in (node for view in clusters for node in view.nodes if node.state is NodeState.UP):
        for kind, count in node.free_gpus:
            idle[kind] = max(count, idle.get(kind, 0))
    return idle


class Known(NamedTuple):
    """What is known of kinds of work: that of each task, and the types of GPU on which each was measured.

    `tried` is how many attempts at a kind began on a type, and how many of them are live.
    """

    kinds: Mapping[TaskId, _Kind]
    measured: Mapping[_Kind, Collection[str]]
    tried: Mapping[tuple[_Kind, str], tuple[int, int]]

    def is_open(self, kind: _Kind, gpu_type: str) -> bool:
        """Tell whether a kind that was measured elsewhere may be tried on a type."""
        times, live = self.tried.get((kind, gpu_type), (0, 0))
        return bool(self.measured.get(kind)) and gpu_type not in self.measured[kind] and not live and times < _TIMES


def trials(ready: ReadyColumns, known: Known, idle: Mapping[str, int], rules: Exploration) -> Mapping[int, str]:
    """Return the rows of the tasks that try a type of GPU, and which."""
    chosen: dict[int, str] = {}
    taken: set[tuple[_Kind, str]] = set()
    for row in sorted(_candidates(ready, known.kinds, rules), key=lambda row: (_lasts_s(ready, row), ready.task[row])):
        kind, gpus = known.kinds[TaskId(ready.task[row])], ready.shapes[ready.shape[row]].request.gpus
        for gpu_type in sorted(gpus.types or idle):
            is_idle = idle.get(gpu_type, 0) >= gpus.per_node
            if is_idle and (kind, gpu_type) not in taken and known.is_open(kind, gpu_type):
                taken.add((kind, gpu_type))
                chosen[row] = gpu_type
                break
    return chosen


def _candidates(ready: ReadyColumns, kinds: Mapping[TaskId, _Kind], rules: Exploration) -> Iterator[int]:
    for row, task in enumerate(ready.task):
        request = ready.shapes[ready.shape[row]].request
        is_choosing = request.gpus.per_node > 0 and len(request.gpus.types) != 1 and request.node_count == 1
        is_alone = not ready.gang or ready.gang[row] < 0
        is_calm = not ready.deadline_us[row] and ready.priority[row] >= CLASS_RANK[PriorityClass.NORMAL]
        if task in kinds and is_choosing and is_alone and is_calm and _lasts_s(ready, row) <= rules.longest_s:
            yield row


def _lasts_s(ready: ReadyColumns, row: int) -> float:
    predicted_s = ready.predicted_s[row] if ready.predicted_s else 0.0
    return predicted_s or float(ready.shapes[ready.shape[row]].request.walltime_s)


def with_trials(ready: ReadyColumns, chosen: Mapping[int, str]) -> tuple[ReadyColumns, Sequence[int]]:
    """Return the columns with shapes of their own for the tasks that try a type, and of which shape each was made."""
    made = list(range(len(ready.shapes)))
    shapes, column = list(ready.shapes), list(ready.shape)
    for row, gpu_type in chosen.items():
        made.append(column[row])
        shapes.append(ready.shapes[column[row]]._replace(tries=gpu_type))
        column[row] = len(shapes) - 1
    return ready._replace(shape=column, shapes=shapes), made
