from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elisa.model.affinity import Affinity, Over
from elisa.model.errors import Problem, SpecError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import (
    Backoff,
    CheckpointPolicy,
    Gang,
    Grow,
    Need,
    NeedKind,
    OnUnmet,
    Output,
    Pipeline,
    PriorityClass,
    Promise,
    RestartWhen,
    RetryPolicy,
    SitePlacement,
    TaskSpec,
)
from elisa.model.resources import Component, GpuRequest, Resources
from elisa.model.states import EndReason
from elisa.pipelines.load import load
from tests.pipelines.documents import NOW, problems_of, read, read_tasks, the_task


def test_a_small_pipeline_is_read_whole() -> None:
    pipeline = read("name: tiny\ntasks:\n  hello: {command: [echo, hello]}\n")

    assert pipeline == Pipeline(
        name="tiny",
        project=ProjectName("default"),
        tasks=(TaskSpec(name="hello", command=("echo", "hello")),),
        folder="/home/ada/study",
    )


def test_the_head_is_read_whole() -> None:
    pipeline = read("""\
        name: study
        project: nlp
        deadline: 2026-12-24T18:00+01:00
        importance: 2.5
        priority: high
        labels: {team: blue, year: 2026}
        metadata: {data: {name: wiki, version: 3}, tags: [a, b]}
        tasks:
          a: {command: [x]}
    """)

    assert pipeline == Pipeline(
        name="study",
        project=ProjectName("nlp"),
        tasks=(TaskSpec(name="a", command=("x",), priority=PriorityClass.HIGH),),
        folder="/home/ada/study",
        deadline=datetime(2026, 12, 24, 17, 0, tzinfo=UTC),
        importance=2.5,
        priority=PriorityClass.HIGH,
        labels=(("team", "blue"), ("year", "2026")),
        metadata=(("data", '{"name":"wiki","version":3}'), ("tags", '["a","b"]')),
    )


def test_all_of_a_task_is_read() -> None:
    task = the_task("""\
        workdir: src
        environment: {OMP_NUM_THREADS: 4, EMPTY: "", WHERE: "${task_dir}/tmp"}
        pass_environment: [HOME, USER]
        resources:
          nodes: 2
          tasks_per_node: 4
          cpus: 8
          memory: 64GiB
          walltime: 1-12:00:00
          gpus: {count: 4, types: [h100, a100], memory: 40GiB}
          licences: {matlab: 2}
          features: [ib, ssd]
          constraint: "[rack1|rack2]&fast"
          exclusive: true
        gang: {name: together, minimum: 1, timeout: 1h}
        retry:
          limit: 5
          restart: always
          on: [timeout, out_of_memory]
          backoff: {initial: 1m, factor: 3, maximum: 2h, jitter: 0.2}
          grow: {memory: 2, walltime: 1.25, memory_maximum: 256GiB, walltime_maximum: 3d}
        checkpoint: {interval: 10m, keep: 3, pattern: "restart.*.nc", complete_when: "{}.done", signal: USR1, lead: 2m}
        preemptible: false
        priority: critical
        importance: 7
        promise: {metric: loss, worst: 2.5, best: 0}
        placement:
          {backend: slurm, partition: gpu, account: p1, qos: long, reservation: r.1, extras: {comment: "a b", mail-type: END}}
        outputs:
          model: model.npz
          table: {path: out/table.csv, format: csv, columns: [a, b], optional: true}
        labels: {kind: big}
        metadata: {sim_duration: 2h}
    """)

    assert task == TaskSpec(
        name="a",
        command=("x",),
        workdir="src",
        environment=(("OMP_NUM_THREADS", "4"), ("EMPTY", ""), ("WHERE", "${task_dir}/tmp")),
        pass_environment=("HOME", "USER"),
        resources=Resources(
            nodes=2,
            tasks_per_node=4,
            cpus_per_task=8,
            memory_mib_per_node=65536,
            walltime_s=129_600,
            gpus=GpuRequest(per_node=4, types=("h100", "a100"), memory_mib=40960),
            licences=(("matlab", 2),),
            features=("ib", "ssd"),
            constraint="[rack1|rack2]&fast",
            exclusive=True,
        ),
        gang=Gang(name="together", minimum=1, timeout_s=3600),
        retry=RetryPolicy(
            limit=5,
            restart=RestartWhen.ALWAYS,
            on=(EndReason.TIMEOUT, EndReason.OUT_OF_MEMORY),
            backoff=Backoff(initial_s=60.0, factor=3.0, maximum_s=7200.0, jitter=0.2),
            grow=Grow(memory_factor=2.0, walltime_factor=1.25, memory_maximum_mib=262_144, walltime_maximum_s=259_200),
        ),
        checkpoint=CheckpointPolicy(
            interval_s=600.0, keep=3, pattern="restart.*.nc", complete_when="{}.done", signal="USR1", lead_s=120.0
        ),
        preemptible=False,
        priority=PriorityClass.CRITICAL,
        importance=7.0,
        promise=Promise(metric="loss", worst=2.5, best=0.0),
        placement=SitePlacement(
            backend="slurm",
            partition="gpu",
            account="p1",
            qos="long",
            reservation="r.1",
            extras=(("comment", "a b"), ("mail-type", "END")),
        ),
        outputs=(
            Output(name="model", path="model.npz"),
            Output(name="table", path="out/table.csv", format="csv", columns=("a", "b"), optional=True),
        ),
        labels=(("kind", "big"),),
        metadata=(("sim_duration", '"2h"'),),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resources: {gpus: 2}", TaskSpec(name="a", command=("x",), resources=Resources(gpus=GpuRequest(per_node=2)))),
        (
            "resources: {gpus: {mps: 40}}",
            TaskSpec(
                name="a",
                command=("x",),
                resources=Resources(gpus=GpuRequest(per_node=40, types=("mps",), parts=100)),
            ),
        ),
        (
            "resources: {gpus: {count: 1, types: a100}}",
            TaskSpec(name="a", command=("x",), resources=Resources(gpus=GpuRequest(per_node=1, types=("a100",)))),
        ),
        ("gang: g", TaskSpec(name="a", command=("x",), gang=Gang(name="g"))),
        ("retry: 0", TaskSpec(name="a", command=("x",), retry=RetryPolicy(limit=0))),
        ("retry: {on: failed}", TaskSpec(name="a", command=("x",), retry=RetryPolicy(on=(EndReason.FAILED,)))),
        ("checkpoint: true", TaskSpec(name="a", command=("x",), checkpoint=CheckpointPolicy())),
        ("checkpoint: false", TaskSpec(name="a", command=("x",))),
        ("checkpoint: {}", TaskSpec(name="a", command=("x",), checkpoint=CheckpointPolicy())),
        ("needs: []", TaskSpec(name="a", command=("x",))),
    ],
)
def test_short_forms_mean_the_long_ones(text: str, expected: TaskSpec) -> None:
    assert the_task(text) == expected


def test_a_shell_command_is_one_string() -> None:
    task = read_tasks("a:\n  command: make -j4 && ./model $HOME ${task_dir} $${USER}\n  shell: true\n")["a"]

    assert (task.shell, task.command) == (True, ("make -j4 && ./model $HOME ${task_dir} ${USER}",))


def test_words_of_a_command_are_kept_to_the_byte() -> None:
    words = read_tasks("""a: {command: ["$(x)", "a'; rm", "-1", 007, 1.50, true_, " ", "", "l1\\nl2\\t", "*"]}""")

    assert words["a"].command == ("$(x)", "a'; rm", "-1", "007", "1.50", "true_", " ", "", "l1\nl2\t", "*")


@pytest.mark.parametrize(
    ("written", "need"),
    [
        ("b", Need(tasks=("b",))),
        ("[b]", Need(tasks=("b",))),
        ("{task: b}", Need(tasks=("b",))),
        ("{tasks: [b, c]}", Need(tasks=("b", "c"))),
        ("{any: [b, c]}", Need(tasks=("b", "c"), at_least=1)),
        ("{tasks: [b, c, m], at_least: 3}", Need(tasks=("b", "c", "m-i=1", "m-i=2"), at_least=3)),
        ("{any: m}", Need(tasks=("m-i=1", "m-i=2"), at_least=1)),
        ("m-i=2", Need(tasks=("m-i=2",))),
        ("{task: b, kind: completion}", Need(tasks=("b",), kind=NeedKind.COMPLETION)),
        ("{task: b, output: o}", Need(tasks=("b",), kind=NeedKind.DATA, output="o")),
        ("{task: b, kind: data, output: o}", Need(tasks=("b",), kind=NeedKind.DATA, output="o")),
        ("{task: c, step: 10}", Need(tasks=("c",), kind=NeedKind.CHECKPOINT, step=10)),
        ("{task: c, kind: checkpoint}", Need(tasks=("c",), kind=NeedKind.CHECKPOINT)),
        ("{task: c, kind: checkpoint, step: 0}", Need(tasks=("c",), kind=NeedKind.CHECKPOINT)),
        ("{task: b, timeout: 1h, on_unmet: run}", Need(tasks=("b",), timeout_s=3600, on_unmet=OnUnmet.RUN)),
    ],
)
def test_needs_are_read_in_all_their_forms(written: str, need: Need) -> None:
    tasks = read_tasks(f"""\
        a: {{command: [x], needs: {written}}}
        b: {{command: [x], outputs: {{o: o.txt}}}}
        c: {{command: [x], checkpoint: true}}
        m: {{command: [x], matrix: {{i: [1, 2]}}}}
    """)

    assert tasks["a"].needs == (need,)


def test_defaults_are_merged_into_every_task() -> None:
    pipeline = read("""\
        name: x
        defaults:
          resources: {cpus: 4, memory: 8GiB, gpus: {count: 1, types: a100}}
          environment: {A: 1, B: 2}
          retry: 5
          needs: []
        tasks:
          plain: {command: [x]}
          own:
            command: [x]
            resources: {cpus: 2, gpus: 0}
            environment: {B: 3}
            retry: {limit: 1}
    """)

    plain, own = pipeline.tasks
    assert plain.resources == Resources(
        cpus_per_task=4, memory_mib_per_node=8192, gpus=GpuRequest(per_node=1, types=("a100",))
    )
    assert (plain.environment, plain.retry.limit) == ((("A", "1"), ("B", "2")), 5)
    assert own.resources == Resources(cpus_per_task=2, memory_mib_per_node=8192)
    assert (dict(own.environment), own.retry.limit) == ({"A": "1", "B": "3"}, 1)


def test_tasks_take_the_pipelines_priority_unless_they_have_their_own() -> None:
    pipeline = read("name: x\npriority: low\ntasks:\n  a: {command: [x]}\n  b: {command: [x], priority: high}\n")

    assert [task.priority for task in pipeline.tasks] == [PriorityClass.LOW, PriorityClass.HIGH]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("+3d", NOW + timedelta(days=3)),
        ("+1h30m", NOW + timedelta(hours=1, minutes=30)),
        ("2026-12-24T18:00Z", datetime(2026, 12, 24, 18, tzinfo=UTC)),
        ("2026-12-24 18:00-05:00", datetime(2026, 12, 24, 23, tzinfo=UTC)),
    ],
)
def test_deadlines_are_dates_with_a_zone_or_times_from_now(written: str, moment: datetime) -> None:
    assert read(f"name: x\ndeadline: {written}\ntasks:\n  a: {{command: [x]}}\n").deadline == moment


def test_a_condition_waits_for_the_end_of_the_tasks_it_speaks_of() -> None:
    tasks = read_tasks("""\
        a: {command: [x]}
        b: {command: [x]}
        m: {command: [x], matrix: {i: [1, 2]}}
        report:
          command: [x]
          needs: [a]
          when: a.loss < 1 and b.state == "failed" and max(m.score) > 1
    """)

    assert tasks["report"].needs == (
        Need(tasks=("a",)),
        Need(tasks=("b",), kind=NeedKind.COMPLETION),
        Need(tasks=("m-i=1", "m-i=2"), kind=NeedKind.COMPLETION),
    )
    assert tasks["report"].when == 'a.loss < 1 and b.state == "failed" and max(m.score) > 1'


def test_a_paired_task_may_be_judged_alone() -> None:
    tasks = read_tasks("""\
        train: {command: [x], matrix: {seed: [1, 2]}}
        polish:
          command: [x]
          matrix: {seed: [1, 2]}
          needs: {task: train, match: seed}
          when: train.accuracy > 0.9
    """)

    assert [need.tasks for need in tasks["polish-seed=2"].needs] == [("train-seed=2",)]


def test_a_folder_of_a_group_is_that_of_the_one_instance_that_is_needed() -> None:
    tasks = read_tasks("""\
        train: {command: [x], matrix: {seed: [1, 2]}}
        judge:
          command: [x, "${dir.train}/model"]
          environment: {MODEL: "${dir.train}"}
          workdir: ${dir.train}
          matrix: {seed: [1, 2]}
          needs: {task: train, match: seed}
          outputs: {o: "${task_dir}/o.txt"}
    """)

    judge = tasks["judge-seed=2"]
    assert judge.command == ("x", "${dir.train-seed=2}/model")
    assert judge.environment == (("MODEL", "${dir.train-seed=2}"),)
    assert judge.workdir == "${dir.train-seed=2}"


def test_a_folder_may_be_that_of_a_need_of_a_need() -> None:
    tasks = read_tasks("""\
        a: {command: [x]}
        b: {command: [x], needs: [a]}
        c: {command: [x, "${dir.a}", "${dir.c}"], needs: [b]}
    """)

    assert tasks["c"].command == ("x", "${dir.a}", "${dir.c}")


def test_a_template_of_a_list_keeps_its_tokens_and_waits_for_the_list() -> None:
    tasks = read_tasks("""\
        shards: {command: [x], outputs: {list: {path: list.json, format: json}}}
        each:
          command: [process, "${item}", "${item.name}", "${task_dir}"]
          foreach: {task: shards, output: list, limit: 5}
        merge: {command: [x], needs: [each]}
    """)

    each = tasks["each"]
    assert each.expansion is not None
    assert (each.expansion.source, each.expansion.output, each.expansion.limit) == ("shards", "list", 5)
    assert each.command == ("process", "${item}", "${item.name}", "${task_dir}")
    assert (each.group, each.needs) == ("each", (Need(tasks=("shards",)),))
    assert tasks["merge"].needs == (Need(tasks=("each",)),)


def test_a_file_is_read_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: x\ntasks:\n  a: {command: [x]}\n")

    assert load(tmp_path / "p.yaml").folder == str(tmp_path)


def test_the_folder_is_absolute_and_links_stay_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "p.yaml").write_text("name: x\ntasks:\n  a: {command: [x]}\n")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)

    assert load(Path("link/p.yaml")).folder == str(tmp_path / "link")


def test_now_is_this_moment_if_nobody_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: x\ndeadline: +1h\ntasks:\n  a: {command: [x]}\n")
    before = datetime.now(UTC)

    deadline = load(tmp_path / "p.yaml").deadline

    assert deadline is not None
    assert before + timedelta(hours=1) <= deadline <= datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize("name", ["nothing.yaml", "nothing.py", "nothing.py:digits"])
def test_a_file_that_is_not_there_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SpecError) as caught:
        load(Path(name))

    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (name.partition(":")[0], 0)
    assert problem.what.startswith("cannot be read: ")


def test_a_folder_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Is a directory"):
        load(tmp_path)


def test_a_problem_of_every_instance_is_told_once() -> None:
    problems = problems_of("""\
        name: x
        tasks:
          a:
            command: [x, "${i}"]
            matrix: {i: [1, 2, 3]}
            resources: {cpus: 0}
            needs: [b]
    """)

    assert problems == (
        Problem(file="p.yaml", line=6, what="`cpus` wants a whole number from 1 to 100000", text="0"),
        Problem(file="p.yaml", line=7, what="there is no task `b`", text="b", hint="known are: a"),
    )


def test_what_stands_in_a_file_cannot_write_on_the_terminal() -> None:
    problems = problems_of(
        'name: x\ntasks:\n  "\\u263a[/red]": {command: [x]}\n  a: {command: [x], needs: ["b\\tc"]}\n'
    )

    assert [problem.text for problem in problems] == ["☺[/red]", "b\\tc"]


def test_a_dependency_of_all_on_all_has_a_limit() -> None:
    many = ", ".join(str(number) for number in range(1500))

    (problem,) = problems_of(f"""\
        name: x
        tasks:
          a: {{command: [x], matrix: {{i: [{many}]}}}}
          b: {{command: [x], matrix: {{i: [{many}]}}, needs: [a]}}
    """)

    assert problem.what == "2250000 dependencies; 2000000 is the most"


def test_ten_thousand_instances_share_what_is_the_same() -> None:
    many = ", ".join(str(number) for number in range(3000))

    tasks = list(
        read_tasks(f"a:\n  command: [x, '${{i}}']\n  matrix: {{i: [{many}]}}\n  resources: {{cpus: 2}}\n").values()
    )

    assert len(tasks) == 3000
    assert all(task.resources is tasks[0].resources for task in tasks)


def test_more_tasks_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elisa.pipelines.instances.MAX_TASKS", 3)

    (problem,) = problems_of("""\
        name: x
        tasks:
          a: {command: [x], matrix: {i: [1, 2, 3]}}
          b: {command: [x]}
          c: {command: [x]}
    """)

    assert (problem.line, problem.what) == (4, "more than 3 tasks")


def test_memory_for_each_core_is_memory_on_each_node() -> None:
    task = the_task("resources: {nodes: 2, tasks_per_node: 3, cpus: 4, memory_per_cpu: 2GiB}\n")

    assert task.resources.memory_mib_per_node == 3 * 4 * 2048


def test_an_extra_may_name_a_resource_of_pbs() -> None:
    task = the_task("placement: {extras: {resource.fluent: '2'}}\n")

    assert task.placement.extras == (("resource.fluent", "2"),)


def test_a_tie_to_other_tasks_is_over_nodes_unless_it_says_switches() -> None:
    task = the_task("""\
placement:
  affinity: {labels: {role: db}, over: switch, weight: 7}
  anti_affinity: [{labels: {role: db}, over: node}, {labels: {role: web}}]
""")

    assert task.placement.affinity == (
        Affinity(labels=(("role", "db"),), over=Over.SWITCH, weight=7),
        Affinity(labels=(("role", "db"),), apart=True),
        Affinity(labels=(("role", "web"),), apart=True),
    )


def test_to_be_on_one_switch_but_on_no_node_together_is_no_contradiction() -> None:
    both = read_tasks("""\
  a: {command: [x]}
  b: {command: [x], placement: {affinity: {tasks: a, over: switch}, anti_affinity: a}}
""")["b"].placement.affinity

    assert [(one.over, one.apart) for one in both] == [(Over.SWITCH, False), (Over.NODE, True)]


def test_a_heterogeneous_job_is_one_task_with_components() -> None:
    task = the_task("""\
resources:
  cpus: 8
  walltime: 2h
  components:
    - {nodes: 2, tasks_per_node: 4, gpus: {count: 4, types: a100}}
    - {cpus: 32, memory: 64GiB, features: big}
""")

    assert task.resources == Resources(
        cpus_per_task=8,
        walltime_s=7200,
        components=(
            Component(nodes=2, tasks_per_node=4, gpus=GpuRequest(per_node=4, types=("a100",))),
            Component(cpus_per_task=32, memory_mib_per_node=65536, features=("big",)),
        ),
    )
    assert (task.resources.node_count, task.resources.cpus, task.resources.gpu_count) == (4, 8 + 8 + 32, 8)
