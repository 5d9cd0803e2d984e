from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elisa import checkpoint
from elisa.runtime import program
from elisa.runtime.checkpoint.codec import Decoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.group import Group, GroupError, Plan, World, world_of
from elisa.runtime.checkpoint.manifest import read_manifest
from elisa.runtime.checkpoint.together import Agreement
from elisa.runtime.evidence import own_identity
from tests.runtime.agent_cases import names

PROGRAM = """
import os, signal, sys, time
import numpy as np
from elisa import checkpoint

folder, barrier, steps, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

def step_together(step):  # as ranks do that exchange gradients
    open(os.path.join(barrier, f"{os.environ['LIFE']}-{step}-{rank}"), "w").close()
    deadline = time.monotonic() + (2 if "DIES" in os.environ else 30)
    while any(not os.path.exists(os.path.join(barrier, f"{os.environ['LIFE']}-{step}-{r}")) for r in range(size)):
        assert time.monotonic() < deadline
        time.sleep(0.001)

with checkpoint.run(folder, interval_s=0, ranks=mode, patience_s=float(os.environ.get("PATIENCE", 20))) as ckpt:
    state = ckpt.load() or {"rank": rank, "w": np.zeros(1000)}
    for step in ckpt.steps(steps):
        if (os.environ.get("DIES"), step, rank) == ("yes", 6, 1): os.kill(os.getpid(), signal.SIGKILL)
        if (os.environ.get("STOPS"), step, rank) == ("yes", 6, 0): os.kill(os.getpid(), signal.SIGTERM)
        step_together(step)
        state["w"] += step * (rank + 1)
        ckpt.save(step, state)
print(rank, state["rank"], int(state["w"][0]), ckpt.step)
"""


class Ranks:
    """A distributed program in a folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "checkpoints"
        self.barrier = root / "barrier"
        self.barrier.mkdir()
        self.life = 0

    def run(self, size: int = 3, steps: int = 10, mode: str = "all", **env: str) -> list[tuple[int, str]]:
        """Run all ranks to their end; return the status and the output of each."""
        self.life += 1
        ranks = [self._start(rank, size, steps, mode, env) for rank in range(size)]
        return [(process.wait(60), process.communicate()[0]) for process in ranks]

    def _start(self, rank: int, size: int, steps: int, mode: str, env: dict[str, str]) -> subprocess.Popen[str]:
        known = {"RANK": str(rank), "WORLD_SIZE": str(size), "LIFE": str(self.life)}
        argv = [sys.executable, "-c", PROGRAM, str(self.folder), str(self.barrier), str(steps), mode]
        return subprocess.Popen(argv, env={**os.environ, **known, **env}, stdout=subprocess.PIPE, text=True)

    @property
    def newest(self) -> Path:
        return Path(Generations(str(self.folder)).newest_first()[0].path)


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    return Ranks(tmp_path)


def test_all_ranks_save_and_restore_their_own(ranks: Ranks) -> None:
    ranks.run(steps=6)
    said = ranks.run(steps=10)

    total = sum(range(10))
    assert said == [(0, f"{rank} {rank} {total * (rank + 1)} 5\n") for rank in range(3)]
    assert read_manifest(str(ranks.newest)).world_size == 3
    assert [name for name in names(ranks.newest) if "state" in name] == [
        f"rank0000{rank}-state.json" for rank in range(3)
    ]
    assert [name for name in names(ranks.folder) if name.startswith((".tmp", ".group"))] == []


def test_one_rank_can_save_for_all(ranks: Ranks) -> None:
    ranks.run(steps=6, mode="first")
    said = ranks.run(steps=6, size=2, mode="first")

    assert [text.split()[1:3] for _, text in said] == [["0", "15"], ["0", "15"]]
    assert "state.json" in names(ranks.newest)


def test_each_rank_can_be_for_itself(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    assert [status for status, _ in ranks.run(size=1, mode="none")] == [0]


def test_another_number_of_ranks_takes_what_their_like_saved(ranks: Ranks) -> None:
    ranks.run(steps=6, size=2)
    said = ranks.run(steps=6, size=3)

    assert [text.split()[:2] for _, text in said] == [["0", "0"], ["1", "1"], ["2", "0"]]


def test_a_rank_that_dies_aborts_the_generation(ranks: Ranks) -> None:
    ranks.run(steps=10, DIES="yes", PATIENCE="1")
    step = Generations(str(ranks.folder)).newest_first()[0].step
    assert step <= 6

    said = ranks.run(steps=10)

    assert [status for status, _ in said] == [0, 0, 0]
    assert [text.split()[2] for _, text in said] == ["45", "90", "135"]
    assert [name for name in names(ranks.folder) if name.startswith((".tmp", ".group"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("point", [30, 45, 60, 61, 62, 63, 75, 90])
def test_a_rank_killed_anywhere_leaves_a_sound_generation(ranks: Ranks, point: int) -> None:
    for rank in ("0", "2"):
        env = {"ELISA_CRASH_AT": f"*:{point}", "PATIENCE": "0.5"}
        ranks.life += 1
        processes = [ranks._start(r, 3, 12, "all", env if str(r) == rank else {"PATIENCE": "0.5"}) for r in range(3)]
        time.sleep(3)
        for process in processes:
            process.kill()
            process.communicate()

    said = ranks.run(steps=12)

    assert [text.split()[2] for _, text in said] == ["66", "132", "198"]


def test_asked_to_stop_all_ranks_save_the_same_step_and_leave(ranks: Ranks) -> None:
    said = ranks.run(steps=50, STOPS="yes")

    assert [status for status, _ in said] == [85] * 3
    assert Generations(str(ranks.folder)).newest_first()[0].step in {6, 7, 8}


def threads(*works: Callable[[], Any]) -> list[Any]:
    """Run `works` beside each other; return what each returned or raised."""
    found: list[Any] = [None] * len(works)

    def work(number: int) -> None:
        try:
            found[number] = works[number]()
        except (GroupError, SystemExit) as error:
            found[number] = error

    running = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return found


def group(root: Path, rank: int, size: int = 2, patience_s: float = 10) -> Group:
    return Group(World(rank, size, "key"), str(root), patience_s)


def a_rank_that_dies(root: Path) -> subprocess.Popen[bytes]:
    """Start rank 1 of 2 in a process of its own, which ends without a word once it has joined."""
    code = (
        "import os; from elisa.runtime.checkpoint.group import Group, World\n"
        f"Group(World(1, 2, 'key'), {str(root)!r}).join(dict)\nos._exit(9)"
    )
    return subprocess.Popen([sys.executable, "-c", code])


class TestGroup:
    def test_all_hear_what_the_first_decides(self, tmp_path: Path) -> None:
        said = threads(lambda: group(tmp_path, 0).join(lambda: {"answer": 42}), lambda: group(tmp_path, 1).join(_never))

        assert said == [{"answer": 42}] * 2

    def test_words_of_an_earlier_life_are_not_believed(self, tmp_path: Path) -> None:
        threads(lambda: group(tmp_path, 0).join(lambda: {"answer": 1}), lambda: group(tmp_path, 1).join(_never))
        late = group(tmp_path, 1)

        def first() -> Any:
            time.sleep(0.1)
            return group(tmp_path, 0).join(lambda: {"answer": 2})

        assert threads(first, lambda: late.join(_never)) == [{"answer": 2}] * 2

    def test_what_an_earlier_life_had_half_written_is_deleted(self, tmp_path: Path) -> None:
        one = group(tmp_path, 0, size=1)
        Path(one.draft(7)).mkdir()
        (tmp_path / ".group-of-another-launch").mkdir()
        one.join(dict)

        assert names(tmp_path) == [".group-key"]

    def test_one_that_does_not_come_is_not_waited_for_forever(self, tmp_path: Path) -> None:
        with pytest.raises(GroupError, match="rank 1 of 2 did not come"):
            group(tmp_path, 0, patience_s=0.05).join(dict)
        with pytest.raises(GroupError, match="did not answer rank 1"):
            group(tmp_path / "other", 1, patience_s=0.05).join(dict)

    def test_who_has_left_is_not_waited_for(self, tmp_path: Path) -> None:
        first, other = group(tmp_path, 0), group(tmp_path, 1)
        threads(lambda: first.join(dict), lambda: other.join(_never))
        began = time.monotonic()

        other.leave(is_well=True)
        with pytest.raises(GroupError, match="rank 1 could not save: it has left"):
            self.save(first, 3)
        first.leave(is_well=False)

        assert other.outcome(3) == ""
        assert time.monotonic() - began < 5  # the patience is 10
        assert names(tmp_path / ".group-key") == ["bye-0", "bye-1", "hello-1", "word"]

    def test_who_has_died_on_this_host_is_not_waited_for(self, tmp_path: Path) -> None:
        dead = a_rank_that_dies(tmp_path)
        first = group(tmp_path, 0)
        first.join(dict)
        dead.wait(10)
        began = time.monotonic()

        assert first.is_broken()
        with pytest.raises(GroupError, match="rank 1 could not save: it has died"):
            self.save(first, 3)
        first.leave(is_well=True)
        assert time.monotonic() - began < 5  # the patience is 10
        assert not (tmp_path / ".group-key").exists()

    def test_of_one_on_another_host_nobody_says_that_it_died(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = own_identity()._replace(boot_id="another", pid=1)
        first, other = group(tmp_path, 0), group(tmp_path, 1)
        monkeypatch.setattr(other, "_about_me", lambda: {"token": other._token, "who": elsewhere})
        threads(lambda: first.join(dict), lambda: other.join(_never))

        assert not first.is_broken()

    def test_what_was_said_before_leaving_counts(self, tmp_path: Path) -> None:
        first, other = group(tmp_path, 0), group(tmp_path, 1)
        threads(lambda: first.join(dict), lambda: other.join(_never))
        Path(other.draft(3)).mkdir()
        other.contribute(3, {"why": "", "entries": [1]})
        other.leave(is_well=True)

        assert [part["entries"] for part in self.save(first, 3)] == [[], [1]]

    def test_a_goodbye_of_an_earlier_life_is_not_believed(self, tmp_path: Path) -> None:
        early, late = group(tmp_path, 1), group(tmp_path, 1)
        first = group(tmp_path, 0, patience_s=0.5)
        threads(lambda: first.join(dict), lambda: late.join(_never))
        early.leave(is_well=True)

        with pytest.raises(GroupError, match="rank 1 did not save"):
            self.save(first, 3)

    def test_the_first_clears_up_once_all_have_left(self, tmp_path: Path) -> None:
        first, other = group(tmp_path, 0), group(tmp_path, 1)
        threads(lambda: first.join(dict), lambda: other.join(_never))

        threads(lambda: first.leave(is_well=True), lambda: other.leave(is_well=True))

        assert names(tmp_path) == []

    @staticmethod
    def save(first: Group, seq: int) -> Any:
        """Let the first rank say what it wrote, and hear what the others did."""
        Path(first.draft(seq)).mkdir(exist_ok=True)
        first.contribute(seq, {"why": "", "entries": []})
        return first.collect(seq)

    def test_what_nobody_told_is_a_failure(self, tmp_path: Path) -> None:
        assert group(tmp_path, 1, patience_s=0.05).outcome(0) == ""

    def test_a_disk_that_fails_is_no_mistake_of_the_program(self, tmp_path: Path) -> None:
        one = group(tmp_path / "none", 0)
        one.contribute(0, {})
        one.announce(Plan(0, 1, is_stop=False))
        assert one.plan() is None

    def test_a_rank_that_says_nothing_is_given_up(self, tmp_path: Path) -> None:
        with pytest.raises(GroupError, match="rank 0 did not save"):
            group(tmp_path, 0, patience_s=0.05).collect(0)

    def test_a_rank_that_could_not_save_says_so(self, tmp_path: Path) -> None:
        one = group(tmp_path, 0, size=1)
        Path(one.draft(0)).mkdir()
        one.contribute(0, {"why": "full"})
        with pytest.raises(GroupError, match="rank 0 could not save: full"):
            one.collect(0)


def _never() -> Any:
    raise AssertionError("only the first rank decides")


class TestAgreement:
    def pair(self, root: Path) -> tuple[Agreement, Agreement]:
        (root / ".group-key").mkdir(parents=True)
        return Agreement(group(root, 0)), Agreement(group(root, 1))

    def ask(
        self, one: Agreement, step: int, *, is_due: bool = False, is_stop: bool = False, is_certain: bool = False
    ) -> bool:
        return one.is_agreed(step, is_due=is_due, is_stop=is_stop, is_certain=is_certain)

    def test_a_save_is_announced_one_step_ahead(self, tmp_path: Path) -> None:
        first, other = self.pair(tmp_path)

        said = [(self.ask(first, step, is_due=step == 3), self.ask(other, step)) for step in range(5)]

        assert said == [(False, False)] * 4 + [(True, True)]

    def test_a_stop_is_announced_with_it(self, tmp_path: Path) -> None:
        first, other = self.pair(tmp_path)
        self.ask(first, 0, is_stop=True)

        assert (self.ask(first, 1), self.ask(other, 1)) == (True, True)
        assert (first.is_stop, other.is_stop) == (True, True)

    def test_what_all_know_needs_no_announcement(self, tmp_path: Path) -> None:
        first, other = self.pair(tmp_path)
        self.ask(first, 3, is_due=True)

        assert (self.ask(first, 4, is_certain=True), self.ask(other, 4, is_certain=True)) == (True, True)
        assert not self.ask(first, 5)

    def test_one_that_has_gone_further_says_so_and_is_asked_earlier(self, tmp_path: Path) -> None:
        first, other = self.pair(tmp_path)
        self.ask(first, 3, is_due=True)

        assert not self.ask(other, 9)
        first._group.contribute(0, {"why": "", "entries": []})
        with pytest.raises(GroupError, match="it was at step 9 already"):
            first._group.collect(0)
        first.seq += 1
        first.look_further_ahead()
        self.ask(first, 4)
        self.ask(first, 10, is_due=True)
        assert first._announced == Plan(1, 12, is_stop=False)


class TestInOneProcess:
    """Ranks as threads: what happens in each is seen from here."""

    def work(self, root: Path, rank: int, body: Callable[[checkpoint.Checkpointer], Any], **options: Any) -> Any:
        from elisa.runtime.checkpoint import checkpointer as runs

        ckpt = checkpoint.run(root, interval_s=0, patience_s=options.pop("patience_s", 5), **options)
        settings = ckpt._settings
        ckpt._storage = runs.TogetherStorage(
            group(root, rank, patience_s=settings.patience_s),
            Generations(settings.folder),
            settings.retention,
            is_replicated=settings.ranks == "first",
            took=ckpt._pace.took if settings.is_async else None,
        )
        with ckpt:
            return body(ckpt)

    @pytest.mark.parametrize("beside", [False, True])
    def test_two_ranks_save_one_generation(self, tmp_path: Path, beside: bool) -> None:  # noqa: FBT001
        def body(rank: int) -> Callable[[], Any]:
            def save(ckpt: checkpoint.Checkpointer) -> bool:
                return ckpt.save(1, {"rank": rank}, force=True)

            return lambda: self.work(tmp_path, rank, save, beside=beside)

        assert threads(body(0), body(1)) == [True, True]
        path = Generations(str(tmp_path)).newest_first()[0].path
        assert [Decoder(path, prefix=f"rank0000{rank}-").decode_state() for rank in (0, 1)] == [
            {"rank": 0},
            {"rank": 1},
        ]
        restored = threads(*(lambda rank=rank: self.work(tmp_path, rank, lambda ckpt: ckpt.state) for rank in (0, 1)))
        assert restored == [{"rank": 0}, {"rank": 1}]

    def test_where_one_cannot_write_nothing_is_saved(self, tmp_path: Path) -> None:
        def body(rank: int) -> Callable[[], Any]:
            def save(ckpt: checkpoint.Checkpointer) -> bool:
                if rank == 1:
                    ckpt._storage._writer = _Broken()  # type: ignore[union-attr, assignment]  # as on a full disk
                return ckpt.save(1, {}, force=True)

            return lambda: self.work(tmp_path, rank, save)

        assert threads(body(0), body(1)) == [False, False]
        assert Generations(str(tmp_path)).newest_first() == []

    def test_ranks_at_different_steps_save_nothing(self, tmp_path: Path) -> None:
        def body(rank: int) -> Callable[[], Any]:
            return lambda: self.work(tmp_path, rank, lambda ckpt: ckpt.save(rank, {}, force=True))

        assert threads(body(0), body(1)) == [False, False]

    @pytest.mark.parametrize("exit_on_stop", [True, False])
    def test_asked_to_stop_when_another_has_died_a_rank_leaves_unsaved(
        self,
        tmp_path: Path,
        exit_on_stop: bool,  # noqa: FBT001  (a parameter of the test)
    ) -> None:
        dead = a_rank_that_dies(tmp_path)

        def body(ckpt: checkpoint.Checkpointer) -> bool:
            dead.wait(10)
            program.ask_to_stop("walltime")
            return ckpt.save(1, {}, force=True)

        (said,) = threads(lambda: self.work(tmp_path, 0, body, exit_on_stop=exit_on_stop))
        program.forget()

        why = "elisa: asked to stop when a rank had died: nothing is saved without it"
        assert (said.code if exit_on_stop else said) == (why if exit_on_stop else False)

    def test_a_generation_that_is_gone_at_once_was_not_saved(self, tmp_path: Path) -> None:
        from elisa.runtime.checkpoint.together import TogetherStorage

        storage = TogetherStorage(
            group(tmp_path, 0),
            Generations(str(tmp_path)),
            checkpoint.run()._settings.retention,
            is_replicated=False,
            took=None,
        )
        assert storage._saved(str(tmp_path / "gone"), 0.0) is None


class _Broken:
    def write(self, _folder: str, _piece: object) -> None:
        raise OSError(28, "full")


@pytest.mark.parametrize(
    ("env", "world"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, (1, 4)),
        # horovod-node, of which there is one a node, starts several
        ({"HOROVOD_RANK": "5", "HOROVOD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (5, 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (0, 1)),  # the batch script is no rank
        ({"RANK": "x", "WORLD_SIZE": "8"}, (0, 1)),
    ],
)
def test_launchers_are_understood(env: dict[str, str], world: tuple[int, int]) -> None:
    assert world_of(env)[:2] == world


def test_launches_are_told_apart() -> None:
    env = {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}

    assert world_of(env).key != world_of({**env, "TORCHELASTIC_RESTART_COUNT": "1"}).key
    assert world_of(env).key == world_of({**env, "RANK": "1"}).key


def test_other_words_for_ranks_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'all', 'first' or 'none'"):
        checkpoint.run(tmp_path, ranks="some")


def test_only_the_first_rank_tells_of_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    told: list[Any] = []
    monkeypatch.setattr("elisa.runtime.checkpoint.checkpointer.progress", lambda *args: told.append(args))
    with checkpoint.run(tmp_path) as ckpt:
        list(ckpt.steps(3))
    assert told == []
    program.forget()
