"""Why something was decided: a code with facts, stored as it is and rendered in words elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

__all__ = ["Fact", "Reason", "ReasonCode", "because"]

Fact = str | int | float
_NO_FACTS: Mapping[str, Fact] = MappingProxyType({})


class ReasonCode(StrEnum):
    """What a decision or a state change rests on. Facts named in the comment stand beside it."""

    # a task waits
    NEEDS_UNMET = "needs_unmet"  # waiting_for, missing
    BACKING_OFF = "backing_off"  # not_before, failures
    HELD_BY_USER = "held_by_user"  # by
    EXPANSION_PENDING = "expansion_pending"  # source
    # a ready task was passed over
    NO_ROOM = "no_room"  # backend, partition, resource, asked, free
    NEVER_FITS = "never_fits"  # resource, asked, largest
    GPUS_LEFT_OUT = "gpus_left_out"  # asked, largest, bad, until, backend, partition
    WINDOW_FULL = "window_full"  # backend, partition, window, queued
    BUDGET_EXHAUSTED = "budget_exhausted"  # project, resource, asked, left, cap
    CONCURRENCY_CAP = "concurrency_cap"  # project, resource, asked, in_use, cap, kept
    RESERVED_FOR_HIGHER = "reserved_for_higher"  # task, starts_at
    HELD_FOR = "held_for"  # project, users, backend, partition, what, begins_at, until, walltime_s, reservation
    AFFINITY = "affinity"  # wants, whom, state, nodes, backend, partition, over (of a switch)
    CLOSED = "closed"  # backend, partition, nodes, starts_at, ends_at, why, walltime_s, pinned
    GANG_TOO_LARGE = "gang_too_large"  # gang, needed, largest
    GANG_INCOMPLETE = "gang_incomplete"  # gang, ready, needed
    BACKEND_UNREACHABLE = "backend_unreachable"  # backend, since, error
    BACKEND_BUSY = "backend_busy"  # backend, words
    NO_BACKEND = "no_backend"  # wanted
    WOULD_BE_REFUSED = "would_be_refused"  # backend, words
    SUBMIT_RATE = "submit_rate"  # backend, limit
    OTHER_OWNER = "other_owner"  # owner
    # a task moved
    SUBMITTED_BY_USER = "submitted_by_user"
    NEEDS_MET = "needs_met"
    CHOSEN = "chosen"  # rank, backend, partition, kept_off, on
    FUSED = "fused"  # leader, backend, partition, rank, gpu_type, behind: it shares a native job
    NOT_BEGUN = "not_begun"  # why: its turn in a shared job did not come
    GIVEN_BACK = "given_back"  # detail, resume_step: it was given a GPU that is not to be used
    CHAINED = "chained"  # behind, backend, partition, kept_off
    QUEUED_AHEAD = "queued_ahead"  # behind, backend, partition, kept_off: to go on where the attempt before it will end
    CONTINUED = "continued"  # end, resume_step, attempt
    NOT_WANTED = "not_wanted"  # behind: nothing is left to go on with, or the next attempt is to be another
    STOPPED_FOR_SURE = "stopped_for_sure"
    SILENT_FOR_SURE = "silent_for_sure"  # silent_s: longer than the agent of a lost attempt lets its program live
    NODES_BEGAN_ANEW = "nodes_began_anew"  # nodes: those of a lost attempt were switched off, or have booted since
    SUCCEEDED = "succeeded"
    CHAIN_BROKEN = "chain_broken"  # behind: it did not begin, and its needs are looked at again
    RETRY = "retry"  # end, failures, limit, resume_step; before_step: of the checkpoint that it died twice on loading
    RESUME = "resume"  # end, resume_step
    SPINS = "spins"  # times, within_s, causes, not_before, resume_step
    IN_CIRCLE = "in_circle"  # circle
    RETRIES_USED_UP = "retries_used_up"  # end, failures, limit
    NOT_RETRYABLE = "not_retryable"  # end
    SAME_FAILURE = "same_failure"  # end, step, times
    NEED_FAILED = "need_failed"  # task, state
    NEED_TIMED_OUT = "need_timed_out"  # waited_s
    CONDITION_FALSE = "condition_false"  # when
    CONDITION_UNDECIDABLE = "condition_undecidable"  # when, missing
    EXPANDED = "expanded"  # count
    EXPANSION_INVALID = "expansion_invalid"  # words
    CANCELLED_BY_USER = "cancelled_by_user"  # by
    CANCELLED_OUTSIDE = "cancelled_outside"  # native_id, words
    CANCELLED_UNEXPLAINED = "cancelled_unexplained"  # native_id: it is tried once more
    HELD_UNEXPLAINED = "held_unexplained"  # native_id, before: two in a row
    HELD_FORGOTTEN = "held_forgotten"  # native_id, before: two in a row that their manager knows nothing of
    HELD = "held"
    RELEASED = "released"
    RETRIED_BY_USER = "retried_by_user"
    RESUME_CHOSEN = "resume_chosen"  # by, resume_step
    TAKEN_OVER = "taken_over"  # task: a replay has it as it was there
    RAN_ELSEWHERE = "ran_elsewhere"  # another attempt had claimed the task
    # an attempt moved
    INTENT = "intent"  # backend
    ACCEPTED = "accepted"  # native_id
    ADOPTED = "adopted"  # native_id: found by its tag after a lost answer
    NEVER_SUBMITTED = "never_submitted"  # grace over, complete listings, no claim
    SEEN = "seen"  # state, detail
    SAID_BY_JOB = "said_by_job"  # exit_code, signal
    GONE_AFTER_GRACE = "gone_after_grace"
    NEVER_BEGAN = "never_began"  # native_id, given_s: its manager says that it runs, and its agent never gave a sign
    REFUSED_BY_BACKEND = "refused_by_backend"  # words
    DUPLICATE_CANCELLED = "duplicate_cancelled"  # native_id
    PREEMPTED_FOR = "preempted_for"  # task
    UNCHAINED = "unchained"  # behind: what it was queued behind will not finish so that it can begin
    CAP_CUT = "cap_cut"  # project: what it held in advance is more than its project may have now
    GAVE_PLACE = "gave_place"  # task, why: what it held in advance is needed by a task that comes before it
    GAVE_BACK = "gave_back"  # gang, running, size, waited_s
    NODES_LOST = "nodes_lost"  # backend, nodes: it waited for nodes that take no jobs now
    CLEARED = "cleared"  # backend, nodes, starts_at, ends_at, why
    SHRINKS = "shrinks"  # task, was, size, of
    GROWS = "grows"  # was, size, of, idle_s
    LENT_BACK = "lent_back"  # task, project, backend, what, reservation
    PRESSED = "pressed"  # backend, node, short_mib, service
    PARKED = "parked"  # project, resource, in_use, cap
    OVER_LIMIT = "over_limit"  # resource, limit, seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One code and the facts a person needs to believe it."""

    code: ReasonCode
    facts: Mapping[str, Fact] = field(default_factory=lambda: _NO_FACTS)


def because(code: ReasonCode, **facts: Fact) -> Reason:
    """Return a `Reason` with read-only facts."""
    return Reason(code=code, facts=MappingProxyType(facts))
