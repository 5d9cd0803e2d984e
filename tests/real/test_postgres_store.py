"""The store on a real PostgreSQL server: the same laws as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.changes import (
    AttemptMoved,
    CancelRequested,
    Change,
    CheckpointSeen,
    CursorMoved,
    MetricSeen,
    Noted,
    OutputSeen,
    PassedOver,
    TasksAdded,
    UsageSeen,
)
from elisa.model.charge import Charge
from elisa.model.errors import PolicyError, StaleChange, StoreBusy, StoreError
from elisa.model.ids import ProjectName
from elisa.model.ports import CrashPoint, no_crash
from elisa.model.reasons import ReasonCode, because
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import CheckpointRef, Usage
from elisa.store.database import create, exists
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import (
    NOW,
    FakeClock,
    SeededRandom,
    a_pipeline,
    a_task,
    an_attempt,
    ended,
    intended,
    moved,
    submitted,
)
from tests.real.postgres_server import PostgresServer
from tests.real_parts import require_real
from tests.store.dying import Child, killed_at

pytestmark = [pytest.mark.real, pytest.mark.slow]

LISTING, TRAIN, REPORT = a_task("list"), a_task("train").made_from("list"), a_task("report").needing("train")
CHILD = a_task("train[0]").child_of("train").ready().in_gang("all", minimum=1).asking(gpus=2)
TRY = an_attempt("train[0]")
STORY: Sequence[Sequence[Change]] = (
    (a_pipeline(LISTING, TRAIN, REPORT).specified(deadline=NOW).added(),),
    (PassedOver(task=REPORT.id, reason=because(ReasonCode.NEEDS_UNMET, missing=1)),),
    (TasksAdded(template=TRAIN.id, tasks=(CHILD.build(),), reason=because(ReasonCode.EXPANDED)),),
    (intended(TRY, Charge(node_s=100, gpu_s=200, gpu_type="a100")),),
    (submitted(TRY),),
    (
        CursorMoved(file="a", inode=2**64 - 1, offset=100, before=0, seq=4),
        CheckpointSeen(attempt=TRY.id, checkpoint=CheckpointRef(path="p", step=5, saved_at=NOW)),
        MetricSeen(attempt=TRY.id, name="loss", value=0.5, step=1),
        MetricSeen(attempt=TRY.id, name="accuracy", value=float("inf")),
        UsageSeen(attempt=TRY.id, usage=Usage(cpu_s=5.0)),
        OutputSeen(attempt=TRY.id, name="model", path="m", ok=True),
        Noted(subject="cluster", what="odd", facts={"words": "it's \\ \" 100 % %s ? :x é"}),
    ),
    (
        AttemptMoved(
            attempt=TRY.id,
            before=AttemptState.SUBMITTED,
            after=AttemptState.RUNNING,
            reason=because(ReasonCode.SEEN),
            started_at=NOW,
        ),
    ),
    (
        ended(TRY, spend=Charge(node_s=130, gpu_s=20, gpu_type="a100")),
        moved(CHILD, TaskState.ACTIVE, TaskState.SUCCEEDED),
        CancelRequested(task=REPORT.id, by="ada"),
    ),
)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    require_real("postgres")
    require_real("psycopg")
    with PostgresServer() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.database()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


def made(home: Path, url: str, crash: CrashPoint = no_crash) -> Writer:
    create(home, clock=FakeClock(), random=SeededRandom(), crash=crash, url=url)
    return Writer.open(home, clock=FakeClock(), actor="ada", crash=crash, timeout_s=0.5)


def tell(home: Path, url: str, crash: CrashPoint = no_crash) -> None:
    with made(home, url, crash) as writer:
        for chapter in STORY[writer.revision() :]:
            writer.apply(chapter)


def everything(reader: Reader) -> list[object]:
    """Ask every question that the two databases must answer alike."""
    ids = [row.id for row in reader.task_rows()]
    return [
        reader.meta()._replace(instance="", created_at=NOW),
        reader.revision(),
        reader.projects(),
        reader.pipelines(unfinished_only=True),
        reader.pipeline(a_pipeline().id),
        reader.task_rows(states=list(TaskState), project="nlp", limit=9),
        reader.tasks(ids),
        reader.children_of(TRAIN.id),
        reader.attempts_of(CHILD.id),
        reader.live_attempts(),
        reader.checkpoints_of(CHILD.id),
        reader.outputs_of(CHILD.id),
        reader.verdicts(ids),
        reader.to_check(NOW),
        reader.next_look_at(),
        reader.cancel_wanted(),
        reader.upstream(ids),
        reader.finished_work(NOW - timedelta(days=1)),
        reader.queue_waits(NOW - timedelta(days=1)),
        reader.ready_work(),
        reader.active_work(),
        reader.saving(),
        reader.promising(),
        reader.saved_work(ids),
        reader.unfinished_due(),
        reader.unfinished_of(a_pipeline().id),
        reader.of_several_classes(),
        reader.lost_deadlines([a_pipeline().id]),
        list(reader.promises()),
        reader.gang_members(),
        reader.gangs_in_parts(),
        reader.ready_columns(),
        reader.usage(NOW),
        reader.events_cursor(),
        reader.last_seqs(),
        [row._replace(previous="", hash="") for row in reader.audit(after=1)],
        reader.ledger(project="nlp"),
        reader.verify_audit().problems,
        reader.resolve("study/report"),
        reader.resolve(REPORT.id[:6]),
    ]


def test_both_databases_tell_the_same_story_at_every_point_of_it(home: Path, url: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with made(home, url) as postgres, made(other, "") as sqlite:
        for chapter in STORY:
            postgres.apply(chapter)
            sqlite.apply(chapter)

            assert everything(postgres) == everything(sqlite)
            with Reader.open(home) as reader:
                assert everything(reader) == everything(sqlite)


def test_the_state_folder_names_its_database_for_its_owner_alone(home: Path, url: str) -> None:
    assert not exists(home)

    made(home, url).close()
    made(home, url).close()

    assert exists(home)
    assert layout.database_url(home).read_text() == f"{url}\n"
    assert layout.database_url(home).stat().st_mode & 0o777 == 0o600
    assert not layout.database(home).exists()


def test_killed_anywhere_a_store_goes_on_from_its_last_whole_transaction(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.database()
    points = 0
    home = tmp_path / "home"
    home.mkdir()
    for points in count(1):
        was_killed = killed_at(points, lambda crash: tell(home, url, crash))
        if exists(home):
            with Reader.open(home) as reader:
                assert reader.verify_audit().problems == ()
        if not was_killed:
            break

    with Reader.open(home) as reader:
        assert reader.revision() == len(STORY)
        assert [row.kind for row in reader.audit(subject=TRY.id)] == [
            "attempt.intended",
            "attempt.submitted",
            "checkpoint.seen",
            "output.seen",
            "attempt.moved",
            "attempt.moved",
        ]
    assert points > 10


def test_a_stale_change_rolls_back_everything_that_came_with_it(home: Path, url: str) -> None:
    with made(home, url) as writer:
        writer.apply(STORY[0])
        before = writer.audit()

        with pytest.raises(StaleChange):
            writer.apply((
                moved(LISTING, TaskState.WAITING, TaskState.READY),
                moved(REPORT, TaskState.READY, TaskState.WAITING),
            ))  # fmt: skip
        with pytest.raises(StaleChange):
            writer.apply((MetricSeen(attempt=an_attempt("nobody").id, name="loss", value=1.0),))

        assert writer.audit() == before


def test_a_hard_cap_is_not_exceeded(home: Path, url: str) -> None:
    caps = (Cap(resource=Metered.NODE_S, limit=99),)
    with made(home, url) as writer:
        writer.set_policy(SitePolicy(projects=(ProjectPolicy(name=ProjectName("nlp"), caps=caps),)))
        for chapter in STORY[:3]:
            writer.apply(chapter)

        with pytest.raises(PolicyError):
            writer.apply(STORY[3])

        assert writer.live_attempts() == ()


def claim(home: Path, name: str) -> str:
    claimed = []
    with Writer.open(home, clock=FakeClock(), actor=name) as writer:
        for row in writer.task_rows(states=[TaskState.READY]):
            try:
                writer.apply((intended(an_attempt(row.id).on(name)),))
                claimed.append(row.id)
            except StaleChange:
                pass
    return " ".join(claimed)


def test_two_processes_never_claim_the_same_task(home: Path, url: str) -> None:
    with made(home, url) as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}").ready() for n in range(100))).added(),))

    claimers = [Child(lambda name=name: claim(home, name)) for name in ("one", "two")]  # type: ignore[misc]
    outcomes = [claimer.outcome() for claimer in claimers]

    claimed = [task for status, words in outcomes for task in words.split() if status == 0]
    assert (len(claimed), len(set(claimed))) == (100, 100)
    with Reader.open(home) as reader:
        assert reader.verify_audit().problems == ()


def test_a_writer_that_waits_in_vain_has_done_nothing(home: Path, url: str) -> None:
    with made(home, url) as holder, made(home, url) as writer:
        holder._db.begin()

        with pytest.raises(StoreBusy):
            writer.apply(STORY[0])

        holder._db.rollback()
        writer.apply(STORY[0])
        assert len(writer.pipelines()) == 1


def test_a_server_that_is_not_there_is_told_without_the_password(home: Path) -> None:
    require_real("psycopg")
    layout.database_url(home).write_text("postgresql://ada:secret@localhost:1/none\n")

    with pytest.raises(StoreError, match="the database server cannot be reached") as refusal:
        Reader.open(home)

    assert "postgresql://ada:***@localhost:1/none" in refusal.value.why
    assert "secret" not in str(refusal.value)


def test_copies_are_left_to_the_server(home: Path, url: str, tmp_path: Path) -> None:
    with made(home, url) as writer:
        assert writer.keep_backup() is None
        assert writer.damage() == ()
        with pytest.raises(StoreError, match="is not copied by elisa"):
            writer.back_up(tmp_path / "copy.db")


def test_ten_thousand_moves_are_one_transaction_of_seconds(home: Path, url: str) -> None:
    tasks = [a_task(f"t{n}") for n in range(10_000)]
    with made(home, url) as writer:
        writer.apply((a_pipeline(*tasks).added(),))
        writer.apply([moved(task, TaskState.WAITING, TaskState.READY) for task in tasks])

        assert len(writer.ready_columns().task) == 10_000
