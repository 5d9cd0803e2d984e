"""Data sets from `site.yaml` to the nodes of the simulated cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from elisa.backends.simulated.spec import ClusterSpec, NodeType
from elisa.engine.config import Site, parse_site
from elisa.engine.hopeless import hopeless_tasks
from elisa.engine.submit import submit
from elisa.model.ids import BackendName, ProjectName
from elisa.model.pipeline import Pipeline, TaskSpec
from elisa.model.resources import DataWish
from elisa.model.site import DataPlace, DataSet
from tests.reliability.specs import job
from tests.reliability.world import World

SITE = {
    "backends": {"sim": {"kind": "simulated"}},
    "data": {"maps": {"size": "2GiB", "paths": ["/scratch/maps"], "at": [{"backend": "sim", "nodes": "n000[2-3]"}]}},
}


def reading(name: str, *wishes: DataWish) -> TaskSpec:
    spec = job(name, cpus=4)
    return replace(spec, resources=replace(spec.resources, data=wishes))


def test_work_that_needs_its_data_runs_only_where_they_are(tmp_path: Path) -> None:
    cluster = ClusterSpec(nodes=(NodeType(name="n", count=4, cpus=4),))
    world = World.make(tmp_path / "home", spec=cluster, site=Site.model_validate(SITE))
    wish = DataWish(name="/scratch/maps/europe", required=True)
    world.submit(*[reading(f"r{n}", wish) for n in range(3)])

    world.run()

    assert {one.nodes for n in range(3) for one in world.attempts(f"r{n}")} == {"n0002", "n0003"}


def test_data_that_nobody_knows_are_told_when_a_pipeline_is_submitted(tmp_path: Path) -> None:
    world = World.make(tmp_path / "home", site=Site.model_validate(SITE))
    tasks = (reading("a", DataWish(name="lost")), reading("b", DataWish(name="gone", required=True)))
    pipeline = Pipeline(name="p", project=ProjectName("nlp"), tasks=tasks)

    found = dict(hopeless_tasks(world.workspace(), pipeline))
    warnings = submit(world.workspace(), pipeline).warnings

    assert found["b"].facts["resource"] == "node with the data gone"
    assert warnings == tuple(
        f"site.yaml does not say where the data `{name}` are: no place is preferred for them"
        for name in ("gone", "lost")
    )


def test_data_sets_stand_in_the_sites_file() -> None:
    text = "data: {maps: {size: 1GiB, paths: [/m], at: [{backend: a, partition: p}, {backend: b, nodes: 'n[1-2]'}]}}"

    assert parse_site(text, "site.yaml").policy().data == (
        DataSet(
            name="maps",
            paths=("/m",),
            size_mib=1024,
            places=(
                DataPlace(backend=BackendName("a"), partition="p"),
                DataPlace(backend=BackendName("b"), nodes=("n1", "n2")),
            ),
        ),
    )
