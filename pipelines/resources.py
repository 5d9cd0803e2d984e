"""The language of means: what a task asks for, where, and together with whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from elisa.model.affinity import Affinity, Over
from elisa.model.pipeline import (
    Gang,
    SitePlacement,
)
from elisa.model.resources import MPS, PERCENT, SHARD, Component, DataWish, Elastic, GpuRequest, Resources
from elisa.pipelines.kinds import (
    Boolean,
    Choice,
    Integer,
    Text,
    duration,
    memory,
)
from elisa.pipelines.nodes import MapNode
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Either, Field, ListOf, MapOf, OneOrMany, Record
from elisa.pipelines.words import LABELS, NAME, REFERENCE, SITE_WORD

__all__ = ["GANG", "GPU_RANGE", "NODE_RANGE", "PLACEMENT", "RESOURCES"]

_EXPRESSION = Text(
    words="an expression without quotes or spaces", pattern=r"[A-Za-z0-9_(\[][A-Za-z0-9_.&|*()\[\]:=+-]{0,255}"
)


def _check_gpus(gpus: GpuRequest, node: MapNode, problems: Problems) -> None:
    share = next((name for name in ("shards", "mps") if node.find(name)), None)
    for name in ("count", "types", "memory", "mps"):
        entry = node.find(name)
        if entry and share not in {None, name}:
            hint = "a share is of whatever GPU the site shares"
            problems.add(entry.key.mark, f"`gpus` has both `{share}` and `{name}`", name, hint)
        elif entry and not gpus.per_node and name not in {"count", "mps"}:
            problems.add(entry.key.mark, f"`gpus` has `{name}` but asks for no gpu", name, "add `count: 1`")


def _gpu_request(*, shards: int = 0, mps: int = 0, **asked: Any) -> GpuRequest:  # noqa: ANN401 - what the fields read
    if mps:
        return GpuRequest(per_node=mps, types=(MPS,), parts=PERCENT)
    return GpuRequest(per_node=shards, types=(SHARD,)) if shards else GpuRequest(**asked)


_GPU_FIELDS: Mapping[str, Field] = {
    "count": Field(kind=Integer(most=10_000), about="GPUs on each node.", to="per_node"),
    "types": Field(
        kind=OneOrMany(kind=SITE_WORD), about="Models that will do, best first, such as a100; any if left out."
    ),
    "memory": Field(kind=memory(), about="The least memory of one GPU, such as 40GiB.", to="memory_mib"),
    "shards": Field(
        kind=Integer(least=1, most=10_000),
        about="Shares of GPUs that the site shares between jobs, in place of whole ones.",
    ),
    "mps": Field(
        kind=Integer(least=1, most=PERCENT),
        about="Percents of one GPU that the site shares by MPS, on each node, in place of whole ones.",
    ),
}
_GPU_ALIASES = (("type", "types"), ("per_node", "count"), ("number", "count"), ("model", "types"), ("mem", "memory"))
_GPUS = Record(title="gpus", fields=_GPU_FIELDS, build=_gpu_request, check=_check_gpus, aliases=_GPU_ALIASES)

_RANGE_ALIASES = (("minimum", "min"), ("maximum", "max"), ("least", "min"), ("most", "max"), ("multiple_of", "step"))
_GpuWish = tuple[GpuRequest, Elastic | None]
_NO_GPUS: _GpuWish = (GpuRequest(), None)


def _gpu_wish(*, least: int = 0, most: int = 0, step: int = 1, **asked: Any) -> _GpuWish:  # noqa: ANN401 - as above
    gpus = _gpu_request(**asked)
    if not (least and most):
        return gpus, None
    return replace(gpus, per_node=least), Elastic(least=least, most=most, step=step, of_gpus=True)


def _check_gpu_wish(asked: _GpuWish, node: MapNode, problems: Problems) -> None:
    gpus, elastic = asked
    ranged = next((entry for entry in map(node.find, ("min", "max", "step")) if entry), None)
    other = next((entry for entry in map(node.find, ("count", "shards", "mps")) if entry), None)
    if ranged and other:
        hint = f"keep `{other.key.text}`, or `min` and `max`"
        problems.add(other.key.mark, f"`gpus` has both `{other.key.text}` and a range", other.key.text, hint)
    elif ranged and not (node.find("min") and node.find("max")):
        problems.add(ranged.key.mark, f"`gpus` has `{ranged.key.text}` but no range", hint="write both `min` and `max`")
    elif elastic is not None:
        _check_range(elastic, node, problems)
    elif not ranged:
        _check_gpus(gpus, node, problems)


def _resources(
    *,
    nodes: int | Elastic = 1,
    gpus: _GpuWish = _NO_GPUS,
    memory_mib_per_cpu: int = 0,
    switches: tuple[int, int] = (0, 0),
    **asked: Any,  # noqa: ANN401 - what the fields read
) -> Resources:
    """Return what is asked for; memory for each core is memory on each node, and a range begins with the least."""
    elastic = gpus[1]
    if isinstance(nodes, Elastic):
        elastic, nodes = nodes, nodes.least
    if elastic is not None and elastic.least < elastic.most:
        asked["elastic"] = elastic
    most, wait_s = switches
    resources = Resources(nodes=nodes, gpus=gpus[0], switches=most, switches_wait_s=wait_s, **asked)
    if not memory_mib_per_cpu:
        return resources
    return replace(resources, memory_mib_per_node=memory_mib_per_cpu * resources.cpus_per_node)


def _check_affinity(wish: Affinity, node: MapNode, problems: Problems) -> None:
    if not (wish.tasks or wish.labels):
        problems.add(node.mark, "affinity names nobody", hint="add `tasks: [NAME]` or `labels: {NAME: VALUE}`")


def _check_resources(asked: Resources, node: MapNode, problems: Problems) -> None:
    _check_memory(node, problems)
    entry = node.find("components")
    if entry and asked.elastic is not None:
        hint = f"ask for a fixed number of {asked.elastic.unit} beside nodes of other kinds"
        what = f"`resources` has both `components` and a range of `{asked.elastic.unit}`"
        problems.add(entry.key.mark, what, "components", hint)
    gpus, nodes, whole = (node.find(name) for name in ("gpus", "nodes", "exclusive"))
    has_gpu_range = gpus is not None and isinstance(gpus.value, MapNode) and bool(gpus.value.find("min"))
    if nodes and has_gpu_range and isinstance(nodes.value, MapNode):
        hint = "one of the two follows what is free: keep a fixed number of the other"
        problems.add(nodes.key.mark, "`resources` has a range of `nodes` and one of `gpus`", "nodes", hint)
    if whole and has_gpu_range and asked.exclusive:
        hint = "whole nodes come with all of their gpus: leave one of the two out"
        problems.add(whole.key.mark, "`resources` has both `exclusive` and a range of `gpus`", "exclusive", hint)


def _check_memory(node: MapNode, problems: Problems) -> None:
    per_cpu = node.find("memory_per_cpu")
    if per_cpu and node.find("memory"):
        hint = "keep one of the two: `memory` is for each node"
        problems.add(per_cpu.key.mark, "`resources` has both `memory` and `memory_per_cpu`", "memory_per_cpu", hint)


_DATA_NAME = Text(words="a data set's name or an absolute path", pattern=r"[A-Za-z0-9_/][^\x00-\x1f\x7f]{0,1023}")
_DATA = Record(
    title="data",
    fields={
        "name": Field(kind=_DATA_NAME, about="The data set's name in site.yaml, or an absolute path.", required=True),
        "required": Field(kind=Boolean(), about="It runs nowhere else than where these data are."),
    },
    build=DataWish,
    aliases=(("path", "name"), ("dataset", "name"), ("must", "required")),
)
_SWITCH_COUNT = Integer(least=1, most=10_000)
_SWITCHES = Record(
    title="switches",
    fields={
        "most": Field(kind=_SWITCH_COUNT, about="At most so many leaf switches.", required=True),
        "wait": Field(
            kind=duration(), about="Slurm waits for that no longer than this; then any nodes will do.", to="wait_s"
        ),
    },
    build=lambda most, wait_s=0: (most, wait_s),
    aliases=(("max", "most"), ("count", "most"), ("max_wait", "wait")),
)

# What people try in its place.
_ALIASES = (
    ("cpu", "cpus"), ("ncpus", "cpus"), ("cores", "cpus"), ("cpus_per_task", "cpus"), ("threads", "cpus"),
    ("mem", "memory"), ("memory_mib", "memory"), ("ram", "memory"), ("time", "walltime"), ("runtime", "walltime"),
    ("time_limit", "walltime"), ("gpu", "gpus"), ("ngpus", "gpus"), ("ntasks_per_node", "tasks_per_node"),
    ("ranks", "tasks_per_node"), ("licenses", "licences"), ("license", "licences"), ("node", "nodes"),
    ("constraints", "constraint"), ("mem_per_cpu", "memory_per_cpu"), ("memory_per_core", "memory_per_cpu"),
    ("inputs", "data"), ("datasets", "data"),
)  # fmt: skip


def _check_range(asked: Elastic, node: MapNode, problems: Problems) -> None:
    if asked.most < asked.least:
        problems.add(
            node.mark,
            f"`{asked.unit}` has a `max` of {asked.most}, below its `min` of {asked.least}",
            hint="raise `max`",
        )
    elif asked.least % asked.step or asked.most % asked.step:
        hint = f"write multiples of {asked.step}, or leave `step` out"
        problems.add(
            node.mark, f"`{asked.unit}` has bounds that are no multiples of its `step` of {asked.step}", hint=hint
        )


NODE_RANGE = Record(
    title="nodes",
    fields={
        "min": Field(kind=Integer(least=1, most=1_000_000), about="The least that will do.", to="least", required=True),
        "max": Field(
            kind=Integer(least=1, most=1_000_000), about="The most that it can use.", to="most", required=True
        ),
        "step": Field(kind=Integer(least=1, most=100_000), about="Only multiples of this will do."),
    },
    build=Elastic,
    check=_check_range,
    aliases=_RANGE_ALIASES,
)
GPU_RANGE = Record(
    title="gpus",
    fields={
        **_GPU_FIELDS,
        "min": Field(
            kind=Integer(least=1, most=10_000),
            about="The least on each node that will do, in place of `count`.",
            to="least",
        ),
        "max": Field(kind=Integer(least=1, most=10_000), about="The most on each node that it can use.", to="most"),
        "step": Field(kind=Integer(least=1, most=10_000), about="Only multiples of this will do."),
    },
    build=_gpu_wish,
    check=_check_gpu_wish,
    aliases=(*_GPU_ALIASES, *_RANGE_ALIASES),
)
_NODES: Mapping[str, Field] = {
    "nodes": Field(kind=Integer(least=1, most=1_000_000), about="Nodes."),
    "tasks_per_node": Field(kind=Integer(least=1, most=100_000), about="Processes (ranks) on each node."),
    "cpus": Field(kind=Integer(least=1, most=100_000), about="Cores for each process.", to="cpus_per_task"),
    "memory": Field(kind=memory(), about="Memory on each node, such as 16GiB.", to="memory_mib_per_node"),
    "gpus": Field(
        kind=Either(short=Integer(most=10_000), long=_GPUS, widen=lambda count: GpuRequest(per_node=count)),
        about="GPUs on each node: a number, or count, types and memory, or shards or percents of them.",
    ),
    "features": Field(kind=OneOrMany(kind=SITE_WORD), about="Features that every node must have."),
    "constraint": Field(kind=_EXPRESSION, about="A feature expression in the resource manager's own language."),
}
"""What is asked for of nodes that are alike."""

_COMPONENT = Record(title="component", fields=_NODES, build=Component, aliases=_ALIASES)
RESOURCES = Record(
    title="resources",
    fields={
        "nodes": Field(
            kind=Either(short=_NODES["nodes"].kind, long=NODE_RANGE, widen=lambda count: count),
            about="Nodes: a number, or `min` and `max` for work that can run on more or fewer.",
        ),
        **{name: _NODES[name] for name in ("tasks_per_node", "cpus", "memory")},
        "memory_per_cpu": Field(
            kind=memory(), about="Memory for each core, in place of `memory`, such as 4GiB.", to="memory_mib_per_cpu"
        ),
        "walltime": Field(
            kind=duration(), about="The longest it may run, such as 2h30m; else one hour.", to="walltime_s"
        ),
        "gpus": Field(
            kind=Either(
                short=Integer(most=10_000), long=GPU_RANGE, widen=lambda count: (GpuRequest(per_node=count), None)
            ),
            about="GPUs on each node: a number, or count, types and memory, or `min` and `max`, or shards or percents of them.",
        ),
        "licences": Field(
            kind=MapOf(kind=Integer(least=1), key=SITE_WORD),
            about="Licences of the resource manager, by name and number.",
        ),
        "features": _NODES["features"],
        "tolerations": Field(
            kind=OneOrMany(kind=SITE_WORD), about="Taints that a node may have, of those that the site gave to nodes."
        ),
        "constraint": _NODES["constraint"],
        "data": Field(
            kind=OneOrMany(kind=Either(short=_DATA_NAME, long=_DATA, widen=lambda name: DataWish(name=name))),
            about="Data sets of the site that it reads, by name, or paths; it runs near them where it can.",
        ),
        "numa": Field(
            kind=Boolean(),
            about="A hint: keep its cores, memory and GPUs on each node close together, on one NUMA node.",
        ),
        "switches": Field(
            kind=Either(short=_SWITCH_COUNT, long=_SWITCHES, widen=lambda most: (most, 0)),
            about="The nodes hang on at most so many leaf switches: a number, or `most` and `wait`.",
        ),
        "exclusive": Field(kind=Boolean(), about="Share the nodes with no other job."),
        "components": Field(
            kind=ListOf(kind=_COMPONENT),
            about="Nodes of other kinds beside these, all at once: a heterogeneous job of Slurm.",
        ),
    },
    build=_resources,
    check=_check_resources,
    aliases=_ALIASES,
)

_AFFINITY = OneOrMany(
    kind=Either(
        short=REFERENCE,
        long=Record(
            title="affinity",
            fields={
                "tasks": Field(kind=OneOrMany(kind=REFERENCE), about="Tasks of the pipeline, by name."),
                "labels": Field(kind=LABELS, about="Labels that the others carry: tasks of the same project."),
                "over": Field(
                    kind=Choice(values=Over),
                    about="What they share, or do not: `node`, or `switch` for the leaf switch; a node if left out.",
                ),
                "weight": Field(
                    kind=Integer(least=1, most=100),
                    about="It is preferred, and counts so much among its wishes; left out, it must be so.",
                ),
            },
            build=Affinity,
            check=_check_affinity,
            aliases=(
                ("task", "tasks"),
                ("label", "labels"),
                ("match_labels", "labels"),
                ("name", "tasks"),
                ("scope", "over"),
                ("topology", "over"),
            ),
        ),
        widen=lambda name: Affinity(tasks=(name,)),
    )
)


def _placement(
    *,
    affinity: tuple[Affinity, ...] = (),
    anti_affinity: tuple[Affinity, ...] = (),
    **said: Any,  # noqa: ANN401 - what the fields read
) -> SitePlacement:
    apart = (replace(one, apart=True) for one in anti_affinity)
    return SitePlacement(affinity=(*affinity, *apart), **said)


PLACEMENT = Record(
    title="placement",
    fields={
        "backend": Field(kind=NAME, about="The configured resource manager to use."),
        "partition": Field(kind=SITE_WORD, about="The partition or queue."),
        "account": Field(kind=SITE_WORD, about="The account to charge at the resource manager."),
        "qos": Field(kind=SITE_WORD, about="The quality of service."),
        "reservation": Field(kind=SITE_WORD, about="A reservation to run in."),
        "extras": Field(
            kind=MapOf(
                kind=Text(words="a text", empty=True, longest=256),
                # a dot is for PBS: `resource.NAME`
                key=Text(words="an option's name", pattern=r"[A-Za-z][A-Za-z0-9_.-]{0,62}"),
            ),
            about="Further options of the resource manager, by long name, passed on as they are.",
        ),
        "at_once": Field(
            kind=Integer(least=1, most=100_000),
            about="Of its jobs that are submitted as one array (a matrix), at most so many run at a time.",
        ),
        "affinity": Field(
            kind=_AFFINITY, about="Tasks beside which it must run, or prefers to: on their nodes or switches."
        ),
        "anti_affinity": Field(
            kind=_AFFINITY, about="Tasks apart from which it must run, or prefers to: on other nodes or switches."
        ),
    },
    build=_placement,
    aliases=(
        ("queue", "partition"),
        ("cluster", "backend"),
        ("options", "extras"),
        ("beside", "affinity"),
        ("colocate", "affinity"),
        ("antiaffinity", "anti_affinity"),
        ("apart", "anti_affinity"),
        ("spread", "anti_affinity"),
    ),
)

GANG = Either(
    short=NAME,
    long=Record(
        title="gang",
        fields={
            "name": Field(kind=NAME, about="All tasks with this name start together or not at all.", required=True),
            "minimum": Field(kind=Integer(least=1), about="Start as soon as so many can; all if left out."),
            "timeout": Field(kind=duration(), about="Give up waiting for the others after this time.", to="timeout_s"),
        },
        build=Gang,
        aliases=(("min", "minimum"), ("at_least", "minimum")),
    ),
    widen=lambda name: Gang(name=name),
)
