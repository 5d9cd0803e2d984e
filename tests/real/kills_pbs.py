"""Trouble in the middle of submitting to a real PBS, again and again: how much work is lost, how much is done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.backends.pbs.elisa_on_pbs import FINAL, ElisaOnPbs
from tests.real.kills import Tally, wait_for_lines
from tests.real.pbs_programs import before, through_programs

__all__ = ["PbsDaemon", "elisa_killed", "elisa_killed_and_server_stopped", "server_in_trouble"]

# More than a tick may submit, so that each round leaves some to the next; every other task asks for something of its own.
_BATCH, _PER_TICK = 16, 4
# What never reached PBS waits a moment before it is submitted again, not half a minute.
_SOON = "retry: {backoff: {initial: 1s, maximum: 2s}}"
# Longer than a stopped server makes an answer late; longer than an agent takes to begin where much else runs.
_STOPPED_S, _GRACE_S, _UNHEARD_S = 2.0, 6, 45
Trouble = Callable[[ElisaOnPbs, random.Random], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsDaemon:
    """The pbs_server of this machine. Only root may stop it, kill it and start it again."""

    program: Path
    lock: Path

    @classmethod
    def here(cls) -> PbsDaemon | None:
        """Return it, or None where it is not on this machine, or not ours."""
        conf = Path(os.environ.get("PBS_CONF_FILE", "/etc/pbs.conf"))
        if os.getuid() or not conf.exists():
            return None
        words = dict(line.split("=", 1) for line in conf.read_text().split() if "=" in line)
        found = cls(
            program=Path(words.get("PBS_EXEC", "/opt/pbs")) / "sbin" / "pbs_server",
            lock=Path(words.get("PBS_HOME", "/var/spool/pbs")) / "server_priv" / "server.lock",
        )
        return found if found.program.exists() and found.lock.exists() else None

    def stop(self) -> None:
        os.kill(self._pid(), signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, and wait until it is no more."""
        pid = self._pid()
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)

    def start(self) -> None:
        """Start it again as its host, and wait until it answers."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        while subprocess.run(["qstat", "-B"], check=False, **quiet).returncode:  # type: ignore[call-overload]  # of two streams
            subprocess.run([self.program], check=False, **quiet)  # type: ignore[call-overload]  # as above
            time.sleep(0.5)

    def _pid(self) -> int:
        return int(self.lock.read_text())


def elisa_killed(folder: Path, times: int, seed: int = 7) -> Tally:
    """Kill `elisa tick` so often with SIGKILL, each time at another moment around a submission."""
    return _campaign(folder, times, seed, _kill_elisa)


def server_in_trouble(folder: Path, times: int, daemon: PbsDaemon, seed: int = 7) -> Tally:
    """Stop pbs_server in its tracks, or kill and restart it, so often while elisa submits."""
    return _campaign(folder, times, seed, lambda elisa, chance: _trouble_server(elisa, chance, daemon))


def elisa_killed_and_server_stopped(folder: Path, times: int, daemon: PbsDaemon, seed: int = 7) -> Tally:
    """Stop pbs_server so often while elisa submits, and kill elisa before it goes on: each qsub outlives who asked."""
    return _campaign(folder, times, seed, lambda elisa, chance: _kill_before_the_answer(elisa, chance, daemon))


def _campaign(folder: Path, times: int, seed: int, trouble: Trouble) -> Tally:
    chance, elisa = random.Random(seed), _ready(folder)
    tasks = troubles = 0
    while troubles < times:
        if "ready" not in elisa.states().values():
            _submit(elisa, tasks)
            tasks += _BATCH
        troubles += trouble(elisa, chance)
    before(elisa, "qsub", "")
    elisa.tick_until(lambda: len(elisa.states()) == tasks and set(elisa.states().values()) <= FINAL, within_s=600)
    ran = Counter(int(line) for line in (elisa.folder / "ran").read_text().split())
    return Tally(
        troubles=troubles,
        tasks=tasks,
        lost=sum(number not in ran for number in range(tasks)),
        double=sum(count - 1 for count in ran.values()),
    )


def _ready(folder: Path) -> ElisaOnPbs:
    elisa = through_programs(folder)
    site = elisa.home / "site.yaml"
    rules = site.read_text().replace(
        "grace: 2s, absences: 2", f"grace: {_GRACE_S}s, unheard: {_UNHEARD_S}s, absences: 3"
    )
    site.write_text(f"{rules}submits_per_tick: {_PER_TICK}\n")
    return elisa


def _submit(elisa: ElisaOnPbs, first: int) -> None:
    tasks = "\n".join(
        f"  t{n}: {{command: [sh, -c, 'echo {n} >>{elisa.folder}/ran'], fuse: false, "
        f"resources: {{memory: {20 + (n % _BATCH if n % 2 else 0)}MiB, walltime: 5m}}, {_SOON}}}"
        for n in range(first, first + _BATCH)
    )
    elisa.submit(f"name: many-{first}\nproject: demo\ntasks:\n{tasks}\n")


def _begun(elisa: ElisaOnPbs, chance: random.Random, longest_s: float) -> subprocess.Popen[bytes]:
    """Start a tick, and return it up to so long after the beginning of one of its first submissions."""
    asked = elisa.folder / "asked"
    asked.write_text("")
    before(elisa, "qsub", f"echo x >>{asked}")
    ticking = subprocess.Popen(
        [sys.executable, "-m", "elisa.cli", "tick"],
        env={**os.environ, "ELISA_HOME": str(elisa.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_lines(asked, chance.randint(1, 2), ticking)
    time.sleep(chance.uniform(0, longest_s))
    return ticking


def _kill(ticking: subprocess.Popen[bytes]) -> bool:
    """Kill a tick; tell whether it still lived."""
    if ticking.poll() is not None:
        return False
    os.killpg(ticking.pid, signal.SIGKILL)
    ticking.wait()
    return True


def _kill_elisa(elisa: ElisaOnPbs, chance: random.Random) -> bool:
    return _kill(_begun(elisa, chance, 0.06))


def _trouble_server(elisa: ElisaOnPbs, chance: random.Random, daemon: PbsDaemon) -> bool:
    ticking = _begun(elisa, chance, 0.04)
    is_alive = ticking.poll() is None
    if chance.random() < 0.5:
        daemon.stop()
        time.sleep(_STOPPED_S)
        daemon.go_on()
    else:
        daemon.kill()
        time.sleep(0.2)
        daemon.start()
    ticking.wait()
    return is_alive


def _kill_before_the_answer(elisa: ElisaOnPbs, chance: random.Random, daemon: PbsDaemon) -> bool:
    ticking = _begun(elisa, chance, 0.04)
    daemon.stop()
    time.sleep(chance.uniform(0, _STOPPED_S / 2))
    was_killed = _kill(ticking)
    time.sleep(_STOPPED_S / 2)
    daemon.go_on()
    return was_killed
