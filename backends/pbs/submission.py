"""qsub: one job's command, its command line, and what the answer means.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf (qsub) and
http://docs.adaptivecomputing.com/torque/6-1-2/adminGuide/torque.htm#topics/torque/commands/qsub.htm.

OpenPBS runs `qsub -- program arguments` without a login shell: a script's shell reads the user's profile, and dies of the
first signal without telling how the program ended. But qsub drops empty arguments, `-v` mangles quotes and backslashes, the
job starts in the home folder, and output is collected on the node and copied at the end, or lost where that fails. So the
program is /bin/sh with one line of our own: it goes to the job's folder, opens its log, sets the variables, and becomes the
agent.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from elisa.backends.pbs.identity import Names, array_of, native_id_of, split_native_id
from elisa.backends.pbs.options import Charge, Dialect, PbsOptions
from elisa.backends.pbs.ordering import job_priority
from elisa.backends.pbs.refusals import refusal, words_of
from elisa.backends.pbs.states import LAUNCH_SIGNAL
from elisa.backends.runner import Completed
from elisa.model.errors import Rejected, SubmitUncertain
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import MPS, Resources

__all__ = ["EXTRAS", "array_options", "check_extras", "parse_submit", "render_command", "render_script", "submit_argv"]

EXTRAS = {"project": "-P", "mail-events": "-m", "mail-users": "-M", "begin": "-a"}
"""Options of qsub that a task may set for itself; beside them `place`, `resource.NAME` and `chunk.NAME`."""

# What the task's own request says, or what could undo it.
_TAKEN = frozenset({"select", "place", "nodes", "walltime", "ncpus", "mem", "mpiprocs", "ompthreads", "procs"})
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ACCEPTED = re.compile(r"^([0-9]+(?:\.[A-Za-z0-9][A-Za-z0-9.-]*)?)$", re.MULTILINE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def render_command(request: JobRequest, first: AttemptId | None = None) -> str:
    """Return the one line that /bin/sh runs: it becomes the agent, which learns its native id from PBS's own variable.

    `first` is the first attempt of an array. Raises Rejected for a variable that no shell can set.
    """
    folder, out, err = (shlex.quote(path) for path in (request.workdir, request.stdout, request.stderr))
    # `true` and not `:`, after whose failed redirection a shell ends at once
    reach = f"cd -- {folder} && true >>{out} 2>>{err} || kill -{LAUNCH_SIGNAL} $$"
    words = " ".join((*_variables(request, first), *(shlex.quote(word) for word in _program(request))))
    return _seven_bits(f"{reach}; exec env {words} >>{out} 2>>{err}")


def _variables(request: JobRequest, first: AttemptId | None) -> Iterator[str]:
    # PBS gives its jobs /bin:/usr/bin only
    yield 'PATH="${PBS_O_PATH:-$PATH}"'
    for name, value in request.environment:
        if not _VARIABLE.fullmatch(name):
            raise Rejected(f"`{name}` can't be the name of a variable of a job")
        yield f"{name}={shlex.quote(value)}"
    yield "ELISA_NATIVE_ID=" + native_id_of('"$PBS_JOBID"', request.attempt, first)


def _program(request: JobRequest) -> tuple[str, ...]:
    # env takes a first word with = in it for one more variable
    shield = ("/bin/sh", "-c", 'exec "$0" "$@"') if "=" in request.argv[0] else ()
    return (*shield, *request.argv)


def _seven_bits(command: str) -> str:
    """Return a command that does the same, without control characters or letters beyond ASCII.

    PBS shows the command among a job's attributes, line by line: a newline in it could pass for an attribute.
    """
    if _PLAIN.fullmatch(command):
        return command
    octal = "".join(
        chr(byte) if _is_harmless(byte) else f"\\0{byte:03o}" for byte in command.encode(errors="surrogateescape")
    )
    return f"eval \"$(printf %b '{octal}')\""


def _is_harmless(byte: int) -> bool:
    return 0x20 <= byte < 0x7F and chr(byte) not in "\\'"


def render_script(request: JobRequest) -> str:
    """Return what Torque, which runs no programs but scripts, gets on qsub's standard input."""
    return f"#!/bin/sh\n{render_command(request)}\n"


def submit_argv(qsub: str, request: JobRequest, names: Names, options: PbsOptions, dialect: Dialect) -> tuple[str, ...]:
    """Return qsub's command line. Raises Rejected for a wish that can't be passed on."""
    # elisa starts the next attempt itself: PBS would run the same one twice
    own = ("-N", names.of(request.attempt), "-r", "n")
    shell = ("-S", "/bin/sh") if dialect is Dialect.TORQUE else ()
    argv = _checked((qsub, *shell, *own, *_fixed(options.umask), *_wishes(request, options, dialect)))
    program = () if dialect is Dialect.TORQUE else ("--", "/bin/sh", "-c", render_command(request))
    return (*argv, *program)


def array_options(qsub: str, first: JobRequest, name: str, span: str, options: PbsOptions) -> tuple[str, ...]:
    """Return qsub's command line for an array, without its program; PBS takes none that may not be run again."""
    own = ("-N", name, "-J", span, "-r", "y")
    return _checked((qsub, *own, *_fixed(options.umask), *_wishes(first, options, Dialect.OPENPBS)))


def _checked(argv: tuple[str, ...]) -> tuple[str, ...]:
    for word in argv:
        if _CONTROL.search(word):
            raise Rejected("a control character in an option of qsub", why=repr(word))
    return argv


def _fixed(umask: str) -> Iterator[str]:
    # neither mail nor a copy of what the first line of the job already sends to its own files
    yield from ("-m", "n", "-o", "/dev/null", "-e", "/dev/null")
    if umask:
        yield from ("-W", f"umask={umask}")


def _wishes(request: JobRequest, options: PbsOptions, dialect: Dialect) -> Iterator[str]:
    queue = _queue(request, dialect)
    if queue:
        yield from ("-q", queue)
    if dialect is Dialect.TORQUE and _wants_project(request, options):
        words = "Torque knows no projects: its `-P` names the user for whom a job is submitted"
        raise Rejected(words, hint="charge an account: `charge: account`, and no `project` among the extras")
    if request.account:
        yield from ("-P" if options.charge is Charge.PROJECT else "-A", request.account)
    depend = ",".join(
        f"{kind}:{_ids(others)}"
        for kind, others in (("afterok", request.after), ("afterany", request.after_any))
        if others
    )
    if depend:
        yield from ("-W", f"depend={depend}")
    lower = job_priority(request.priority, options)
    if lower:
        yield from ("-p", str(lower))
    yield from _extras(request)
    resources = _resources(request, options, dialect)
    # of several -l not everything that reads Torque's options takes more than the last
    for wish in (",".join(resources),) if dialect is Dialect.TORQUE else resources:
        yield from ("-l", wish)
    if request.resources.exclusive and dialect is Dialect.TORQUE:
        yield "-n"


def _wants_project(request: JobRequest, options: PbsOptions) -> bool:
    return "project" in dict(request.extras) or bool(request.account and options.charge is Charge.PROJECT)


def _queue(request: JobRequest, dialect: Dialect) -> str:
    if not request.reservation or dialect is Dialect.TORQUE:
        return request.partition
    if request.partition:
        words = "a reservation of PBS is a queue: a job can't go to another one too"
        raise Rejected(words, why=f"reservation {request.reservation}, queue {request.partition}")
    return request.reservation


def _ids(after: tuple[NativeId, ...]) -> str:
    known = [split_native_id(native_id) for native_id in after]
    if None in known:
        raise Rejected("a dependency on a job that is not PBS's", why=", ".join(after))
    # PBS knows no dependency on an element of an array, but on all of them
    return ":".join(dict.fromkeys(array_of(ref.pbs_id) for ref in known if ref))


def check_extras(request: JobRequest) -> None:
    """Raise Rejected for an option that a task may not pass on."""
    for _ in _extras(request):
        pass


def _extras(request: JobRequest) -> Iterator[str]:
    for name, value in request.extras:
        kind, dot, resource = name.partition(".")
        is_resource = dot and kind in {"resource", "chunk"} and _RESOURCE.fullmatch(resource)
        if name in EXTRAS:
            yield from (EXTRAS[name], value)
        elif name != "place" and (not is_resource or resource in _TAKEN):
            hint = f"allowed are {', '.join(sorted(EXTRAS))}, place, resource.NAME and chunk.NAME"
            raise Rejected(f"`{name}` is no option that a task may pass to qsub", hint=hint)


def _named(request: JobRequest, kind: str) -> Iterator[tuple[str, str]]:
    for name, value in request.extras:
        if name.startswith(f"{kind}."):
            yield name.removeprefix(f"{kind}."), value


def _resources(request: JobRequest, options: PbsOptions, dialect: Dialect) -> Iterator[str]:
    asked = request.resources
    if dialect is Dialect.TORQUE:
        yield from _torque_nodes(request)
    else:
        yield f"select={_on_hosts(asked, ':'.join(_chunk(request, options)))}"
        yield f"place={_place(request, options)}"
    yield f"walltime={asked.walltime_s}"
    yield from (f"{name}={count}" for name, count in asked.licences)
    yield from (f"{name}={value}" for name, value in _named(request, "resource"))


def _on_hosts(asked: Resources, chunk: str) -> str:
    """Return what is selected: so many nodes that are alike, or one chunk for each host that has to be among them."""
    if not asked.nodelist:
        return f"{asked.nodes}:{chunk}"
    return "+".join(f"1:{chunk}:host={host}" for host in asked.nodelist)


def _chunk(request: JobRequest, options: PbsOptions) -> Iterator[str]:
    asked = request.resources
    if request.qos:
        raise Rejected("PBS knows no quality of service", hint="name a queue instead")
    yield f"ncpus={asked.cpus_per_node}"
    yield f"mpiprocs={asked.tasks_per_node}"
    yield f"ompthreads={asked.cpus_per_task}"
    if asked.memory_mib_per_node:
        yield f"mem={asked.memory_mib_per_node}mb"
    yield from _gpus(asked, options)
    yield from (feature if "=" in feature else f"{feature}=True" for feature in asked.features)
    if asked.constraint:
        yield asked.constraint
    yield from (f"{name}={value}" for name, value in _named(request, "chunk"))


def _gpus(asked: Resources, options: PbsOptions) -> Iterator[str]:
    if not asked.gpus.per_node:
        return
    if MPS in asked.gpus.types:
        if not options.mps:
            raise _without_percents(
                "set `mps` of the pbs backend to the resource that counts percents of a node's GPUs"
            )
        yield f"{options.mps}={asked.gpus.per_node}"
        return
    yield f"{options.gpu}={asked.gpus.per_node}"
    # PBS can't say "one of these types": the most preferred one that the placement left
    for kind in asked.gpus.types[:1]:
        if not options.gpu_type:
            hint = "set `gpu_type` of the pbs backend to the resource that names the type of a node's GPUs"
            raise Rejected(f"this PBS is not told how to ask for GPUs of the type {kind}", hint=hint)
        yield f"{options.gpu_type}={kind}"


def _without_percents(hint: str) -> Rejected:
    why = "PBS by itself shares no GPU by MPS"
    return Rejected("this PBS is not told how to ask for a percentage of a GPU", why, f"{hint}, or ask for whole GPUs")


def _place(request: JobRequest, options: PbsOptions) -> str:
    wish = dict(request.extras).get("place", "")
    if wish:
        return wish
    arrangement = "scatter" if request.resources.nodes > 1 else "pack"
    sharing = ("exclhost",) if request.resources.exclusive else ()
    return ":".join((arrangement, *sharing, *_group(request.resources, options)))


def _group(asked: Resources, options: PbsOptions) -> Iterator[str]:
    if not asked.switches or asked.nodes == 1:
        return
    if not options.switch:
        hint = "set `switch` of the pbs backend to the resource that names a node's switch"
        raise Rejected("this PBS is not told how to keep a job on few switches", hint=hint)
    if asked.switches > 1:
        raise Rejected(f"PBS keeps a job on one switch, not on {asked.switches}", hint="ask for `switches: 1`")
    yield f"group={options.switch}"


def _torque_nodes(request: JobRequest) -> Iterator[str]:
    asked = request.resources
    parts = [f"ppn={asked.cpus_per_node}"]
    if MPS in asked.gpus.types:
        raise _without_percents("choose another backend")
    if asked.gpus.per_node:
        parts += [f"gpus={asked.gpus.per_node}", *asked.gpus.types[:1]]
    parts += [*asked.features, *([asked.constraint] if asked.constraint else [])]
    each = ":".join((*parts, *(f"{name}={value}" for name, value in _named(request, "chunk"))))
    yield "nodes=" + "+".join(f"{name}:{each}" for name in asked.nodelist or (str(asked.nodes),))
    if asked.memory_mib_per_node:
        yield f"mem={asked.memory_mib}mb"
    if request.qos:
        yield f"qos={request.qos}"
    if request.reservation:
        yield f"advres={request.reservation}"


def parse_submit(answer: Completed, attempt: AttemptId) -> NativeId:
    """Return the native id in qsub's answer. Raises Rejected, Unavailable or SubmitUncertain."""
    if not answer.ok:
        raise refusal(answer)
    found = _ACCEPTED.findall(answer.stdout)
    if len(found) != 1:
        raise SubmitUncertain("qsub named no job", why=words_of(answer))
    return native_id_of(found[0], attempt)
