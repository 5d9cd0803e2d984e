"""Everything that decides how a PyTorch training goes on: what it trains, every random generator, and where in the data."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping

import torch

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.checkpointer import Checkpointer

__all__ = ["Training", "generator_states", "set_generator_states"]


def generator_states() -> dict[str, Any]:
    """Return the states of the random generators of Python, NumPy, and PyTorch on every device in use."""
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        states["numpy"] = numpy.random.get_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if _has_mps():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Set the generators as `generator_states` found them."""
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        import numpy as np

        np.random.set_state(states["numpy"])  # noqa: NPY002  (the generator that programs share)
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
    if "mps" in states and _has_mps():
        torch.mps.set_rng_state(states["mps"])


def _has_mps() -> bool:
    return bool(torch.backends.mps.is_available())


class Training:
    """A training that goes on as if it had never been interrupted.

        training = checkpoint.Training(model=model, optimizer=optimizer, scheduler=scheduler)
        with checkpoint.run() as ckpt:
            training.restore(ckpt)
            for epoch in ckpt.steps(10):
                for batch in training.batches(loader):
                    ...
                ckpt.save(epoch, training)

    Each keyword names something with `state_dict` and `load_state_dict`, or a `torch.Generator`. `values` holds whatever
    else the program counts or collects. Saved in the middle of an epoch, it goes on with the next batch: those before it
    are fetched again, so that every generator, in loader workers too, takes the same way.
    """

    def __init__(self, **parts: Any) -> None:  # noqa: ANN401  (models, optimizers: what has a state)
        self.values: dict[str, Any] = {}
        self._parts = parts
        self._epoch_states: dict[str, Any] | None = None  # of the generators, when the epoch under way began
        self._fetched = 0
        self._resume: tuple[dict[str, Any], int, dict[str, Any]] | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the whole state, to be saved."""
        return {
            "parts": {name: _state_of(part) for name, part in self._parts.items()},
            "values": self.values,
            "generators": generator_states(),
            "epoch": self._epoch_states,
            "fetched": self._fetched,
        }

    def restore(self, ckpt: Checkpointer) -> bool:
        """Set everything as it was when `ckpt`'s checkpoint was saved; tell whether there was one."""
        state = ckpt.load()
        if state is None:
            return False
        for name, part in self._parts.items():
            _set_state(part, state["parts"][name])
        self.values = state["values"]
        set_generator_states(state["generators"])
        if state["epoch"] is not None:
            self._resume = (state["epoch"], state["fetched"], state["generators"])
        return True

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of one epoch; of an epoch that was interrupted, those that are left."""
        skipped, after = 0, None
        if self._resume is not None:
            before, skipped, after = self._resume
            self._resume = None
            set_generator_states(before)
        self._epoch_states = generator_states()
        batches = iter(loader)
        for _ in range(skipped):
            next(batches)
        if after is not None:
            set_generator_states(after)
        self._fetched = skipped
        for batch in batches:
            self._fetched += 1
            yield batch
        self._epoch_states, self._fetched = None, 0


def _state_of(part: Any) -> Any:  # noqa: ANN401  (whatever the part gives)
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _set_state(part: Any, state: Any) -> None:  # noqa: ANN401  (as above)
    if isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)
