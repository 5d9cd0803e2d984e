"""YAML and Python say the same, and give the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elisa.model.errors import SpecError
from elisa.model.pipeline import Pipeline
from elisa.pipelines.load import load
from tests.pipelines.documents import NOW

FUNCTIONS = """\
from elisa import task


@task(cpus=2, memory="2GiB")
def prepare(share=0.5):
    return share


@task(walltime="2h", gpus={"count": 1, "types": "a100"}, partition="gpu", checkpoint={"interval": "5m"}, retry=3)
def train(data, seed, rate=0.1, note=""):
    return seed


@task
def judge(model, data=None):
    return model


@task
def report(scores, title="", layers=()):
    return scores


@task
def shards(count):
    return list(range(count))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def both(folder: Path, python: str, yaml: str, overrides: Mapping[str, str] | None = None) -> tuple[Pipeline, Pipeline]:
    head = "from elisa import pipeline, task\nfrom functions import *\n\n"
    (folder / "p.py").write_text(head + dedent(python))
    (folder / "p.yaml").write_text(dedent(yaml))
    return load(folder / "p.py", overrides, now=NOW), load(folder / "p.yaml", overrides, now=NOW)


def test_a_sweep_with_paired_results_is_the_same(folder: Path) -> None:
    python = """
        @pipeline(name="digits", project="vision", deadline="+1d", priority="high", labels={"a": 1}, metadata={"b": [1]})
        def anything(rate: float = 0.5, seeds=(1, 2)):
            data = prepare()
            models = train.map(seed=list(seeds), data=data, rate=rate)
            scores = judge.map(model=models, data=data)
            report.options(when=f"max({scores}.accuracy) > 0.9")(scores, "all ${of} them", layers=[3, [4]])
    """
    yaml = """
        name: digits
        project: vision
        deadline: +1d
        priority: high
        labels: {a: 1}
        metadata: {b: [1]}
        parameters: {rate: 0.5, seeds: [1, 2]}
        tasks:
          prepare:
            call: functions.py:prepare
            resources: {cpus: 2, memory: 2GiB}
          train:
            call: functions.py:train
            matrix: {seed: "${seeds}"}
            args: {seed: "${seed}", data: {result_of: prepare}, rate: "${rate}"}
            resources: {walltime: 2h, gpus: {count: 1, types: [a100]}}
            placement: {partition: gpu}
            checkpoint: {interval: 5m}
            retry: 3
          judge:
            call: functions.py:judge
            matrix: {seed: "${seeds}"}
            args: {model: {result_of: train, match: seed}, data: {result_of: prepare}}
          report:
            call: functions.py:report
            args: {scores: {result_of: judge}, title: "all $${of} them", layers: [3, [4]]}
            when: max(judge.accuracy) > 0.9
    """

    for overrides in ({}, {"seeds": "[7, 8, 9]", "rate": "2"}, {"seeds": "[1]"}):
        one, other = both(folder, python, yaml, overrides)
        assert one == other


def test_a_list_that_comes_later_is_the_same(folder: Path) -> None:
    one, other = both(
        folder,
        """
        @pipeline
        def later():
            parts = shards(3)
            done = judge.map(model=task.each(parts), data=7)
            report(done)
        """,
        """
        name: later
        tasks:
          shards: {call: functions.py:shards, args: {count: 3}}
          judge:
            call: functions.py:judge
            foreach: {task: shards}
            args: {model: "${item}", data: 7}
          report: {call: functions.py:report, args: {scores: {result_of: judge}}}
        """,
    )

    assert one == other


def test_programs_are_the_same(folder: Path) -> None:
    one, other = both(
        folder,
        """
        @pipeline(defaults={"retry": 1})
        def model(years: int = 10):
            grid = task.command("grid", ["./grid", 3], outputs={"grid": "grid.nc"}, cpus=2)
            run = task.command(
                "run", ["./model", "--years=${years}", grid], matrix={"member": [1, 2]}, nodes=4, walltime="1d",
                environment={"GRID": f"{grid.dir}/grid.nc"}, checkpoint={"pattern": "restart.*"}, backend="local",
                resources={"memory": "1GiB"},
            )
            task.command("plot", "plot *.nc > all.png", shell=True, needs=[{"task": run, "kind": "completion"}])
        """,
        """
        name: model
        parameters: {years: 10}
        defaults: {retry: 1}
        tasks:
          grid: {command: [./grid, 3], outputs: {grid: grid.nc}, resources: {cpus: 2}}
          run:
            command: [./model, "--years=${years}", "${dir.grid}"]
            needs: [grid]
            matrix: {member: [1, 2]}
            resources: {nodes: 4, walltime: 1d, memory: 1GiB}
            environment: {GRID: "${dir.grid}/grid.nc"}
            checkpoint: {pattern: "restart.*"}
            placement: {backend: local}
          plot:
            command: plot *.nc > all.png
            shell: true
            needs: {task: run, kind: completion}
        """,
    )

    assert one == other


def test_several_results_in_one_argument_are_the_same(folder: Path) -> None:
    one, other = both(
        folder,
        """
        @pipeline
        def several():
            first = prepare(1)
            second = prepare.options(name="second", cpus=8)(2)
            models = train.map(data=first, seed=[1, 2], rate=[3, 4])
            some = judge.map(model=models.matching("seed"), data=second)
            report([first, second], title="both")
        """,
        """
        name: several
        tasks:
          prepare: {call: functions.py:prepare, args: {share: 1}, resources: {cpus: 2, memory: 2GiB}}
          second: {call: functions.py:prepare, args: {share: 2}, resources: {cpus: 8, memory: 2GiB}}
          train:
            call: functions.py:train
            matrix: {seed: [1, 2], rate: [3, 4]}
            args: {data: {result_of: prepare}, seed: "${seed}", rate: "${rate}"}
            resources: {walltime: 2h, gpus: {count: 1, types: [a100]}}
            placement: {partition: gpu}
            checkpoint: {interval: 5m}
            retry: 3
          judge:
            call: functions.py:judge
            matrix: {seed: [1, 2]}
            args: {model: {result_of: train, match: [seed]}, data: {result_of: second}}
          report: {call: functions.py:report, args: {scores: {result_of: [prepare, second]}, title: both}}
        """,
    )

    assert one == other
    (judged,) = {task.call.results for task in one.tasks if task.name == "judge-seed=1" and task.call}
    assert [(name, result.many) for name, result in judged] == [("data", False), ("model", True)]


letters = st.characters(codec="ascii", categories=["L", "N", "P"])
plain = st.none() | st.booleans() | st.integers(-9999, 9999) | st.text(letters, max_size=8)
arguments = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)
options = st.fixed_dictionaries(
    {},
    optional={
        "cpus": st.integers(1, 64),
        "nodes": st.integers(1, 9),
        "memory": st.sampled_from(["1GiB", "512M", "2TB"]),
        "walltime": st.sampled_from(["10m", "2h30m", "1-00:00:00"]),
        "gpus": st.integers(0, 4) | st.just({"count": 2, "types": ["a100"], "memory": "40GiB"}),
        "partition": st.sampled_from(["long", "gpu"]),
        "retry": st.integers(0, 5) | st.just({"limit": 2, "backoff": {"initial": "5s"}}),
        "checkpoint": st.booleans() | st.just({"keep": 3}),
        "preemptible": st.booleans(),
        "chain": st.booleans(),
        "fuse": st.booleans(),
        "expected": st.sampled_from(["20s", "5m"]),
        "importance": st.floats(0, 100),
        "labels": st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9), max_size=2),
        "metadata": st.dictionaries(st.sampled_from(["a", "b"]), arguments, max_size=2),
        "environment": st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "x y", ""]), max_size=2),
    },
)
_GROUPED = {
    "cpus": "resources",
    "nodes": "resources",
    "memory": "resources",
    "walltime": "resources",
    "gpus": "resources",
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=options, title=arguments, seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
def test_whatever_is_chosen_both_forms_give_the_same(
    chosen: Mapping[str, object], title: object, seeds: list[int], folder: Path
) -> None:
    import yaml

    def escaped(value: object) -> object:
        if isinstance(value, str):
            return value.replace("${", "$${")
        if isinstance(value, list):
            return [escaped(item) for item in value]
        return {key: escaped(item) for key, item in value.items()} if isinstance(value, dict) else value

    chosen = {key: value for key, value in chosen.items() if "${" not in repr(value)}
    fields: dict[str, object] = {}
    for name, value in chosen.items():
        group = _GROUPED.get(name, "placement" if name == "partition" else "")
        target = fields.setdefault(group, {}) if group else fields
        assert isinstance(target, dict)
        target[name] = value
    document = {
        "name": "p",
        "tasks": {
            "shards": {
                "call": "functions.py:shards",
                "matrix": {"count": seeds},
                "args": {"count": "${count}"},
                **fields,
            },
            "report": {
                "call": "functions.py:report",
                "args": {"scores": {"result_of": "shards"}, "title": escaped(title)},
            },
        },
    }
    python = f"""
        @pipeline
        def p():
            made = shards.options(**{chosen!r}).map(count={seeds!r})
            report(made, title={title!r})
    """

    one, other = both(folder, python, yaml.safe_dump(document, sort_keys=False))

    assert one == other


def test_one_of_several_pipelines_is_chosen_by_name(folder: Path) -> None:
    (folder / "p.py").write_text(
        "from elisa import pipeline\nfrom functions import *\n"
        "@pipeline(name='first-one')\ndef first():\n    prepare()\n"
        "@pipeline\ndef second():\n    shards(1)\n"
    )

    names = [load(folder / name).tasks[0].name for name in ("p.py:first", "p.py:first-one", "p.py:second")]

    assert names == ["prepare", "prepare", "shards"]
    with pytest.raises(SpecError, match="there is no pipeline `third`"):
        load(folder / "p.py:third")


def test_two_folders_may_have_files_of_the_same_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "functions.py").write_text(f"from elisa import task\n@task\ndef {name}():\n    pass\n")
        (tmp_path / name / "p.py").write_text(
            f"from elisa import pipeline\nfrom functions import {name}\n@pipeline\ndef p():\n    {name}()\n"
        )

    assert [load(tmp_path / name / "p.py").tasks[0].name for name in ("one", "two")] == ["one", "two"]
    assert "functions" not in sys.modules
    assert str(tmp_path / "one") not in sys.path


def test_what_a_file_prints_goes_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.py").write_text(
        "from elisa import pipeline\nfrom functions import *\nprint('hello')\n@pipeline\ndef p():\n    prepare()\n"
    )

    load(folder / "p.py")

    assert capsys.readouterr() == ("", "hello\n")


def test_a_problem_in_a_neighbour_is_told_at_its_own_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "functions.py").write_text("from elisa import task\n\n\n@task(cpus=0)\ndef prepare():\n    pass\n")
    (folder / "p.py").write_text(
        "from elisa import pipeline\nfrom functions import *\n@pipeline\ndef p():\n    prepare()\n"
    )
    monkeypatch.chdir(folder.parent)

    with pytest.raises(SpecError) as caught:
        load(Path(folder.name) / "p.py")

    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (f"{folder.name}/functions.py", 4)


def test_a_function_from_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "far_away.py").write_text("from elisa import task\n@task\ndef far():\n    pass\n")
    (tmp_path / "here" / "p.py").write_text(
        "import sys\nsys.path.append('..')\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "from elisa import pipeline\nfrom far_away import far\n@pipeline\ndef p():\n    far()\n"
    )

    with pytest.raises(SpecError, match="leads out of the pipeline's folder"):
        load(tmp_path / "here" / "p.py")


def test_each_outside_of_a_map_is_refused(folder: Path) -> None:
    (folder / "p.py").write_text(
        "from elisa import pipeline, task\nfrom functions import *\n@pipeline\ndef p():\n    report(task.each(shards(2)))\n"
    )

    with pytest.raises(SpecError, match=r"`task.each\(shards\)` outside of `.map`"):
        load(folder / "p.py")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("report(float('nan'))", "nan cannot stand in a pipeline"),
        ("report(-float('inf'))", "-inf cannot stand in a pipeline"),
        ("report('\\x1b[2J')", "a character that cannot be seen"),
        ("report({'a\\0b': 1})", "a character that cannot be seen"),
        ("prepare.options(environment={'A': '\\x07'})()", "a character that cannot be seen"),
        ("task.command('run', ['echo', '\\u202e'])", "a character that cannot be seen"),
        ("report([prepare(), 3])", "the result of `prepare` inside another value"),
    ],
)
def test_values_that_cannot_travel_are_refused_at_their_line(call: str, words: str, folder: Path) -> None:
    (folder / "p.py").write_text(
        f"from elisa import pipeline, task\nfrom functions import *\n@pipeline\ndef p():\n    {call}\n"
    )

    with pytest.raises(SpecError) as caught:
        load(folder / "p.py")

    assert [(problem.line, problem.what) for problem in caught.value.problems] == [(5, words)]


def test_needs_may_be_handles_and_matching_ones(folder: Path) -> None:
    one, other = both(
        folder,
        """
        @pipeline
        def p():
            made = shards.map(count=[1, 2])
            judge.options(needs=[made.matching("count")]).map(model=[0], data=made)
            prepare.options(needs=made)()
        """,
        """
        name: p
        tasks:
          shards: {call: functions.py:shards, matrix: {count: [1, 2]}, args: {count: "${count}"}}
          judge:
            call: functions.py:judge
            matrix: {count: [1, 2], model: [0]}
            args: {model: "${model}", data: {result_of: shards, match: count}}
            needs: {task: shards, match: count}
          prepare: {call: functions.py:prepare, needs: shards, resources: {cpus: 2, memory: 2GiB}}
        """,
    )

    assert one == other


def test_an_author_may_settle_for_the_results_of_those_that_succeed(folder: Path) -> None:
    one, other = both(
        folder,
        """
        @pipeline
        def p():
            made = shards.map(count=[1, 2, 3])
            report.options(needs=[{"task": made, "at_least": 2}])(made)
        """,
        """
        name: p
        tasks:
          shards: {call: functions.py:shards, matrix: {count: [1, 2, 3]}, args: {count: "${count}"}}
          report:
            call: functions.py:report
            args: {scores: {result_of: shards}}
            needs: {task: shards, at_least: 2}
        """,
    )

    assert one == other
    assert [need.at_least for need in one.tasks[-1].needs] == [2]


def test_a_file_that_was_changed_within_the_second_it_was_read_in_is_read_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    text = "from elisa import pipeline, task\n\n@task\ndef {name}(): ...\n\n@pipeline(name='p')\ndef study():\n    {name}()\n"

    def read(name: str) -> str:
        (folder / "p.py").write_text(text.format(name=name))
        os.utime(folder / "p.py", (1e9, 1e9))
        return load(folder / "p.py").tasks[0].name

    assert [read("one"), read("two")] == ["one", "two"]
