"""Whether a node is to blame for how an attempt ended, or the program that ran there."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from elisa.model.hostlist import expand_hosts
from elisa.model.rows import PastRun
from elisa.model.states import EndReason
from elisa.model.task import Attempt
from elisa.policies.badgpus import BadGpu, given_back_from
from elisa.policies.badnodes import NodeOutcome, NodeRules, Suspect, suspects
from elisa.policies.unexplained import is_unexplained, is_unheard

__all__ = [
    "avoid_until",
    "may_blame",
    "node_outcomes",
    "not_by_gpus",
    "on_gpus",
    "own_bad_nodes",
    "suspect_nodes",
]

_BY_NODE = frozenset({EndReason.NODE_FAILURE, EndReason.BOOT_FAILURE})
_GOOD = frozenset({EndReason.COMPLETED, EndReason.TIMEOUT, EndReason.PREEMPTED})
_SHORTEST = timedelta(hours=1)
_RULES = NodeRules()


def may_blame(end: EndReason) -> bool:
    """Tell whether an end can say something against a node."""
    return end in _BY_NODE or end is EndReason.FAILED


def node_outcomes(runs: Sequence[PastRun], now: datetime) -> Iterator[NodeOutcome]:
    """Yield how past runs on one backend went, node by node.

    A failed program speaks against its node only if the same work completed on another one, and once for each task.
    """
    completed = _completed_on(runs)
    blamed: set[tuple[str, str]] = set()
    for run in runs:
        nodes = expand_hosts(run.nodes)
        age_s = (now - run.ended_at).total_seconds()
        if run.end in _BY_NODE or run.end in _GOOD:
            yield from (NodeOutcome(node, age_s, run.end in _BY_NODE) for node in nodes)
        elif run.end is EndReason.FAILED and completed.get(_work(run), frozenset()) - set(nodes):
            fresh = [node for node in nodes if (run.task, node) not in blamed]
            blamed |= {(run.task, node) for node in fresh}
            yield from (NodeOutcome(node, age_s, failed=True) for node in fresh)


def _completed_on(runs: Sequence[PastRun]) -> dict[tuple[str, str], frozenset[str]]:
    """Return the nodes on which work of each group of a pipeline completed."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for run in runs:
        if run.end is EndReason.COMPLETED:
            found[_work(run)] = found.get(_work(run), frozenset()) | frozenset(expand_hosts(run.nodes))
    return found


def _work(run: PastRun) -> tuple[str, str]:
    """Return what runs of the same kind of work have in common."""
    return run.pipeline, run.group or run.task


def suspect_nodes(
    runs: Sequence[PastRun], backend: str, now: datetime, rules: NodeRules = _RULES
) -> tuple[Suspect, ...]:
    """Return the nodes of a backend to avoid; where only one is known, never that."""
    there = [run for run in runs if run.backend == backend]
    known = {node for run in there for node in expand_hosts(run.nodes)}
    if len(known) < 2:
        return ()
    # Of a small cluster one node may be avoided, too. A little over one, for the division must not round down.
    share = max(rules.at_most, 1.001 / len(known))
    return suspects(node_outcomes(there, now), len(known), replace(rules, at_most=share))


def on_gpus(runs: Sequence[PastRun]) -> tuple[PastRun, ...]:
    """Return the runs on one node that said which GPUs they had, each GPU as `node:index` in place of the node.

    All that holds for nodes then holds for GPUs; but for the failures of nodes, which are no GPU's fault.
    """
    known = [run for run in runs if run.gpus and run.node_count == 1 and run.end not in _BY_NODE]
    # One that was over before anybody saw it run has no node: of a backend that is one machine that is no secret.
    hosts: dict[str, set[str]] = defaultdict(set)
    for run in known:
        hosts[run.backend] |= {run.nodes} - {""}
    named = [run._replace(nodes=run.nodes or _only(hosts[run.backend])) for run in known]
    return tuple(
        run._replace(nodes=",".join(_gpu_place(run.nodes, gpu) for gpu in run.gpus)) for run in named if run.nodes
    )


def _only(names: Collection[str]) -> str:
    return next(iter(names)) if len(names) == 1 else ""


def _gpu_place(node: str, gpu: str) -> str:
    return f"{node}:{gpu}"


def not_by_gpus(runs: Sequence[PastRun], bad: Collection[tuple[str, str]]) -> tuple[PastRun, ...]:
    """Return the runs without those that failed on a GPU which is left out anyway: they say nothing against its node.

    `bad` are backends, each with a GPU as `on_gpus` names it.
    """
    return tuple(run for run in runs if run.end is not EndReason.FAILED or not _had_one_of(run, bad))


def _had_one_of(run: PastRun, bad: Collection[tuple[str, str]]) -> bool:
    return any((run.backend, _gpu_place(run.nodes, gpu)) in bad for gpu in run.gpus)


def avoid_until(suspect: Suspect, now: datetime, rules: NodeRules = _RULES) -> datetime:
    """Return when what speaks against a node has faded: it gets work again then, and may prove itself."""
    half_lives = math.log2(max(1.0, suspect.failures / rules.failures))
    return now + max(_SHORTEST, timedelta(seconds=half_lives * rules.half_life_s))


def own_bad_nodes(attempts: Sequence[Attempt], bad_gpus: Collection[BadGpu] = ()) -> frozenset[str]:
    """Return the nodes on which the last two attempts at a task broke, or were not launched: the next should see another.

    Of several nodes of one attempt nobody knows which it was. So should who was given one of the `bad_gpus`.
    """
    nodes = [expand_hosts(one.nodes) for one in attempts[-2:] if _broke(one)]
    broke = [names[0] for names in nodes if len(names) == 1]
    return frozenset([*broke, *(one.node for one in given_back_from(attempts, bad_gpus))])


def _broke(attempt: Attempt) -> bool:
    if attempt.end is None:
        return False
    return may_blame(attempt.end.reason) or is_unexplained(attempt) or is_unheard(attempt)
