"""Reasons in plain words: the one place where a code and its facts become a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from elisa.model.closures import CLOSING
from elisa.model.metered import EVERYBODY
from elisa.model.reasons import Fact, Reason, ReasonCode
from elisa.model.states import EndReason
from elisa.model.units import format_duration, format_memory

from .amounts import in_hours
from .users import user_name

__all__ = ["in_words", "parked_words"]

_C = ReasonCode

# A fact in braces is filled in; a sentence without one of its facts falls back to the code and what facts there are.
_SENTENCES: Mapping[ReasonCode, str] = {
    _C.NEEDS_UNMET: "it waits for {waiting_for}",
    _C.BACKING_OFF: "it waits until {not_before} before it is tried again (failures so far: {failures})",
    _C.HELD_BY_USER: "{by} holds it; `elisa release` lets it go on",
    _C.EXPANSION_PENDING: "its tasks are made from what {source} will write",
    _C.NO_ROOM: "{backend} has no room now: it asks for {asked} {resource}, {free} are free",
    _C.NEVER_FITS: "it can never start: it asks for {asked} {resource}, {most}",
    _C.GPUS_LEFT_OUT: "it asks for {asked} GPUs a node, and no node has more than {largest} as long as {bad} is left out,"
    " which it is until {until}",
    _C.WINDOW_FULL: "{queued} jobs of elisa already wait in {where}, where at most {window} may",
    _C.BUDGET_EXHAUSTED: "{bearer} has {left} {resource} left of {cap}{per}, this asks for {asked}",
    _C.CONCURRENCY_CAP: "{bearer} uses {in_use} {resource} of the {cap} it may use at once, this asks for {asked}",
    _C.RESERVED_FOR_HIGHER: "{kept_room}",
    _C.HELD_FOR: "{backend} holds {what} for {holder}: it asks for {walltime_s}",
    _C.AFFINITY: "{affinity}",
    _C.CLOSED: "{closed}: it asks for {walltime_s}{pinned}",
    _C.GANG_TOO_LARGE: "its gang {gang} can never start: {needed} members must run at once, and were all nodes free,"
    " {largest} would fit",
    _C.GANG_INCOMPLETE: "its gang {gang} has {ready} of the {needed} members it needs",
    _C.BACKEND_UNREACHABLE: "{backend} does not answer: {error}",
    _C.BACKEND_BUSY: "{backend} asks us to come back later: {words}",
    _C.NO_BACKEND: "{nowhere}",
    _C.WOULD_BE_REFUSED: "{backend} would refuse it: {words}",
    _C.SUBMIT_RATE: "{backend} takes at most {limit} submissions a tick",
    _C.OTHER_OWNER: "it belongs to {owner}; only a tick of its owner may start it",
    _C.SUBMITTED_BY_USER: "it was submitted",
    _C.NEEDS_MET: "all that it needs has come",
    _C.CHOSEN: "it was chosen, as number {rank} of this tick, for {where}",
    _C.FUSED: "it shares the native job of {leader}, which asks for the same, in {where}",
    _C.NOT_BEGUN: "its turn in the job that it shares did not come: {why}",
    _C.CHAINED: "it was queued behind {behind}, for {where}",
    _C.CHAIN_BROKEN: "it did not begin, for it was queued behind {behind}; what it needs is looked at again",
    _C.QUEUED_AHEAD: "it was queued ahead behind {behind}, which it goes on from, for {where}",
    _C.CONTINUED: "it goes on after {after} in {attempt}, which was queued ahead",
    _C.NOT_WANTED: "it was taken back from the queue: {behind} did not end so that it could go on",
    _C.STOPPED_FOR_SURE: "what ran on the failed node has stopped for sure",
    _C.SILENT_FOR_SURE: "what ran on the failed node has been silent for {silent_s}, and has stopped for sure",
    _C.NODES_BEGAN_ANEW: "nothing runs any more on {nodes}, switched off or booted since",
    _C.SUCCEEDED: "it finished",
    _C.RETRY: "it is tried again after {after}: failure {failures} of the {limit} that are allowed",
    _C.RESUME: "it goes on after {after}, which cost it no retry",
    _C.GIVEN_BACK: "it goes elsewhere, which cost it no retry: {detail}",
    _C.SPINS: "it came back {times} times in {within_s} without getting any further ({causes}): it waits until {not_before},"
    " and once it runs it is left alone until it has",
    _C.IN_CIRCLE: "it gave way, because none could begin before another: {circle}",
    _C.RETRIES_USED_UP: "it failed for good: {end}, and its {limit} retries are used up",
    _C.NOT_RETRYABLE: "it failed for good: after {after} a retry would not help or is not wanted",
    _C.SAME_FAILURE: "it failed for good: the same failure ({alike}) came {times} times at step {step}",
    _C.NEED_FAILED: "{task}, which it needs, is {state}",
    _C.NEED_TIMED_OUT: "what it needs did not come within {waited_s}",
    _C.CONDITION_FALSE: "its condition `{when}` is false",
    _C.CONDITION_UNDECIDABLE: "its condition `{when}` cannot be decided: {missing} was never reported",
    _C.EXPANDED: "{count} tasks were made from it",
    _C.EXPANSION_INVALID: "no tasks could be made from it: {words}",
    _C.CANCELLED_BY_USER: "{by} cancelled it",
    _C.CANCELLED_OUTSIDE: "somebody cancelled its native job {native_id} outside of elisa",
    _C.CANCELLED_UNEXPLAINED: "its native job {native_id} was cancelled before its program began, and nobody can tell by whom:"
    " it is tried once more",
    _C.HELD_UNEXPLAINED: "its native jobs {before} and {native_id} were cancelled before its program began, and nobody can tell"
    " by whom: `elisa release` lets it go on, `elisa cancel` ends it",
    _C.HELD_FORGOTTEN: "its native jobs {before} and {native_id} were over one after the other, and their resource manager"
    " has no record of why, nor of who may have deleted them: `elisa release` lets it go on, `elisa cancel` ends it",
    _C.HELD: "it was held",
    _C.RELEASED: "it was released",
    _C.RETRIED_BY_USER: "a person asked to try it again",
    _C.RESUME_CHOSEN: "{by} chose where its next attempt begins",
    _C.TAKEN_OVER: "it was taken as it was in {task}",
    _C.RAN_ELSEWHERE: "another attempt had already claimed it, so this one did nothing",
    _C.INTENT: "it is about to be handed to {backend}",
    _C.ACCEPTED: "it was accepted as {native_id}",
    _C.ADOPTED: "the answer was lost; it was found again as {native_id}",
    _C.NEVER_SUBMITTED: "it never reached the resource manager",
    _C.SEEN: "the resource manager says {state}",
    _C.SAID_BY_JOB: "the job itself said so",
    _C.GONE_AFTER_GRACE: "nobody has heard of it any more",
    _C.NEVER_BEGAN: "its manager has called {native_id} running for {given_s}, and it was shut out",
    _C.REFUSED_BY_BACKEND: "the resource manager refused it: {words}",
    _C.DUPLICATE_CANCELLED: "a second native job, {native_id}, carried its tag and was cancelled",
    _C.PREEMPTED_FOR: "it made room for {task}",
    _C.GAVE_BACK: "its gang {gang} had only {running} of {size} members running for {waited_s}: all of it starts anew",
    _C.NODES_LOST: "it was taken back from the queue, for {nodes} of {backend}, which it waited for, take no jobs now",
    _C.CLEARED: "it has to leave: {closed}",
    _C.SHRINKS: "it saves and starts again on fewer {of} than {was}, {size} or more, so that {task} can start",
    _C.GROWS: "it saves and starts again on {size} {of} in place of {was}: they have stood idle for {idle_s}",
    _C.LENT_BACK: "it saves and leaves {backend}: {what} are reserved there for project {project}, whose {task} needs room",
    _C.PRESSED: "it saves and leaves: {node} is short of {short_mib} of memory, and {service} work leaves first",
    _C.PARKED: "it saves and parks: {bearer} holds {in_use} {resource}, and may have {cap}",
    _C.UNCHAINED: "it was taken back from the queue: {behind}, which it was queued behind, will not let it begin",
    _C.CAP_CUT: "it was taken back from the queue, for {bearer} may not have as much any more",
    _C.GAVE_PLACE: "it was taken back from the queue, for {task} comes before it and lacks {why}",
    _C.OVER_LIMIT: "it used {seen} {resource}, more than the {limit} it may",
}


def in_words(reason: Reason) -> str:
    """Return the reason as one sentence without a full stop; a step it resumes from is told too."""
    facts = {name: _fact(name, fact) for name, fact in in_hours(reason.facts).items()}
    facts |= {
        **_where(reason.facts),
        **_closed(reason),
        **_affinity(reason),
        **_most(reason),
        **_nowhere(reason),
        **_kept_room(reason),
        **_end(facts),
    }
    try:
        sentence = _SENTENCES[reason.code].format_map({"of": "nodes", **facts, **_held(reason), **_bearer(reason)})
    except KeyError:
        told = ", ".join(f"{name} {fact}" for name, fact in facts.items())
        sentence = f"{reason.code.value.replace('_', ' ')}{f' ({told})' if told else ''}"
    if reason.code is _C.CANCELLED_OUTSIDE and reason.facts.get("words"):
        sentence += f" ({reason.facts['words']})"
    if reason.facts.get("on"):
        sentence += f", on {reason.facts['on']}"
    if reason.facts.get("kept_off"):
        sentence += f", but not on {reason.facts['kept_off']}"
    if reason.code in _KEPT_ROOM and reason.facts.get("nodes") and reason.facts.get("starts_at"):
        sentence += f"; room is kept for it from {_moment(str(reason.facts['starts_at']))} on"
    if reason.facts.get("shortened_s"):
        sentence += f", for {facts['shortened_s']} of the {facts['asked_s']} it asks for, because its place closes"
    sentence += "".join(words.format_map(facts) for name, words in _ADDED.items() if reason.facts.get(name))
    if reason.facts.get("lent_by"):
        sentence += f", in room that project {reason.facts['lent_by']} lends until it needs it"
    if reason.facts.get("most"):
        sentence += ", with {size} of {least} to {most} {of}".format_map({"of": "nodes", **facts})
    if reason.facts.get("of_age_at"):
        sentence += f", ahead of all others, for it came of age on {_moment(str(reason.facts['of_age_at']))}"
    if reason.facts.get("urged_by"):
        sentence += f", as urgent as {reason.facts['urged_by']}, which waits for it"
    if "grown_mib" in facts:
        sentence += "; it may use {grown_mib} of memory in place of {was_mib}".format_map(facts)
    if "grown_s" in facts:
        sentence += "; it may run for {grown_s} in place of {was_s}".format_map(facts)
    step = reason.facts.get("resume_step")
    return sentence if step is None or step == "" else f"{sentence}; it resumes from step {step}"


# Who has room kept is told when, on top of why it does not start now.
_KEPT_ROOM = frozenset({_C.NO_ROOM, _C.RESERVED_FOR_HIGHER, _C.AFFINITY})
_ADDED: Mapping[str, str] = {
    "kept": "; what is left is kept for a task that has come of age",
    "tries": ", on {tries} to measure how fast such work is there",
    "before_step": "; it goes back before step {before_step}, for twice it died on loading that",
}
_PARKS = frozenset({_C.BUDGET_EXHAUSTED, _C.CONCURRENCY_CAP})


def parked_words(code: str, end: str, saved_step: int | None) -> str:
    """Return what comes before the reason of a task that saved, left and waits for its project's caps; "" for others.

    `code` is why it was passed over, `end` how its newest attempt ended.
    """
    if code not in _PARKS or end != EndReason.CANCELLED:
        return ""
    return "parked: " if saved_step is None else f"parked at step {saved_step}: "


# An end's name as what comes before something else; the others can stand as they are.
_AFTER = {"failed": "a failure", "cancelled": "being stopped", "preempted": "being preempted", "lost": "being lost"}


def _end(facts: Mapping[str, str]) -> Mapping[str, str]:
    """Name an end as what was before, and as what came again."""
    if "end" not in facts:
        return {}
    told = [f"{name.replace('_', ' ')} {facts[name]}" for name in ("exit_code", "signal") if name in facts]
    return {"after": _AFTER.get(facts["end"], facts["end"]), "alike": ", ".join([facts["end"], *told])}


def _closed(reason: Reason) -> Mapping[str, str]:
    """Say which place is closed, and when, and whether work may go elsewhere."""
    if reason.code not in {_C.CLOSED, _C.CLEARED}:
        return {}
    told = {name: str(reason.facts.get(name, "")) for name in ("backend", "nodes", "starts_at", "ends_at", "why")}
    place = f"{told['nodes']} of {told['backend']}" if told["nodes"] else told["backend"]
    begins = f"closes at {_moment(told['starts_at'])}, " if told["starts_at"] else "is closed "
    ends = f"until {_moment(told['ends_at'])}" if told["ends_at"] else "until `elisa undrain`"
    why = f" ({told['why']})" if told["why"] else ""
    pinned = ", and may run nowhere else" if reason.facts.get("pinned") else ""
    return {"closed": f"{place} {begins}{ends}{why}", "pinned": pinned}


def _bearer(reason: Reason) -> Mapping[str, str]:
    """Name whose limit it is, and how often it begins anew."""
    if "project" not in reason.facts:
        return {}
    user, every = reason.facts.get("user"), str(reason.facts.get("every", ""))
    per = f" in {every.removesuffix('d')} days" if every[:1].isdigit() else f" a {every}"
    project = str(reason.facts["project"])
    bearer = "the site" if project == EVERYBODY else f"project {project}"
    return {
        "bearer": bearer if user is None else f"user {user_name(int(user))} of {bearer}",
        "per": per if every else "",
    }


def _held(reason: Reason) -> Mapping[str, str]:
    """Say for whom room is held, and when."""
    facts = {name: str(fact) for name, fact in reason.facts.items()}
    if reason.code is not ReasonCode.HELD_FOR or not {"project", "until"} <= facts.keys():
        return {}
    begins = f" from {_moment(facts['begins_at'])}" if facts.get("begins_at") else ""
    users = f" (users {facts['users']})" if facts.get("users") else ""
    return {"holder": f"{facts['project']}{users}{begins} until {_moment(facts['until'])}"}


_AFFINITY: Mapping[str, str] = {
    "beside runs": "it must run beside {whom}, which runs on {nodes}, where there is no room for it",
    "beside ran": "it must run beside {whom}, which ran on {nodes}, where there is no room for it",
    "beside queued": "it must run beside {whom}, which waits in a queue for a node that nobody knows yet",
    "beside ready": "it must run beside {whom}, which has not begun",
    "apart runs": "it must run apart from {whom}, which runs on {nodes}, and there is no room elsewhere",
    "apart queued": "it must run apart from {whom}, which waits in a queue for a node that nobody knows yet",
    "shunned runs": "on {nodes} runs what must be apart from {whom}, and there is no room elsewhere",
    "shunned queued": "what must be apart from {whom} waits in a queue for a node that nobody knows yet",
    "beside runs switch": "it must run on the switch of {whom}, that of {nodes}, where there is no room for it",
    "beside ran switch": "it must run on the switch where {whom} ran, that of {nodes}, where there is no room for it",
    "beside queued switch": "it must run on the switch of {whom}, which waits in a queue for a node that nobody knows yet",
    "beside ready switch": "it must run on the switch of {whom}, which has not begun",
    "apart runs switch": "it must run on another switch than {whom}, not on that of {nodes}, and there is no room elsewhere",
    "apart queued switch": "it must run on another switch than {whom}, which waits in a queue for a node that nobody knows yet",
    "shunned runs switch": "on the switch of {nodes} runs what must be on another than {whom}, and there is no room elsewhere",
    "shunned queued switch": "what must be on another switch than {whom} waits in a queue for a node that nobody knows yet",
}


def _affinity(reason: Reason) -> Mapping[str, str]:
    """Say beside or apart from whom a task must run, and how those stand."""
    if reason.code is not _C.AFFINITY or "wants" not in reason.facts:
        return {}
    facts = {**reason.facts, "nodes": reason.facts.get("others_on", reason.facts["nodes"]) or "another cluster"}
    key = " ".join(str(facts[name]) for name in ("wants", "state", "over") if name in facts)
    return {"affinity": _AFFINITY[key].format_map(facts)}


def _most(reason: Reason) -> Mapping[str, str]:
    """Say how much there is at the most of what a task asks for."""
    if reason.code is not _C.NEVER_FITS or "largest" not in reason.facts:
        return {}
    largest, resource = reason.facts["largest"], str(reason.facts.get("resource", ""))
    if largest in ("none", 0):
        return {"most": "and there is none"}
    most = "the most there is on a node is"
    if resource.startswith("nodes"):
        most = "and there are"
    elif resource == "walltime":
        most = "the most that a job may have is"
    return {"most": f"{most} {_fact('largest', largest)}"}


def _kept_room(reason: Reason) -> Mapping[str, str]:
    """Say for whom room is kept that is free: for another task, for a project, or for nobody, as its place closes."""
    holder = reason.facts.get("task")
    if reason.code is not _C.RESERVED_FOR_HIGHER or holder is None:
        return {}
    if holder == CLOSING and reason.facts.get("starts_at"):
        return {"kept_room": f"what is free is closed from {_moment(str(reason.facts['starts_at']))} on"}
    return {"kept_room": f"the room is kept for {holder}, which comes before it"}


def _nowhere(reason: Reason) -> Mapping[str, str]:
    """Say which backend or partition that a task names is not there."""
    if reason.code is not _C.NO_BACKEND or "wanted" not in reason.facts:
        return {}
    backend, _, partition = str(reason.facts["wanted"]).partition("/")
    if partition in ("", "any"):
        return {"nowhere": f"there is no backend {backend}"}
    if backend == "any":
        return {"nowhere": f"no backend has a partition {partition}"}
    return {"nowhere": f"{backend} has no partition {partition}"}


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%m-%d %H:%M:%S}"


def _where(facts: Mapping[str, Fact]) -> Mapping[str, str]:
    """Name the place: a backend without partitions has but one, often called like itself."""
    backend, partition = str(facts.get("backend", "")), str(facts.get("partition", ""))
    if not backend:
        return {}
    return {"where": backend if partition in ("", backend) else f"{partition} of {backend}"}


def _fact(name: str, fact: Fact) -> str:
    if isinstance(fact, int | float):
        if name.endswith("_mib"):
            return format_memory(int(fact))
        if name.endswith("_s"):
            return format_duration(fact)
        return f"{fact:g}" if isinstance(fact, float) else str(fact)
    if name in _MOMENTS:
        return _moment(fact) if fact else fact
    return fact.replace("_", " ") if name in {"end", "service"} else fact


_MOMENTS = frozenset({"not_before", "since", "starts_at"})
