"""What each option of each kind of backend means; defaults of slurm and pbs are read from the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["LOCAL", "PBS", "SIMULATED", "SLURM", "Option"]


class Option(NamedTuple):
    """One row of a table."""

    type: str
    meaning: str
    default: str = ""


LOCAL: Mapping[str, Option] = {
    "cpus": Option("count", "Cores that jobs may hold together.", "what the machine allows"),
    "memory": Option("memory", "Memory that they may hold together.", "all of it"),
    "gpus": Option("list of types, or mapping from type to count", "GPUs by type.", "what `nvidia-smi` lists"),
    "gpu_memory": Option("memory", "Memory of each GPU.", "what `nvidia-smi` says"),
    "gpu_parts": Option(
        "mapping from index to count", "GPUs that so many jobs share, each with a shard of it.", "none is shared"
    ),
    "gpu_mps": Option(
        "list of indices", "GPUs that jobs share by MPS, each with so many percents of one.", "none is shared"
    ),
    "overcommit": Option(
        "mapping of `cpus` and `memory` to ratios",
        "How often cores (a whole number) and memory are promised to work that is not guaranteed.",
        "once",
    ),
}

SLURM: Mapping[str, Option] = {
    "path": Option("text", "The folder of Slurm's programs; empty: where `sbatch` is found."),
    "conf": Option("text", "The file for `SLURM_CONF`; empty: that of whoever runs elisa."),
    "cluster": Option("text", "The cluster for `--clusters`, where several share one database."),
    "submit_timeout_s": Option(
        "number above 0", "Seconds after which `sbatch` is given up; its job is then searched for."
    ),
    "query_timeout_s": Option("number above 0", "Seconds after which a question is given up."),
    "accounting": Option("`auto`, `yes`, `no`", "Whether `sacct` is asked; `auto`: until it says that there is none."),
    "history_days": Option("count", "How far back `sacct` searches for a job whose number was never learnt."),
    "signal": Option("text", "The signal that warns a job before its time limit."),
    "gpu_style": Option(
        "`gres`, `gpus-per-node`, `gpus-per-task`",
        "The option of `sbatch` by which GPUs are asked for; the last where each process gets as many, else by node.",
    ),
    "memory_style": Option("`node`, `cpu`", "Whether memory is asked for with `--mem` or with `--mem-per-cpu`."),
    "pyslurm": Option(
        "`auto`, `no`", "Whether libslurm is used where pyslurm can be imported, in place of the programs."
    ),
    "nice_step": Option("count", "How much `--nice` goes up from each priority class to the next lower one."),
    "array_size": Option("count", "How many jobs one array holds, at most Slurm's `MaxArraySize`; below 2: no arrays."),
    "submits_at_once": Option("count", "How many `sbatch` run side by side at most, one for each job or array."),
    "extras": Option("list of text", "Further options of `sbatch` that tasks may pass."),
}

PBS: Mapping[str, Option] = {
    "path": Option("text", "The folder of PBS's programs; empty: where `qsub` is found."),
    "conf": Option("text", "The file for `PBS_CONF_FILE`; empty: that of whoever runs elisa."),
    "server": Option("text", "The server's host; empty leaves it to the machine."),
    "dialect": Option("`auto`, `openpbs`, `torque`", "Whose PBS it is; `auto`: as `qstat --version` tells."),
    "submit_timeout_s": Option(
        "number above 0", "Seconds after which `qsub` is given up; its job is then searched for."
    ),
    "query_timeout_s": Option("number above 0", "Seconds after which a question is given up."),
    "history": Option("`auto`, `yes`, `no`", "Whether the server remembers finished jobs; `auto`: until it says no."),
    "charge": Option("`account`, `project`", "Whether an account is passed with `-A` or with `-P`."),
    "umask": Option("text, octal", "The umask of jobs; empty: that of whoever runs elisa."),
    "gpu": Option("text", "The resource that counts GPUs."),
    "gpu_type": Option("text", "The resource that names the type of a node's GPUs, if there is one."),
    "mps": Option("text", "The resource that counts percents of a node's GPUs, if there is one."),
    "switch": Option("text", "The resource that names a node's switch, if there is one."),
    "name_limit": Option("count", "The longest job name that this PBS takes: 15 on old releases."),
    "priority_step": Option("count", "How much `-p` goes down from each priority class to the next lower one."),
    "array_size": Option(
        "count", "How many jobs one array holds, at most the server's `max_array_size`; below 2: no arrays."
    ),
}

SIMULATED: Mapping[str, Mapping[str, Option]] = {
    "The cluster": {
        "nodes": Option("mapping to a node type", "The nodes, by the name of their type.", "one `node`"),
        "partitions": Option("mapping to a partition", "The queues.", "`batch`"),
        "licences": Option("mapping to count", "Licences, by name."),
        "duration": Option("distribution", "The work of a task that says nothing of it.", "`{lognormal: [1h, 0.5]}`"),
        "faults": Option("faults", "What breaks by itself.", "nothing"),
        "queue": Option(
            "true or false",
            "It has a queue of its own; else elisa keeps all that waits, and room for what is large.",
            "`true`",
        ),
        "arrays": Option(
            "count", "How many jobs that ask for the same thing it takes by one call; 0: it has no arrays."
        ),
        "requeue": Option(
            "true or false", "A job that lost its node or its place starts again, under its id.", "`false`"
        ),
        "accounting": Option("true or false", "Whether forgotten jobs are still found by their tag.", "`true`"),
        "purge_after": Option("duration", "Ended jobs are forgotten after this time.", "`1h`"),
        "reuse_ids": Option("count", "Job numbers start again after so many; 0 is never.", "`0`"),
        "heartbeat": Option("duration", "How often agents report what they use.", "`1h`"),
        "checkpoint": Option("duration", "How often programs save that leave the interval to elisa.", "`30m`"),
        "seed": Option("count", "The same seed gives the same chances.", "`0`"),
    },
    "A node type": {
        "count": Option("count", "How many such nodes there are.", "`1`"),
        "cpus": Option("count", "Cores.", "`8`"),
        "memory": Option("memory", "Memory.", "`32GiB`"),
        "gpus": Option("mapping to count", "GPUs, by type."),
        "gpu_memory": Option("memory", "Memory of each GPU.", "unknown"),
        "features": Option("list of text", "What tasks may ask for under `features`."),
        "partitions": Option("list of text", "The partitions it belongs to.", "all"),
        "speed": Option("number above 0", "2 does the work of a task in half the time.", "`1`"),
        "per_switch": Option("count", "How many of them hang on one leaf switch; 0: that is not known.", "`0`"),
        "overcommit": Option(
            "mapping of `cpus` and `memory` to ratios",
            "How often they are promised to work that is not guaranteed, with `queue: false`.",
            "once",
        ),
    },
    "A partition": {
        "default": Option(
            "true or false", "Whether jobs go here that name none; else they go to the first.", "`false`"
        ),
        "max_walltime": Option("duration", "The longest walltime; `0s` is no limit.", "`0s`"),
        "max_nodes": Option("count", "The most nodes of one job; 0 is no limit.", "`0`"),
        "priority": Option("count", "Jobs of a higher one are looked at first.", "`0`"),
        "preemptible": Option(
            "true or false", "Jobs of partitions with a higher priority may push jobs out.", "`false`"
        ),
        "max_queued": Option("count", "How many may wait before it says that it is full; 0 is no limit.", "`0`"),
        "wait": Option("distribution", "How long a job waits for other people's jobs before it is looked at.", "`0`"),
    },
    "Faults": {
        "node_down_every": Option("duration", "The mean time between failures of nodes; `0s` is never.", "`0s`"),
        "node_down_for": Option("duration", "How long a node stays down.", "`1h`"),
        "nodes_at_once": Option("count", "How many nodes fail at once.", "`1`"),
        "preempt_every": Option("duration", "The mean time until some running job is pushed out.", "`0s`"),
        "outage_every": Option("duration", "The mean time until the cluster stops answering.", "`0s`"),
        "outage_for": Option("duration", "How long it does not answer.", "`30m`"),
        "slow": Option("number from 0 to 1", "The part of jobs that run slowly.", "`0`"),
        "slow_factor": Option("number above 0", "How much longer those take.", "`3`"),
        "answers": Option("answers", "What goes wrong with answers.", "nothing"),
    },
    "Answers": {
        "accept_lost": Option("number from 0 to 1", "A job is accepted, and nobody is told.", "`0`"),
        "accept_late": Option("number from 0 to 1", "The same, but it is accepted `late` later.", "`0`"),
        "lost": Option("number from 0 to 1", "Neither accepted nor answered.", "`0`"),
        "reject": Option("number from 0 to 1", "Refused for good.", "`0`"),
        "busy": Option("number from 0 to 1", "Refused for now.", "`0`"),
        "unreachable": Option("number from 0 to 1", "No answer to a poll, a search or a look at the nodes.", "`0`"),
        "partial": Option("number from 0 to 1", "A job missing from a listing that claims to be complete.", "`0`"),
        "late": Option("duration", "How late `accept_late` is.", "`1m`"),
    },
}
"""By the heading of each table."""
