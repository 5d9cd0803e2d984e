"""`elisa explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from elisa.cli.draw import table_of
from elisa.cli.due_words import judged_data, judged_words, left_data
from elisa.cli.home import existing_home
from elisa.cli.output import print_json, show
from elisa.model import layout
from elisa.model.codec import encode
from elisa.model.states import TaskState
from elisa.model.task import own_attempts
from elisa.model.text import clean
from elisa.report.expected import expected_words
from elisa.report.explain import Explanation, Happening, read_explanation
from elisa.report.words import in_words
from elisa.store.reader import Reader

if TYPE_CHECKING:
    from elisa.engine.standing import Standing

__all__ = ["explain"]

_LAST_BYTES = 4096


def explain(*, task: str, tick: int | None, home: str | None, json: bool) -> int:
    """Print why a task is where it is, how it came there, and how it stood in a plan."""
    folder = existing_home(home)
    with Reader.open(folder) as reader:
        explanation = read_explanation(reader, task, datetime.now(UTC))
    found = _standing(folder, explanation, tick)
    wrote_last = _wrote_last(folder, explanation)
    if json:
        print_json("explain", 1, {**_data(explanation), "wrote_last": wrote_last, "plan": _plan_data(found)})
    else:
        name = explanation.task.spec.name
        show(
            clean(f"{name} ({explanation.task.id}) is {explanation.now}"),
            *map(clean, _outlook(explanation)),
            *map(clean, _last_words(explanation, wrote_last)),
            *map(clean, _plan_words(found, tick)),
            _history_table(explanation),
        )
    return 0


def _standing(folder: Path, explanation: Explanation, tick: int | None) -> Standing | None:
    """Look into the newest plan for a task that is ready now, into that of `tick` for any."""
    if tick is None and explanation.task.state is not TaskState.READY:
        return None
    # Planning again takes numpy and all policies: only who waits to start pays for that.
    from elisa.engine.files import OsFiles
    from elisa.engine.standing import standing

    return standing(OsFiles(), folder, explanation.task.id, tick)


def _plan_words(found: Standing | None, tick: int | None) -> Iterator[str]:
    if found is None:
        yield from () if tick is None else (f"it was not ready in tick {tick}",)
        return
    if tick is not None:
        yield f"in tick {tick}: {in_words(found.reason)}"
    from elisa.cli.standing_words import standing_words

    yield from standing_words(found)


def _plan_data(found: Standing | None) -> Mapping[str, object] | None:
    if found is None:
        return None
    from elisa.cli.standing_words import standing_data

    return standing_data(found)


def _outlook(explanation: Explanation) -> Iterator[str]:
    """Say what is expected of the task, as far as more is known than its walltime, and whether its pipeline is late."""
    left, due = explanation.left, explanation.due
    if left is not None and left.estimate is not None:
        yield expected_words(left)
    if due is not None and not due.verdict.is_reachable:
        yield f"its pipeline: {judged_words(due)}"


def _wrote_last(folder: Path, explanation: Explanation) -> str:
    """Return the last line that a failed task wrote to its stderr; empty for others, and if there is none."""
    own = own_attempts(explanation.attempts)
    if explanation.task.state is not TaskState.FAILED or not own:
        return ""
    task = explanation.task
    path = Path(layout.stderr_log(folder, task.pipeline, task.spec.name, own[-1].id))
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _last_words(explanation: Explanation, wrote_last: str) -> Iterator[str]:
    if wrote_last:
        yield f"the last that it wrote: {wrote_last}"
        yield f"`elisa logs {explanation.task.id} --stream stderr` shows all of it"


def _data(explanation: Explanation) -> dict[str, object]:
    return {
        "task": explanation.task.id,
        "name": explanation.task.spec.name,
        "state": explanation.task.state,
        "now": explanation.now,
        "verdict": encode(explanation.verdict),
        "left": left_data(explanation.left),
        "due": judged_data(explanation.due),
        "history": [
            {
                "at": one.at,
                "subject": one.subject,
                "became": one.became,
                "code": one.code,
                "facts": one.facts,
                "words": one.words,
            }
            for one in explanation.history
        ],
    }


def _history_table(explanation: Explanation) -> Table:
    table = table_of("when", "what", "became", "because", whole=("when", "what", "became"))
    for one in _without_repeats(explanation.history):
        what = "task" if one.subject == explanation.task.id else f"attempt {one.subject.partition('.')[2]}"
        table.add_row(f"{one.at.astimezone():%m-%d %H:%M:%S}", what, one.became, clean(one.words))
    return table


def _without_repeats(history: tuple[Happening, ...]) -> Iterator[Happening]:
    """Of several checkpoints in a row show only the last: the rest is in the JSON form."""
    for one, following in zip(history, (*history[1:], None), strict=True):
        if following is None or (one.subject, one.code) != (following.subject, following.code) or one.became:
            yield one
