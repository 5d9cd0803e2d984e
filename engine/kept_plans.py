"""What each tick's plan looked at and what it decided, kept for a while so that anybody can check it."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

from elisa.engine.files import Files
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.changes import Noted
from elisa.model.codec import decode, encode
from elisa.model.errors import UsageError
from elisa.model.reasons import Fact
from elisa.policies.breaker import guarded
from elisa.policies.inputs import Outcome, PlanInputs, differences
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import load_plugins
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["KeptPlan", "Replay", "keep", "kept_ticks", "made_again", "newest", "read", "replay_tick"]

_log = logging.getLogger(__name__)
_LARGEST_BYTES = 256 * 2**20
_FAST = 1  # of zlib: JSON of columns shrinks to a tenth already
_SUBJECT, _WHAT = "plan", "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """What a plan looked at, and what it decided."""

    inputs: PlanInputs
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A stored decision made again. `differences` are sentences; `is_sealed`: the audit has the hash of the file."""

    tick: int
    kept: KeptPlan
    differences: tuple[str, ...]
    is_sealed: bool


def keep(ws: Workspace, writer: Writer, inputs: PlanInputs, made: Plan) -> None:
    """Keep a plan that had something to decide; its hash goes into the audit if anything follows from it.

    The oldest ones go, so that no more are left than the site says, and no more than 256 MiB of them. A failure is told
    and harmless.
    """
    if not ws.site.kept_plans or not (inputs.ready.task or made.decisions):
        return
    tick = writer.meta().ticks + 1
    packed = _packed(KeptPlan(inputs=inputs, outcome=Outcome.of(made)))
    try:
        ws.files.make_folder(layout.plans(ws.home))
        ws.files.write(layout.plan_file(ws.home, tick), packed)
        _forget(ws)
    except OSError as err:
        _log.warning("the plan of tick %s was not kept: %s", tick, err.strerror or err)
        return
    if made.decisions:
        facts: dict[str, Fact] = {
            "tick": tick,
            "sha256": hashlib.sha256(packed).hexdigest(),
            "decisions": len(made.decisions),
        }
        writer.apply([Noted(subject=_SUBJECT, what=_WHAT, facts=facts)])


def _packed(kept: KeptPlan) -> bytes:
    return zlib.compress(json.dumps(encode(kept), separators=(",", ":")).encode("ascii"), _FAST)


def _forget(ws: Workspace) -> None:
    left_bytes = _LARGEST_BYTES
    for number, entry in enumerate(reversed(ws.files.entries(layout.plans(ws.home)))):
        left_bytes -= entry.size
        if number >= ws.site.kept_plans or (number and left_bytes < 0):
            ws.files.remove(layout.plans(ws.home) / entry.name)


def kept_ticks(files: Files, home: Path) -> tuple[int, ...]:
    """Return the numbers of the ticks whose plans are kept, the oldest first."""
    names = (entry.name.partition(".")[0] for entry in files.entries(layout.plans(home)))
    return tuple(int(name) for name in names if name.isdigit())


def newest(files: Files, home: Path) -> tuple[int, KeptPlan] | None:
    """Return the newest plan that is kept, with the number of its tick; None if there is none."""
    ticks = kept_ticks(files, home)
    return (ticks[-1], read(files, home, ticks[-1])) if ticks else None


def read(files: Files, home: Path, tick: int) -> KeptPlan:
    """Return what the plan of a tick looked at and decided. Raises UsageError if it is not kept, or cannot be read."""
    return _unpacked(_bytes_of(files, home, tick), tick)


def _bytes_of(files: Files, home: Path, tick: int) -> bytes:
    packed = files.read(layout.plan_file(home, tick))
    if packed is None:
        ticks = kept_ticks(files, home)
        what = (
            f"those of ticks {ticks[0]} to {ticks[-1]} are, where there was something to decide" if ticks else "none is"
        )
        raise UsageError(f"no plan of tick {tick} is kept", what, "see `elisa replay --list`")
    return packed


def _unpacked(packed: bytes, tick: int) -> KeptPlan:
    try:
        return decode(KeptPlan, json.loads(zlib.decompress(packed)))
    except (ValueError, TypeError, KeyError, zlib.error, RecursionError) as err:
        raise UsageError(
            f"the plan of tick {tick} cannot be read", f"{err}", "it is damaged, or an older elisa wrote it"
        ) from err


def replay_tick(ws: Workspace, tick: int) -> Replay:
    """Make a stored decision again from what it was made of, and compare."""
    packed = _bytes_of(ws.files, ws.home, tick)
    kept = _unpacked(packed, tick)
    found = list(differences(kept.outcome, Outcome.of(made_again(kept.inputs))))
    with Reader.open(ws.home) as reader:
        rows = [row for row in reader.audit(subject=_SUBJECT) if row.facts.get("tick") == tick]
    digest = hashlib.sha256(packed).hexdigest()
    if rows and rows[-1].facts["sha256"] != digest:
        found.append("what is kept is not what was written down in the audit when the tick decided")
    return Replay(tick=tick, kept=kept, differences=tuple(found), is_sealed=bool(rows))


def made_again(inputs: PlanInputs) -> Plan:
    """Return the plan that these inputs give, with the plug-ins that took part, as they are installed now."""
    if not inputs.plugins and not inputs.planner:
        return plan(inputs.snapshot())
    installed = load_plugins()
    calls = {name: plugin for name, plugin in installed.calls.items() if name in inputs.plugins}
    snapshot = inputs.snapshot(calls)
    planner = installed.planners.get(inputs.planner)
    return plan(snapshot) if planner is None else guarded(planner, snapshot)[0]
