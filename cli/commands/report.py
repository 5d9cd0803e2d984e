"""`elisa report`."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.table import Table

from elisa.cli.draw import table_of
from elisa.cli.home import existing_home
from elisa.cli.output import print_json, show
from elisa.cli.screen import Screen
from elisa.cli.timeline_table import timeline_table
from elisa.model.codec import encode
from elisa.model.ids import PipelineId
from elisa.model.text import clean
from elisa.report.cost import ProjectCost, costs
from elisa.report.names import resolve_pipeline
from elisa.report.timeline import Timeline, timeline
from elisa.store.reader import Reader

__all__ = ["cost_table", "report"]


def report(*, pipeline: str, home: str | None, json: bool) -> int:
    """Print a pipeline's timeline, and what every project has cost so far."""
    with Reader.open(existing_home(home)) as reader:
        line = _timeline(reader, resolve_pipeline(reader, pipeline))
        spent = costs(reader.ledger())
    if json:
        print_json("report", 1, {"timeline": encode(line), "costs": [encode(cost) for cost in spent]})
    else:
        screen = Screen()
        show(timeline_table(line, screen.width, ascii_only=screen.options.ascii_only), "", cost_table(spent))
    return 0


def _timeline(reader: Reader, pipeline: PipelineId) -> Timeline:
    tasks = tuple(reader.tasks([row.id for row in reader.task_rows(pipeline=pipeline)]).values())
    now = reader.meta().present(datetime.now(UTC))
    attempts = {task.id: reader.attempts_of(task.id) for task in tasks}
    return timeline(tasks, attempts, reader.pipeline(pipeline).submitted_at, now)


def cost_table(spent: tuple[ProjectCost, ...]) -> Table:
    """Return one row a project: hours used, hours held by what runs."""
    table = table_of("project", "attempts", "cpu hours", "gpu hours", "held cpu hours", "by gpu type")
    for cost in spent:
        types = ", ".join(f"{kind} {seconds / 3600:.2f}" for kind, seconds in cost.gpu_s)
        table.add_row(
            clean(cost.project),
            str(cost.attempts),
            f"{cost.cpu_h:.4f}",
            f"{cost.gpu_h:.4f}",
            f"{cost.held_cpu_s / 3600:.4f}",
            clean(types or "-"),
        )
    return table
