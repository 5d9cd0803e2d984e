"""What jobs told of themselves: checkpoints, numbers, use, outputs, and how far their event files were read.

Telling the same thing again changes nothing: a checkpoint is known by attempt, step, path and moment, use only grows, and
an event file is read on from where its cursor stands.
"""

from __future__ import annotations

import math

from elisa.model.changes import CheckpointSeen, CursorMoved, MetricSeen, Noted, OutputSeen, UsageSeen
from elisa.model.codec import decode
from elisa.model.errors import StaleChange
from elisa.model.ids import task_of
from elisa.model.task import Usage
from elisa.store import tables
from elisa.store.batch import Batch
from elisa.store.connection import Row
from elisa.store.convert import read_facts, to_json, to_us

__all__ = ["move_cursor", "note", "see_checkpoint", "see_metric", "see_output", "see_usage"]

_NO_STEP = -1


def see_checkpoint(batch: Batch, change: CheckpointSeen) -> None:
    """Add a checkpoint that was not known; it is now the attempt's newest."""
    checkpoint, saved_at = change.checkpoint, to_us(change.checkpoint.saved_at)
    attempt = batch.attempt(change.attempt)
    key = (change.attempt, checkpoint.step, checkpoint.path)
    if key in batch.checkpoints and (saved_at or 0) <= (batch.checkpoints[key] or 0):
        return
    batch.checkpoints[key] = saved_at
    batch.upserts[tables.CHECKPOINT][key] = {
        "attempt": change.attempt,
        "step": checkpoint.step,
        "path": checkpoint.path,
        "task": attempt["task"],
        "size_bytes": checkpoint.size_bytes,
        "seconds": checkpoint.seconds,
        "saved_at": saved_at,
        "seen_at": batch.now_us,
    }
    batch.change_attempt(change.attempt)["last_checkpoint"] = to_json(checkpoint)
    batch.marks.add(attempt["task"])
    batch.audit.add("checkpoint.seen", change.attempt, {"step": checkpoint.step, "path": checkpoint.path})


def see_metric(batch: Batch, change: MetricSeen) -> None:
    """Keep a number, and as the newest of its name."""
    task = task_of(change.attempt)
    step = _NO_STEP if change.step is None else change.step
    value = None if math.isnan(change.value) else change.value
    newest: Row = {"task": task, "name": change.name, "value": value}
    key = (change.attempt, change.name, step)
    batch.upserts[tables.LATEST_METRIC][task, change.name] = newest
    batch.upserts[tables.METRIC][key] = {**newest, "attempt": change.attempt, "step": step, "seen_at": batch.now_us}


def see_usage(batch: Batch, change: UsageSeen) -> None:
    """Raise what the attempt used so far to what it now says; an older message lowers nothing."""
    row = batch.change_attempt(change.attempt)
    known, told = decode(Usage, read_facts(row["usage"])), change.usage
    most = Usage(
        cpu_s=max(known.cpu_s, told.cpu_s),
        max_memory_mib=max(known.max_memory_mib, told.max_memory_mib),
        gpu_s=max(known.gpu_s, told.gpu_s),
        max_gpu_memory_mib=max(known.max_gpu_memory_mib, told.max_gpu_memory_mib),
        gpu_j=max(known.gpu_j, told.gpu_j),
    )
    row["usage"] = to_json(most)


def see_output(batch: Batch, change: OutputSeen) -> None:
    """Keep what was found of an output; whoever needs it looks again."""
    task = batch.attempt(change.attempt)["task"]
    row: Row = {"path": change.path, "ok": int(change.ok), "why": change.why, "attempt": change.attempt}
    batch.upserts[tables.OUTPUT][task, change.name] = {"task": task, "name": change.name, **row}
    batch.marks.add(task)
    facts = {"name": change.name, "path": change.path, "ok": change.ok, "why": change.why}
    batch.audit.add("output.seen", change.attempt, facts)


def move_cursor(batch: Batch, change: CursorMoved) -> None:
    """Remember how far an event file was read. Raises StaleChange if somebody else has read on from there."""
    known = batch.cursors.get(change.file)
    here = known["position"] if known and known["inode"] == str(change.inode) else 0
    expected = here if change.before is None else change.before
    if expected != here or change.offset < here:
        raise StaleChange(
            f"{change.file} was read to {here} already",
            f"this change read it from {expected} to {change.offset}",
            "read again and decide again",
        )
    row = {"file": change.file, "inode": str(change.inode), "position": change.offset, "seq": change.seq}
    batch.cursors[change.file] = batch.upserts[tables.EVENT_CURSOR][change.file] = row


def note(batch: Batch, change: Noted) -> None:
    """Put a thing into the audit alone."""
    batch.audit.add(f"noted.{change.what}", change.subject, change.facts)
