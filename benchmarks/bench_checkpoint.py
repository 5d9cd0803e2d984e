"""What checkpoints cost a program, what is lost without the newest one, and whether damage is always found.

`ELISA_FAILURE_LOG` may name a failure log of Los Alamos (LA-UR-05-7318, as CSV, gzipped or not): the times between real
failures then take the place of drawn ones in `lost_work_vs_interval/log`.
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
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
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
    worst = 0.0
    for label, make in _programs():
        for beside in (False, True):
            value = _overhead_pct(root, make, beside=beside)
            worst = max(worst, value)
            name = f"checkpoint_overhead_pct/{label}{'_beside' if beside else ''}"
            yield Figure(figure=name, value=value, unit="%", goal="<=1", runs=_SAVES)
    yield Figure(figure="checkpoint_overhead_pct", value=worst, unit="%", goal="<=1", runs=_SAVES)
    if find_spec("torch"):
        yield Figure(figure="checkpoint_overhead_pct/torch_save", value=_torch_save_pct(root), unit="%", runs=_SAVES)


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


def _overhead_pct(root: Path, make: Callable[[], Any], *, beside: bool) -> float:
    step, state = make()
    folder = root / "overhead"
    with checkpoint.run(folder, interval_s=0, beside=beside) as ckpt:
        added_s = _added_s(step, lambda number: ckpt.save(number, state))
    shutil.rmtree(folder)
    return 100 * added_s / choose_interval(added_s).interval_s


def _torch_save_pct(root: Path) -> float:
    import torch

    step, state = _training()
    path = root / "plain.pt"

    def save(_number: int) -> None:
        torch.save(state(), path)

    added_s = _added_s(step, save)
    return 100 * added_s / choose_interval(added_s).interval_s


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
    for name, gaps in _gaps():
        yield Figure(
            figure=f"lost_work_vs_interval/{name}", value=_against_expectation(gaps), unit="ratio", runs=len(gaps)
        )


def _share_lost(folder: Path, rng: random.Random) -> float:
    """Kill a run at a random moment; return the work lost as a share of one interval plus one save plus one step."""
    interval_s, step_s = 0.05, 0.002
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work(folder, interval_s, step_s, writer)
    time.sleep(rng.uniform(0.15, 0.5))
    killed_at = time.monotonic()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        said = [line.split() for line in lines.read().splitlines()]
    shutil.rmtree(folder, ignore_errors=True)
    saves = [(float(at), float(took)) for at, took in said]
    if not saves:
        return 0.0  # killed before its first step
    longest_s = max(took for _, took in saves)
    return (killed_at - saves[-1][0]) / (
        interval_s + longest_s + step_s + 0.02
    )  # 20 ms: to be scheduled in, on 2 cores


def _work(folder: Path, interval_s: float, step_s: float, said: int) -> None:
    """Compute and save until killed; say when each saved state was that of the moment, and what its save took."""
    state = {"w": np.zeros(1000)}
    with checkpoint.run(folder, interval_s=interval_s) as ckpt:
        for step in range(10**9):
            time.sleep(step_s)
            began = time.monotonic()
            if ckpt.save(step, state):
                os.write(said, f"{began} {time.monotonic() - began}\n".encode())


def _gaps() -> Iterator[tuple[str, list[float]]]:
    rng = random.Random(2)
    yield "drawn", [rng.expovariate(1 / (6 * 3600.0)) for _ in range(20_000)]
    path = os.environ.get("ELISA_FAILURE_LOG")
    if path:
        yield "log", _gaps_in(Path(path))


def _gaps_in(path: Path) -> list[float]:
    """Return the seconds between failures of each system as a whole, that is of a job that uses all of it."""
    opener = gzip.open if path.suffix == ".gz" else open
    began = defaultdict(list)
    with opener(path, "rt", encoding="latin-1") as stream:
        for row in csv.DictReader(stream):
            began[row["System"]].append(datetime.strptime(row["Prob Started"], "%m/%d/%Y %H:%M").timestamp())  # noqa: DTZ007
    gaps: list[float] = []
    for times in began.values():
        times.sort()
        gaps.extend(later - earlier for earlier, later in pairwise(times) if later > earlier)
    return gaps


def _against_expectation(gaps: list[float]) -> float:
    """Return the mean work lost at a failure over what Daly's model expects for that mean time between failures."""
    mtbf_s = sum(gaps) / len(gaps)
    save_s = 10.0
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


# Throughput: the same bytes, on the same disk, in the same run, by plain writes with one fsync.


def _throughput(root: Path) -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2**63, _GIB // 8, dtype=np.int64) for _ in range(_LARGE_GIB)]
    saves, restores = [], []
    for _ in range(2):
        raw_s = seconds_of(lambda: _write_raw(root / "raw", arrays))
        folder = Generations(str(root / "large"))
        save_s = seconds_of(partial(_save, folder, arrays))
        saves.append(raw_s / save_s)
        path = folder.newest_first()[0].path
        _forget([root / "raw", *Path(path).iterdir()])
        read_s = seconds_of(lambda: _read_raw(root / "raw"))
        restore_s = seconds_of(partial(_restore, path))
        restores.append(read_s / restore_s)
        shutil.rmtree(root / "large")
    yield Figure(figure="save_4gib_vs_raw", value=median(saves), unit="ratio", goal=">=0.85", runs=2)
    yield Figure(figure="restore_4gib_vs_raw", value=median(restores), unit="ratio", goal=">=0.85", runs=2)


def _save(folder: Generations, arrays: list[np.ndarray[Any, Any]]) -> None:
    folder.write(Manifest(1, 1, ()), Encoder().encode_state({"parts": arrays}))


def _restore(path: str) -> None:
    verify(path)
    Decoder(path).decode_state()


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
