"""Programs killed by the system at random moments and started again: they end as if nothing had happened, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

_FRAME = """
import hashlib, os, sys, time
import numpy as np
from elisa import checkpoint

{begin}
with checkpoint.run(sys.argv[1] + "/checkpoints", interval_s=0) as ckpt:
    state = ckpt.load()
    if state is None:
        state = begin()
    else:
        restored(state)
    print("ready", flush=True)
    for step in ckpt.steps(60):
        state = advance(state, step)
        time.sleep(0.002)
        ckpt.save(step, state)
print(ending(state))
"""

NUMPY = """
def begin():
    return {"field": np.zeros((100, 100)), "generator": np.random.default_rng(5), "energy": []}
def restored(state): pass
def advance(state, step):
    field = state["field"]
    field[1:-1, 1:-1] += 0.2 * (field[2:, 1:-1] + field[:-2, 1:-1] - 2 * field[1:-1, 1:-1])
    field += state["generator"].normal(size=field.shape)
    state["energy"].append(float((field ** 2).sum()))
    return state
def ending(state): return hashlib.sha256(state["field"].tobytes()).hexdigest(), [e.hex() for e in state["energy"]]
"""

XARRAY = """
import xarray as xr
def begin():
    values = xr.DataArray(np.zeros((20, 30)), dims=("lat", "lon"), coords={"lat": np.arange(20.0)}, attrs={"units": "K"})
    return {"data": xr.Dataset({"t": values}), "generator": np.random.default_rng(5)}
def restored(state): pass
def advance(state, step):
    noise = state["generator"].normal(size=(20, 30))
    data = state["data"]
    return {"data": data.assign(t=(data.t + noise).rolling(lat=3, min_periods=1).mean().assign_attrs(data.t.attrs)),
            "generator": state["generator"]}
def ending(state): return hashlib.sha256(state["data"].t.values.tobytes()).hexdigest(), str(state["data"].t.attrs)
"""

FILES = """
log = os.path.join(sys.argv[1], "events.log")
def begin():
    open(log, "w").close()
    return {"log": checkpoint.File(log), "x": 1}
def restored(state):
    state["log"].put_back()
def advance(state, step):
    x = state["x"] * 6364136223846793005 % 2**64
    with open(log, "a") as stream:
        stream.write(f"{step} {x}\\n")
    return {"log": checkpoint.File(log), "x": x}
def ending(state): return state["x"], open(log).read()
"""

SKLEARN = """
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
def begin():
    return {"model": SGDClassifier(random_state=np.random.RandomState(1), average=True), "scaler": StandardScaler(),
            "generator": np.random.default_rng(5), "scores": []}
def restored(state): pass
def advance(state, step):
    x = state["generator"].normal(size=(50, 8))
    y = (x.sum(1) > 0).astype(int)
    state["model"].partial_fit(state["scaler"].partial_fit(x).transform(x), y, classes=[0, 1])
    state["scores"].append(float(state["model"].score(x, y)))
    return state
def ending(state): return state["model"].coef_.tobytes().hex(), [s.hex() for s in state["scores"]]
"""

PROGRAMS = {"numpy": NUMPY, "xarray": XARRAY, "files": FILES, "sklearn": SKLEARN}


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-c", _FRAME.format(begin=program), str(folder)], env=env, stdout=subprocess.PIPE, text=True
    )


def finish(program: str, folder: Path) -> str:
    process = start(program, folder)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    return said.splitlines()[-1]


def kill_soon(program: str, folder: Path, rng: random.Random) -> int:
    process = start(program, folder)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(rng.uniform(0.0, 0.2))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(PROGRAMS))
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    tmp_path: Path, require_real: Callable[..., None], kind: str
) -> None:
    if kind in {"xarray", "sklearn"}:
        require_real(kind, how="make frameworks", found=find_spec(kind) is not None)
    program, rng = PROGRAMS[kind], random.Random()
    expected = finish(program, tmp_path / "whole")

    ends = [kill_soon(program, tmp_path / "killed", rng) for _ in range(4)]

    assert -signal.SIGKILL in ends
    assert finish(program, tmp_path / "killed").replace("killed", "whole") == expected
