"""A pipeline that is not stored, shown to the backends of the site if there is one."""

from __future__ import annotations

from pathlib import Path

from elisa.cli.home import existing_home
from elisa.model.errors import UsageError
from elisa.model.pipeline import Pipeline

__all__ = ["vet"]


def vet(pipeline: Pipeline, file: Path, home: str | None) -> None:
    """Raise SpecError for what none of its backends has words for. If nobody named a state folder there need be none."""
    try:
        folder = existing_home(home)
    except UsageError:
        if home is not None:
            raise
        return
    from elisa.engine.trial import check_requests
    from elisa.engine.workspace import open_workspace

    with open_workspace(folder) as workspace:
        check_requests(workspace, pipeline, str(file.absolute()))
