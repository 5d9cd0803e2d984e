"""What a submission may claim: an id that is there, an error that left nothing, or a doubt that a search by tag settles."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.runner import Completed, Runner
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_world import SlurmWorld, a_world
from tests.real_parts import require_real

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROUNDS = int(os.environ.get("ELISA_SUBMIT_KILLS", "24"))
OUTAGES = max(4, ROUNDS // 10)


class Straced:
    """Runs sbatch under strace with these options; other programs run as they are."""

    def __init__(self, inner: Runner, options: Sequence[str]) -> None:
        self._inner = inner
        self._options = options

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: str | None = None,  # noqa: A002 - named as in the protocol
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        if argv[0].endswith("sbatch"):
            argv = ["strace", "-f", "-qq", *self._options, *argv]
        return self._inner.run(argv, timeout_s=timeout_s, input=input, env=env)


def straced(world: SlurmWorld, *options: str) -> SlurmWorld:
    return replace(world, backend=replace(world.backend, runner=Straced(world.backend.runner, options)))


def system_calls(world: SlurmWorld, trace: Path) -> list[tuple[str, int]]:
    """Return the system calls of one submission in order: each call's name, and which one of that name it is."""
    straced(world, "-o", str(trace)).submit("true")
    names = re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(errors="replace"), re.MULTILINE)
    return [(name, names[: place + 1].count(name)) for place, name in enumerate(names)]


def outcome_of(world: SlurmWorld, request: JobRequest) -> tuple[str, int]:
    """Submit once; return what the backend claims, and how many jobs there are once that is settled."""
    try:
        world.backend.submit(request)
    except SubmitUncertain:
        claim = "uncertain"
    except (Rejected, Unavailable):
        claim = "refused"
    else:
        claim = "accepted"
    return claim, len(settled(world, request.attempt))


def settled(world: SlurmWorld, attempt: AttemptId) -> tuple[NativeId, ...]:
    """Return the jobs with this tag, once the controller answers and two searches agree."""
    found: list[tuple[NativeId, ...]] = []
    while len(found) < 2 or found[-1] != found[-2]:
        try:
            found.append(world.backend.find([attempt]).ids.get(attempt, ()))
        except Unavailable:
            found.clear()
        time.sleep(0.2)
    return found[-1]


def test_sbatch_killed_at_its_system_calls_never_leads_to_a_false_claim(slurm: SlurmCluster, tmp_path: Path) -> None:
    require_real("strace")
    world = a_world(slurm, tmp_path)
    calls = system_calls(world, tmp_path / "trace")
    # from where it connects to the end: before that nobody is asked anything
    first = next(place for place, (name, _) in enumerate(calls) if name == "sendto")
    outcomes: Counter[tuple[str, int]] = Counter()

    for name, number in random.Random(7).choices(calls[first:], k=ROUNDS):
        killed = straced(world, "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={number}")
        outcomes[outcome_of(killed, killed.job("sleep 600"))] += 1

    assert set(outcomes) <= {("accepted", 1), ("uncertain", 0), ("uncertain", 1)}
    # both kinds of doubt came up: killed before the message left, and after
    assert outcomes["uncertain", 0] > 0
    assert outcomes["uncertain", 1] > 0


def test_controller_paused_in_mid_submission_never_leads_to_a_false_claim(slurm: SlurmCluster, tmp_path: Path) -> None:
    world = a_world(slurm, tmp_path)
    chance = random.Random(7)

    outcomes = Counter(submit_in_trouble(world, pause, chance.uniform(0, 0.03)) for _ in range(OUTAGES))

    assert set(outcomes) <= {("accepted", 1), ("uncertain", 0), ("uncertain", 1)}


def test_controller_restarted_in_mid_submission_never_leads_to_a_false_claim(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    """A controller that is killed forgets what it accepted in its last seconds: an accepted job may be gone again."""
    world = a_world(slurm, tmp_path)
    chance = random.Random(7)

    outcomes = Counter(submit_in_trouble(world, restart, chance.uniform(0, 0.03)) for _ in range(OUTAGES))

    assert set(outcomes) <= {("accepted", 0), ("accepted", 1), ("refused", 0), ("uncertain", 0), ("uncertain", 1)}


def submit_in_trouble(world: SlurmWorld, trouble: Callable[[SlurmCluster], None], after_s: float) -> tuple[str, int]:
    def happen() -> None:
        time.sleep(after_s)
        trouble(world.cluster)

    meanwhile = threading.Thread(target=happen)
    meanwhile.start()
    try:
        return outcome_of(world, world.job("sleep 600"))
    finally:
        meanwhile.join()


def pause(cluster: SlurmCluster) -> None:
    cluster.pause_controller()
    time.sleep(2.5)  # longer than MessageTimeout
    cluster.resume_controller()


def restart(cluster: SlurmCluster) -> None:
    cluster.kill_controller()
    cluster.restart_controller()
