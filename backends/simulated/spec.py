"""A simulated cluster as a few lines of YAML describe it."""

from __future__ import annotations

from dataclasses import dataclass

from elisa.backends.simulated.dice import Distribution

__all__ = ["AnswerFaults", "ClusterSpec", "FaultSpec", "NodeType", "PartitionSpec"]

_CONSTANT_ZERO = Distribution(kind="constant", numbers=(0.0,))
_AN_HOUR_OR_SO = Distribution(kind="lognormal", numbers=(3600.0, 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """`count` nodes that are alike. `speed` 2 does the work of a job in half the time. No partitions: in all of them.

    `per_switch` of them hang on each leaf switch; 0: on which is not known. `promised` is what jobs together may ask for of
    cores and memory, in percent of what is there.
    """

    name: str
    count: int = 1
    cpus: int = 8
    memory_mib: int = 32768
    gpus: tuple[tuple[str, int], ...] = ()
    gpu_memory_mib: int = 0
    features: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    speed: float = 1.0
    per_switch: int = 0
    promised: tuple[int, int] = (100, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSpec:
    """A queue. Jobs of a partition push jobs out of `preemptible` ones of lower priority. `wait` is for others' jobs."""

    name: str
    is_default: bool = False
    max_walltime_s: int = 0
    max_nodes: int = 0
    priority: int = 0
    preemptible: bool = False
    max_queued: int = 0
    wait: Distribution = _CONSTANT_ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFaults:
    """How often answers go wrong, as probabilities.

    `accept_lost`: the job is accepted and nobody is told; `accept_late`: the same, `late_s` later; `lost`: neither
    accepted nor answered; `reject`, `busy`: refused for good, for now; `unreachable`: no answer to a poll, a search or a
    look at the cluster; `partial`: each job missing from a listing that claims to be complete.
    """

    accept_lost: float = 0.0
    accept_late: float = 0.0
    lost: float = 0.0
    reject: float = 0.0
    busy: float = 0.0
    unreachable: float = 0.0
    partial: float = 0.0
    late_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """What breaks. Mean times between faults in seconds, over the whole cluster; 0 is never."""

    node_down_every_s: float = 0.0
    node_down_for_s: float = 3600.0
    nodes_at_once: int = 1
    preempt_every_s: float = 0.0
    outage_every_s: float = 0.0
    outage_for_s: float = 1800.0
    slow: float = 0.0  # probability that a job runs slowly
    slow_factor: float = 3.0
    answers: AnswerFaults = AnswerFaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """The whole cluster.

    Without a `queue` whoever submits keeps what has to wait. `arrays` is how many jobs it takes by one call (0: one).
    `requeue`: a job that lost its node or was pushed out starts again under its id. Ended jobs are forgotten after
    `purge_after_s`, except by `find` where `accounting` is on. `reuse_ids`: ids start again after so many (0: never).
    `heartbeat_s` is how often agents report their use; `checkpoint_s` how often programs save that leave it to elisa. The
    same `seed` gives the same course of events.
    """

    nodes: tuple[NodeType, ...] = (NodeType(name="node"),)
    partitions: tuple[PartitionSpec, ...] = (PartitionSpec(name="batch", is_default=True),)
    licences: tuple[tuple[str, int], ...] = ()
    duration: Distribution = _AN_HOUR_OR_SO
    faults: FaultSpec = FaultSpec()
    queue: bool = True
    arrays: int = 0
    requeue: bool = False
    accounting: bool = True
    purge_after_s: float = 3600.0
    reuse_ids: int = 0
    heartbeat_s: float = 3600.0
    checkpoint_s: float = 1800.0
    seed: int = 0

    @property
    def overcommits(self) -> bool:
        """Whether any node promises more than it has."""
        return any(kind.promised != (100, 100) for kind in self.nodes)
