"""Checkpoints to be damaged, and ways to damage them."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from elisa.runtime.checkpoint.codec import Encoder
from elisa.runtime.checkpoint.generations import Generation, Generations
from elisa.runtime.checkpoint.manifest import Manifest


def a_state(step: int) -> dict[str, Any]:
    """Return a state in which every part differs from step to step."""
    rng = np.random.default_rng(step)
    return {"step": step, "weights": rng.random((30, 40)), "raw": rng.bytes(6000), "bias": rng.random(3)}


def is_state(state: Any, step: int) -> bool:
    expected = a_state(step)
    return (
        sorted(state) == sorted(expected)
        and state["step"] == step
        and state["raw"] == expected["raw"]
        and all(state[name].tobytes() == expected[name].tobytes() for name in ("weights", "bias"))
    )


def save_steps(root: Path, *steps: int) -> list[Generation]:
    """Save one generation a step; return them, the oldest first."""
    folder = Generations(str(root))
    return [
        folder.write(Manifest(folder.next_number(), step, ()), Encoder().encode_state(a_state(step)))[0]
        for step in steps
    ]


def _a_file(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(folder.iterdir()))


def flip_a_bit(newest: Path, _older: Path, rng: random.Random) -> None:
    path = _a_file(newest, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(newest: Path, _older: Path, rng: random.Random) -> None:
    path = _a_file(newest, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))


def empty(newest: Path, _older: Path, rng: random.Random) -> None:
    os.truncate(_a_file(newest, rng), 0)


def append(newest: Path, _older: Path, rng: random.Random) -> None:
    with _a_file(newest, rng).open("ab") as stream:
        stream.write(rng.randbytes(rng.randint(1, 99)))


def overwrite(newest: Path, _older: Path, rng: random.Random) -> None:
    path = _a_file(newest, rng)
    path.write_bytes(rng.randbytes(path.stat().st_size))


def remove_a_file(newest: Path, _older: Path, rng: random.Random) -> None:
    _a_file(newest, rng).unlink()


def remove_all_files(newest: Path, _older: Path, _rng: random.Random) -> None:
    for path in newest.iterdir():
        path.unlink()


def take_a_file_of_the_older(newest: Path, older: Path, rng: random.Random) -> None:
    path = _a_file(newest, rng)
    shutil.copyfile(older / path.name, path)


def become_the_older(newest: Path, older: Path, _rng: random.Random) -> None:
    shutil.rmtree(newest)
    shutil.copytree(older, newest)


def become_a_link(newest: Path, _older: Path, rng: random.Random) -> None:
    path = _a_file(newest, rng)
    path.rename(newest.parent / "elsewhere")
    path.symlink_to(newest.parent / "elsewhere")


def become_a_folder(newest: Path, _older: Path, rng: random.Random) -> None:
    path = _a_file(newest, rng)
    path.unlink()
    path.mkdir()


Damage = Callable[[Path, Path, random.Random], None]

DAMAGES: list[Damage] = [
    flip_a_bit,
    truncate,
    empty,
    append,
    overwrite,
    remove_a_file,
    remove_all_files,
    take_a_file_of_the_older,
    become_the_older,
    become_a_link,
    become_a_folder,
]
