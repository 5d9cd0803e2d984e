"""A GPU that breaks work gets none until that has faded; on this machine, where elisa gives out GPUs by their index."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.engine.avoidance import learnt
from elisa.engine.loop import until_idle
from elisa.engine.submit import submit
from elisa.engine.workspace import init_workspace, open_workspace
from elisa.model.ids import BackendName
from elisa.model.native import ClusterView
from elisa.pipelines.load import load
from elisa.store.reader import Reader

SITE = """\
backends:
  local: {kind: local, options: {cpus: 8, memory: 4GiB, gpus: [a100, a100, a100, a100]}}
"""
# GPU 0 is broken: what runs there fails. It is the first to be given out, each time that anything starts.
PIPELINE = """\
name: study
tasks:
  train:
    command: [sh, -c, 'echo $CUDA_VISIBLE_DEVICES >>"$ELISA_TASK_DIR/gpus"; test "$CUDA_VISIBLE_DEVICES" != 0']
    matrix: {fold: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
    resources: {gpus: 1}
    retry: 0
"""
AFTER = PIPELINE.replace("study", "later").replace("train", "check")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    init_workspace(home)
    (home / "site.yaml").write_text(SITE)
    return home


def run(home: Path, text: str) -> None:
    file = home.parent / "pipeline.yaml"
    file.write_text(text)
    with open_workspace(home) as ws:
        submit(ws, load(file))
        until_idle(ws)


def cluster(home: Path) -> ClusterView:
    with open_workspace(home) as ws:
        local = ws.backends[BackendName("local")]
        local.avoid_gpus({2})  # type: ignore[attr-defined]  # this backend has it
        return local.cluster()


@pytest.mark.slow
def test_a_gpu_that_breaks_work_which_completes_elsewhere_gets_no_more_of_it(home: Path) -> None:
    run(home, PIPELINE)
    with Reader.open(home) as reader:
        now = max(row.ended_at for row in reader.task_rows() if row.ended_at is not None)
        (avoided,) = learnt(reader, now)
        later = learnt(reader, now + timedelta(days=3))

    run(home, AFTER)

    assert (avoided.backend, avoided.gpu) == ("local", "0")
    assert avoided.place == f"GPU 0 of {avoided.node} of local"
    assert avoided.broken >= 2
    assert timedelta(hours=1) <= avoided.until - now < timedelta(days=2)
    assert later == ()
    used = [path.read_text().split() for path in home.glob("runs/*/check*/gpus")]
    assert len(used) == 12
    assert all(len(gpus) == 1 and gpus != ["0"] for gpus in used)


def test_an_avoided_gpu_counts_as_taken_until_it_is_told_otherwise(home: Path) -> None:
    (node,) = cluster(home).nodes
    with open_workspace(home) as ws:
        (free,) = ws.backends[BackendName("local")].cluster().nodes

    assert (node.gpus, node.free_gpus) == ((("a100", 4),), (("a100", 3),))
    assert free == replace(node, free_gpus=node.gpus)
