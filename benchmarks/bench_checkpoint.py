"""What checkpoints cost a program, what is lost without the newest one, and whether damage is always found.

The times between failures are those of five systems of Los Alamos from 1996 to 2005 (`benchmarks/data`);
`ELISA_FAILURE_LOG` may name another log of the same columns, gzipped or not.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figure import Figure, seconds_of
from elisa import checkpoint
from elisa.runtime.checkpoint.codec import Decoder, Encoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.interval import choose_interval
from elisa.runtime.checkpoint.manifest import Manifest, verify
from elisa.runtime.checkpoint.restore import restore_newest
from tests.runtime.checkpoint.checkpoint_cases import DAMAGES, is_state, save_steps

__all__ = ["FIGURES", "measure"]

FIGURES = (
    "checkpoint_overhead_pct",
    "lost_work_vs_interval",
    "corruptions_detected_pct",
    "save_4gib_vs_raw",
    "restore_4gib_vs_raw",
)
_GIB = 2**30
_LARGE_GIB = int(os.environ.get("ELISA_BENCH_CHECKPOINT_GIB", "4"))
_BLOCK = 8 * 2**20
_KILLS = 200
_DAMAGES = 1000
_SAVES = 6
_STEPS_A_SAVE = 150
_FAILURE_LOG = Path(__file__).with_name("data") / "failures_lanl.csv.gz"
_SAVE_COSTS_S = (10.0, 60.0, 300.0)
_THROUGHPUTS = 3
_RESTORES = 3  # of each save
_PAGE = 4096


def measure() -> Iterator[Figure]:
    """Yield the figures; where a framework is missing, those of it are left out."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("ELISA_BENCH_FOLDER")) as name:
        root = Path(name)
        yield from _overheads(root)
        yield from _lost_work(root)
        yield _detected(root)
        yield from _throughput(root)


# Overhead: what a save adds to the wall time of a real program, spread over the interval that elisa chooses for that cost.


def _overheads(root: Path) -> Iterator[Figure]:
    worst, interval_s = 0.0, 0.0
    for label, make in _programs():
        for beside in (False, True):
            added_s = _added_by_elisa_s(root, make, beside=beside)
            interval_s = interval_s if beside else choose_interval(added_s).interval_s
            value = 100 * added_s / choose_interval(added_s).interval_s
            worst = max(worst, value)
            name = f"checkpoint_overhead_pct/{label}{'_beside' if beside else ''}"
            yield Figure(figure=name, value=value, unit="%", goal="<=1", runs=_SAVES)
    yield Figure(figure="checkpoint_overhead_pct", value=worst, unit="%", goal="<=1", runs=_SAVES)
    if find_spec("torch"):
        value = 100 * _added_by_torch_s(root) / interval_s  # the interval of the training, saved in the step
        yield Figure(figure="checkpoint_overhead_pct/torch_save", value=value, unit="%", runs=_SAVES)


def _programs() -> Iterator[tuple[str, Callable[[], tuple[Callable[[], object], Callable[[], Any]]]]]:
    yield "numpy", _heat
    if find_spec("torch"):
        yield "torch", _training


def _heat() -> tuple[Callable[[], object], Callable[[], Any]]:
    """Return the step and the state of a simulation of heat on a grid of 32 MiB."""
    field = np.random.default_rng(0).random((2048, 2048))

    def step() -> None:
        field[1:-1, 1:-1] += 0.1 * (
            field[2:, 1:-1] + field[:-2, 1:-1] + field[1:-1, 2:] + field[1:-1, :-2] - 4 * field[1:-1, 1:-1]
        )

    return step, lambda: {"field": field}


def _training() -> tuple[Callable[[], object], Callable[[], Any]]:
    """Return the step and the state of a training: 3 million parameters, with Adam's two moments."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(512, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 1024))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(64, 512), torch.randn(64, 1024)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()

    return step, checkpoint.Training(model=model, optimizer=optimizer)


def _added_by_elisa_s(root: Path, make: Callable[[], Any], *, beside: bool) -> float:
    step, state = make()
    folder = root / "overhead"
    with checkpoint.run(folder, interval_s=0, beside=beside) as ckpt:
        added_s = _added_s(step, lambda number: ckpt.save(number, state))
    shutil.rmtree(folder)
    return added_s


def _added_by_torch_s(root: Path) -> float:
    import torch

    step, state = _training()
    path = root / "plain.pt"

    def save(_number: int) -> None:
        torch.save(state(), path)

    return _added_s(step, save)


def _added_s(step: Callable[[], object], save: Callable[[int], object]) -> float:
    """Return by how much a save lengthens `_STEPS_A_SAVE` steps, the median of `_SAVES`: waiting, and slowing down."""

    def steps() -> None:
        for _ in range(_STEPS_A_SAVE):
            step()

    def with_save(number: int) -> None:
        save(number)
        steps()

    steps()
    save(0)
    added = [seconds_of(partial(with_save, number)) - seconds_of(steps) for number in range(1, _SAVES + 1)]
    return max(median(added), 1e-6)


# Lost work: kills of real processes at random times, and the same arithmetic on long times between failures.


def _lost_work(root: Path) -> Iterator[Figure]:
    rng = random.Random(1)
    shares = [_share_lost(root / "kills", rng) for _ in range(_KILLS)]
    yield Figure(figure="lost_work_vs_interval", value=max(shares), unit="ratio", goal="<=1", runs=_KILLS)
    yield Figure(figure="lost_work_vs_interval/mean", value=sum(shares) / len(shares), unit="ratio", runs=_KILLS)
    yield from _against_real_failures()


def _share_lost(folder: Path, rng: random.Random) -> float:
    """Kill a run at a random moment; return the work lost as a share of what may be: an interval, a save and a step.

    How long saves and steps take, the one under way included, is told by the run itself: on shared cores either may take
    many times as long as it should.
    """
    interval_s, step_s = 0.1, 0.002
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work(folder, interval_s, step_s, writer)
    time.sleep(rng.uniform(0.3, 0.8))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    killed_at = time.monotonic()
    os.close(writer)
    with os.fdopen(reader) as lines:
        said = [(line.split()[0], float(line.split()[1])) for line in lines.read().splitlines()]
    shutil.rmtree(folder, ignore_errors=True)
    return _lost_share([*said, ("killed", killed_at)], interval_s)


def _lost_share(said: list[tuple[str, float]], interval_s: float) -> float:
    """Return the time since the last save was whole, over the most that it may be. 0 if killed before any."""
    longest = {"step": 0.0, "saving": 0.0}
    saved_at = None
    for (what, began), (_, ended) in pairwise(said):
        if what in longest:
            longest[what] = max(longest[what], ended - began)
        saved_at = began if what == "saved" else saved_at
    if saved_at is None:
        return 0.0
    return (said[-1][1] - saved_at) / (interval_s + longest["saving"] + longest["step"])


def _work(folder: Path, interval_s: float, step_s: float, said: int) -> None:
    """Compute and save until killed; say when each step and each save began, and when a save was whole."""

    def say(what: str) -> None:
        os.write(said, f"{what} {time.monotonic()}\n".encode())

    state = {"w": np.zeros(1000)}
    with checkpoint.run(folder, interval_s=interval_s) as ckpt:
        for step in range(10**9):
            say("step")
            time.sleep(step_s)
            if ckpt.is_due(step):
                say("saving")
            if ckpt.save(step, state):
                say("saved")


def _against_real_failures() -> Iterator[Figure]:
    """Yield the mean work lost over what is expected, for all gaps of the log; and how far the worst system is from 1."""
    systems = gaps_of(Path(os.environ.get("ELISA_FAILURE_LOG") or _FAILURE_LOG))
    every = [_against_expectation(gaps, save_s) for gaps in systems.values() for save_s in _SAVE_COSTS_S]
    pooled = [gap for gaps in systems.values() for gap in gaps]
    value = _against_expectation(pooled, _SAVE_COSTS_S[0])
    yield Figure(figure="lost_work_vs_interval/log", value=value, unit="ratio", runs=len(pooled))
    yield Figure(
        figure="lost_work_vs_interval/log_deviation_pct",
        value=100 * max(abs(ratio - 1) for ratio in every),
        unit="%",
        goal="<=10",
        runs=len(every),
    )


def gaps_of(path: Path) -> dict[str, list[float]]:
    """Return the seconds between failures of each system as a whole, that is of a job that uses all of it."""
    opener = gzip.open if path.suffix == ".gz" else open
    began = defaultdict(list)
    with opener(path, "rt", encoding="latin-1") as stream:
        for row in csv.DictReader(stream):
            at = datetime.strptime(row["Prob Started"], "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
            began[row["System"]].append(at.timestamp())
    return {system: _apart(sorted(times)) for system, times in began.items()}


def _apart(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times) if later > earlier]


def _against_expectation(gaps: list[float], save_s: float) -> float:
    """Return the mean work lost at a failure over what Daly's model expects for that mean time between failures."""
    mtbf_s = sum(gaps) / len(gaps)
    cycle_s = choose_interval(save_s, mtbf_s=mtbf_s).interval_s + save_s
    lost_s = sum(gap % cycle_s for gap in gaps) / len(gaps)
    expected_s = mtbf_s - cycle_s / math.expm1(cycle_s / mtbf_s)
    return lost_s / expected_s


def _detected(root: Path) -> Figure:
    """Damage the newest of three checkpoints in random ways; count those found, with the next older one restored."""
    rng = random.Random(3)
    template = root / "template"
    save_steps(template, 1, 2, 3)
    found = 0
    for number in range(_DAMAGES):
        folder = root / f"damage-{number}"
        shutil.copytree(template, folder)
        newest, older, _ = (Path(one.path) for one in Generations(str(folder)).newest_first())
        rng.choice(DAMAGES)(newest, older, rng)
        restored = restore_newest([Generations(str(folder))])
        found += restored is not None and is_state(restored.state, 2)
        shutil.rmtree(folder)
    return Figure(
        figure="corruptions_detected_pct", value=100 * found / _DAMAGES, unit="%", goal=">=100", runs=_DAMAGES
    )


# Throughput: the same bytes, on the same disk, in the same run, by plain writes with one sync and by plain reads into one
# small buffer. Neither reader finds anything in memory.


def _throughput(root: Path) -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2**63, _GIB // 8, dtype=np.int64) for _ in range(_LARGE_GIB)]
    saves, restores, in_use = [], [], []
    for number in range(_THROUGHPUTS):
        # whichever writes first finds memory that the machine has not given back yet
        raw_s, save_s = _in_turn(partial(_write_raw, root / "raw", arrays), partial(_save, root, arrays), number)
        saves.append(raw_s / save_s)
        path = Generations(str(root / "large")).newest_first()[0].path
        files = [root / "raw", *Path(path).iterdir()]
        for turn in range(_RESTORES):
            read_s, restore_s = _in_turn(
                partial(_cold, files, partial(_read_raw, root / "raw")),
                partial(_cold, files, partial(_restore, path)),
                turn,
            )
            restores.append(read_s / restore_s)
        in_use.append(_cold(files, partial(_read_kept, root / "raw")) / _cold(files, partial(_restore_and_use, path)))
        (root / "raw").unlink()
        shutil.rmtree(root / "large")
    yield Figure(figure="save_4gib_vs_raw", value=median(saves), unit="ratio", goal=">=0.85", runs=len(saves))
    yield Figure(figure="restore_4gib_vs_raw", value=median(restores), unit="ratio", goal=">=0.85", runs=len(restores))
    yield Figure(figure="restore_4gib_vs_raw/in_use", value=median(in_use), unit="ratio", runs=len(in_use))
    yield from _memory(root, arrays)


def _in_turn(one: Callable[[], Any], other: Callable[[], Any], turn: int) -> tuple[float, float]:
    """Return the seconds of both, the second of them first in every other turn."""
    if turn % 2:
        other_s = _seconds(other)
        return _seconds(one), other_s
    return _seconds(one), _seconds(other)


def _seconds(act: Callable[[], Any]) -> float:
    """Return how long `act` took: what it says itself, else what the clock says."""
    began = time.perf_counter()
    said = act()
    return said if isinstance(said, float) else time.perf_counter() - began


def _cold(files: list[Path], act: Callable[[], object]) -> float:
    _forget(files)
    return seconds_of(act)


def _memory(root: Path, arrays: list[np.ndarray[Any, Any]]) -> Iterator[Figure]:
    """Yield the most memory of its own that the process takes, beside the state, for a save and for a restore."""
    for name, act in (("save", partial(_save, root, arrays)), ("restore", partial(_restore_newest, root))):
        yield Figure(figure=f"{name}_4gib_extra_mib", value=_most_taken_mib(act), unit="MiB")
    shutil.rmtree(root / "large")


def _most_taken_mib(act: Callable[[], object]) -> float:
    before, most, is_over = _anonymous_mib(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_over.wait(0.005):
            most = max(most, _anonymous_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    act()
    is_over.set()
    watcher.join()
    return max(0.0, most - before)


def _anonymous_mib() -> float:
    """Return the memory of this process that no file stands behind: what it would not have without its state."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def _save(root: Path, arrays: list[np.ndarray[Any, Any]]) -> None:
    Generations(str(root / "large")).write(Manifest(1, 1, ()), Encoder().encode_state({"parts": arrays}))


def _restore_newest(root: Path) -> object:
    return _restore(Generations(str(root / "large")).newest_first()[0].path)


def _restore(path: str) -> Any:  # noqa: ANN401  (the state)
    verify(path)
    return Decoder(path).decode_state()


def _restore_and_use(path: str) -> None:
    """Restore, and write to every page, as a program does that goes on computing with it."""
    for array in _restore(path)["parts"]:
        array[:: _PAGE // array.itemsize] += 1


def _read_kept(path: Path) -> None:
    """Read into memory that holds all of it, as the simplest program that restores would, without a look at it."""
    with path.open("rb", buffering=0) as stream:
        content = memoryview(bytearray(path.stat().st_size))
        while content:
            content = content[stream.readinto(content[:_BLOCK]) :]


def _write_raw(path: Path, arrays: list[np.ndarray[Any, Any]]) -> None:
    with path.open("wb", buffering=0) as stream:
        for array in arrays:
            view = array.view(np.uint8).data
            for start in range(0, len(view), _BLOCK):
                stream.write(view[start : start + _BLOCK])
        os.fsync(stream.fileno())


def _read_raw(path: Path) -> None:
    buffer = bytearray(_BLOCK)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            continue


def _forget(paths: list[Path]) -> None:
    """Let the system drop what it keeps of these files in memory: both readers begin at the disk."""
    for path in paths:
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
