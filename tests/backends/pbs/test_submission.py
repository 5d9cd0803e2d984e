"""qsub's command line, and the one line that becomes the agent, tried out with a real shell."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.pbs.identity import Names
from elisa.backends.pbs.options import Charge, Dialect, PbsOptions
from elisa.backends.pbs.submission import EXTRAS, parse_submit, render_command, render_script, submit_argv
from elisa.backends.runner import Completed
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import MPS, GpuRequest, Resources
from tests.backends.pbs.bench import INSTANCE, a_request, attempt, recorded

NAMES = Names(instance=INSTANCE, limit=230)
PLAIN = PbsOptions()
RICH = Resources(
    nodes=2,
    tasks_per_node=4,
    cpus_per_task=2,
    memory_mib_per_node=16000,
    walltime_s=5400,
    gpus=GpuRequest(per_node=2, types=("a100", "h100")),
    licences=(("matlab", 2),),
    features=("bigmem", "switch=s1"),
    constraint="arch=linux",
    exclusive=True,
)


def argv(request: JobRequest, options: PbsOptions = PLAIN, dialect: Dialect = Dialect.OPENPBS) -> tuple[str, ...]:
    return submit_argv("qsub", request, NAMES, options, dialect)


def wishes(request: JobRequest, options: PbsOptions = PLAIN, dialect: Dialect = Dialect.OPENPBS) -> list[str]:
    """Return the values of -l."""
    words = argv(request, options, dialect)
    return [after for word, after in itertools.pairwise(words) if word == "-l"]


def option(request: JobRequest, letter: str, options: PbsOptions = PLAIN) -> list[str]:
    words = argv(request, options)
    return [after for word, after in itertools.pairwise(words) if word == letter]


def test_plain_job_of_openpbs() -> None:
    assert argv(replace(a_request(), priority=4)) == (
        *("qsub", "-N", "el.ab12.t000000001.1", "-r", "n", "-m", "n", "-o", "/dev/null", "-e", "/dev/null"),
        *("-l", "select=1:ncpus=1:mpiprocs=1:ompthreads=1", "-l", "place=pack", "-l", "walltime=3600"),
        *("--", "/bin/sh", "-c"),
        (
            "cd -- /home/ada/run && true >>/home/ada/run/agent.log 2>>/home/ada/run/agent.log || kill -31 $$; "
            'exec env PATH="${PBS_O_PATH:-$PATH}" ELISA_NATIVE_ID="$PBS_JOBID".t000000001.1 '
            "/usr/bin/python3 -m elisa.runtime >>/home/ada/run/agent.log 2>>/home/ada/run/agent.log"
        ),
    )


def test_plain_job_of_torque_is_a_script_without_directives() -> None:
    request = replace(a_request(), priority=4)

    assert argv(request, dialect=Dialect.TORQUE) == (
        *("qsub", "-S", "/bin/sh", "-N", "el.ab12.t000000001.1", "-r", "n", "-m", "n"),
        *("-o", "/dev/null", "-e", "/dev/null", "-l", "nodes=1:ppn=1,walltime=3600"),
    )
    assert render_script(request) == f"#!/bin/sh\n{render_command(request)}\n"


def test_every_resource_has_its_word() -> None:
    assert wishes(a_request(resources=RICH), PbsOptions(gpu_type="gpu_model")) == [
        "select=2:ncpus=8:mpiprocs=4:ompthreads=2:mem=16000mb:ngpus=2:gpu_model=a100:bigmem=True:switch=s1:arch=linux",
        "place=scatter:exclhost",
        "walltime=5400",
        "matlab=2",
    ]


PERCENTS = Resources(gpus=GpuRequest(per_node=40, types=(MPS,), parts=100))


def test_percents_of_a_gpu_are_asked_for_by_the_resource_that_the_site_names() -> None:
    assert "ngpu_percent=40" in wishes(a_request(resources=PERCENTS), PbsOptions(mps="ngpu_percent"))[0]


@pytest.mark.parametrize(
    ("dialect", "hint"), [(Dialect.OPENPBS, "set `mps` of the pbs backend"), (Dialect.TORQUE, "choose another backend")]
)
def test_a_pbs_without_such_a_resource_says_that_it_has_none(dialect: Dialect, hint: str) -> None:
    with pytest.raises(Rejected, match="a percentage of a GPU") as caught:
        wishes(a_request(resources=PERCENTS), dialect=dialect)

    assert caught.value.why == "PBS by itself shares no GPU by MPS"
    assert caught.value.hint.startswith(hint)


def test_every_resource_has_its_word_in_torque() -> None:
    request = replace(a_request(resources=RICH), qos="long", reservation="r7")

    assert wishes(request, dialect=Dialect.TORQUE) == [
        "nodes=2:ppn=8:gpus=2:a100:bigmem:switch=s1:arch=linux,mem=32000mb,qos=long,advres=r7,walltime=5400,matlab=2"
    ]
    assert argv(request, dialect=Dialect.TORQUE)[-1] == "-n"


@pytest.mark.parametrize(
    ("more", "charge"),
    [({"account": "climate"}, Charge.PROJECT), ({"extras": (("project", "climate"),)}, Charge.ACCOUNT)],
)
def test_torque_takes_no_project_for_whom_it_would_take_it(more: dict[str, object], charge: Charge) -> None:
    request = replace(a_request(), **more)  # type: ignore[arg-type]  # by name

    with pytest.raises(Rejected, match="no projects"):
        argv(request, PbsOptions(charge=charge), Dialect.TORQUE)
    assert "-P" in argv(request, PbsOptions(charge=charge))


def test_nodes_that_a_plan_chose_are_a_chunk_each() -> None:
    request = a_request(resources=Resources(nodes=2, cpus_per_task=4, nodelist=("n1", "n2")))

    assert wishes(request)[0] == (
        "select=1:ncpus=4:mpiprocs=1:ompthreads=4:host=n1+1:ncpus=4:mpiprocs=1:ompthreads=4:host=n2"
    )
    assert wishes(request, dialect=Dialect.TORQUE) == ["nodes=n1:ppn=4+n2:ppn=4,walltime=3600"]


def test_one_switch_is_asked_for_as_a_group_of_nodes() -> None:
    request = a_request(resources=Resources(nodes=4, switches=1, exclusive=True))

    assert "place=scatter:exclhost:group=rack" in wishes(request, PbsOptions(switch="rack"))
    assert "place=pack" in wishes(a_request(resources=Resources(switches=1)))


@pytest.mark.parametrize(("switches", "switch"), [(1, ""), (2, "rack")])
def test_switches_that_pbs_cannot_count_are_rejected(switches: int, switch: str) -> None:
    request = a_request(resources=Resources(nodes=4, switches=switches))

    with pytest.raises(Rejected, match="switch"):
        wishes(request, PbsOptions(switch=switch))


def test_every_wish_has_its_option() -> None:
    request = replace(
        a_request(),
        partition="long",
        account="physics",
        after=(NativeId("7.vm.t000000002.1"), NativeId("8.vm")),
        extras=(("project", "p1"), ("place", "free"), ("resource.filesystems", "home"), ("chunk.cpu", "rome")),
    )
    options = PbsOptions(umask="0027")
    going_on = replace(request, after=(), after_any=(NativeId("9.vm.t000000001.1"),))

    assert option(going_on, "-W", options) == ["umask=0027", "depend=afterany:9.vm"]
    assert option(request, "-q", options) == ["long"]
    assert option(request, "-A", options) == ["physics"]
    assert option(request, "-P", options) == ["p1"]
    assert option(request, "-W", options) == ["umask=0027", "depend=afterok:7.vm:8.vm"]
    assert wishes(request, options) == [
        "select=1:ncpus=1:mpiprocs=1:ompthreads=1:cpu=rome",
        "place=free",
        "walltime=3600",
        "filesystems=home",
    ]


def test_account_may_be_a_project() -> None:
    options = PbsOptions.read({"charge": "project"})

    assert option(replace(a_request(), account="physics"), "-P", options) == ["physics"]


def test_a_reservation_is_a_queue() -> None:
    assert option(replace(a_request(), reservation="R12"), "-q") == ["R12"]


@pytest.mark.parametrize(("priority", "lower"), [(4, []), (9, []), (3, ["-10"]), (0, ["-40"]), (-500, ["-1024"])])
def test_priority_only_lowers(priority: int, lower: list[str]) -> None:
    assert option(replace(a_request(), priority=priority), "-p") == lower


@pytest.mark.parametrize(
    "wrong",
    [
        {"qos": "long"},
        {"reservation": "R1", "partition": "workq"},
        {"after": (NativeId("nonsense"),)},
        {"extras": (("V", ""),)},
        {"extras": (("resource.walltime", "9"),)},
        {"extras": (("chunk.ncpus", "9"),)},
        {"extras": (("chunk.a b", "9"),)},
        {"extras": (("resource.", "9"),)},
        {"partition": "a\nb"},
        {"environment": (("A B", "1"),)},
        {"resources": Resources(gpus=GpuRequest(per_node=1, types=("a100",)))},
    ],
)
def test_what_can_not_be_said_is_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        argv(replace(a_request(), **wrong))  # type: ignore[arg-type]  # a table of fields


def test_extras_are_options_of_qsub_that_undo_nothing() -> None:
    assert set(EXTRAS.values()) == {"-P", "-m", "-M", "-a"}


# the line that becomes the agent


def run(request: JobRequest, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": "/usr/bin:/bin", "PBS_JOBID": "5.vm", **variables}
    return subprocess.run(["/bin/sh", "-c", render_command(request)], env=environment, capture_output=True, check=False)


def a_real_request(folder: Path, *arguments: str, script: str = 'printf "%s\\0" "$@"') -> JobRequest:
    out, err = str(folder / "out"), str(folder / "err")
    return JobRequest(
        attempt=attempt("1"),
        argv=("/bin/sh", "-c", script, "sh", *arguments),
        workdir=str(folder),
        stdout=out,
        stderr=err,
        resources=Resources(),
    )


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@given(arguments=st.lists(TEXTS, max_size=4), value=TEXTS, name=TEXTS.filter(lambda text: 0 < len(text.encode()) < 60))
def test_arguments_variables_and_folders_arrive_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str], value: str, name: str
) -> None:
    folder = tmp_path_factory.mktemp("job") / name.replace("/", "_").replace(".", "_")
    folder.mkdir()
    request = a_real_request(folder, *arguments, script='printf "%s\\0" "$@" "$V" "$PWD"')
    run(replace(request, environment=(("V", value),)))

    expected = [*arguments, value, str(folder)]
    assert (folder / "out").read_bytes() == "".join(f"{text}\0" for text in expected).encode()


@given(TEXTS)
def test_what_pbs_shows_of_a_job_is_one_printable_line(text: str) -> None:
    command = render_command(a_real_request(Path("/tmp"), text))

    assert all(32 <= ord(letter) < 127 for letter in command)


def test_bytes_that_are_no_text_arrive_too(tmp_path: Path) -> None:
    run(a_real_request(tmp_path, b"caf\xe9".decode(errors="surrogateescape")))

    assert (tmp_path / "out").read_bytes() == b"caf\xe9\0"


def test_the_job_knows_its_native_id_and_the_path_of_whoever_submitted(tmp_path: Path) -> None:
    run(a_real_request(tmp_path, script="echo $ELISA_NATIVE_ID $PATH"), PBS_O_PATH="/opt/site/bin:/usr/bin:/bin")

    assert (tmp_path / "out").read_text() == "5.vm.t000000001.1 /opt/site/bin:/usr/bin:/bin\n"


def test_a_program_in_a_folder_with_an_equals_sign_is_run(tmp_path: Path) -> None:
    program = tmp_path / "a=b"
    program.write_text("#!/bin/sh\necho ran $1\n")
    program.chmod(0o755)
    run(replace(a_real_request(tmp_path), argv=(str(program), "it")))

    assert (tmp_path / "out").read_text() == "ran it\n"


def test_the_shell_becomes_the_program(tmp_path: Path) -> None:
    got = run(a_real_request(tmp_path, script="kill -TERM $$"))

    assert got.returncode == -15


@pytest.mark.parametrize("missing", ["workdir", "stdout", "stderr"])
def test_a_folder_or_log_that_is_missing_is_told_by_a_signal_of_its_own(tmp_path: Path, missing: str) -> None:
    request = replace(a_real_request(tmp_path), **{missing: str(tmp_path / "none" / "x")})  # type: ignore[arg-type]  # by name

    assert run(request).returncode == -31


def test_logs_are_appended_to(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before\n")
    run(a_real_request(tmp_path, script="echo after"))

    assert (tmp_path / "out").read_text() == "before\nafter\n"


# the answer


@pytest.mark.parametrize("answer", [recorded("qsub_ok"), Completed(exit_code=0, stdout="Welcome to the site\n2.vm\n")])
def test_the_id_is_found_in_the_answer(answer: Completed) -> None:
    assert parse_submit(answer, attempt("1")) == "2.vm.t000000001.1"


@pytest.mark.parametrize("text", ["", "no id\n", "1.vm\n2.vm\n", "1[].vm\n"])
def test_an_answer_without_one_id_is_uncertain(text: str) -> None:
    with pytest.raises(SubmitUncertain):
        parse_submit(Completed(exit_code=0, stdout=text), attempt("1"))


def test_a_failure_is_what_it_says() -> None:
    with pytest.raises(Unavailable):
        parse_submit(recorded("serverdown_qsub"), attempt("1"))
