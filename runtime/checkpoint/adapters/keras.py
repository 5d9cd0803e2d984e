"""A callback by which Keras saves a model, its optimizer and its random generators into checkpoints of elisa."""

from __future__ import annotations

import random
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.checkpointer import Checkpointer

__all__ = ["KerasCheckpoint"]

_keras: Any = import_module("keras")


class KerasCheckpoint(_keras.callbacks.Callback):  # type: ignore[misc]  # its base is not known before it is imported
    """Save when it is time to, at the ends of epochs, and leave when the job is to stop.

    with checkpoint.run() as ckpt:
        saver = checkpoint.KerasCheckpoint(ckpt)
        model.fit(x, y, epochs=10, initial_epoch=saver.first_epoch, callbacks=[saver])
    """

    def __init__(self, ckpt: Checkpointer) -> None:
        super().__init__()
        self._ckpt = ckpt
        self._state = ckpt.load()
        self.first_epoch = 0 if ckpt.step is None else ckpt.step + 1

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ANN401, ARG002  (Keras's)
        """Set everything as it was saved."""
        state, self._state = self._state, None
        if state is None:
            return
        self.model.optimizer.build(self.model.trainable_variables)
        _assign(self.model.variables, state["model"])
        _assign(self.model.optimizer.variables, state["optimizer"])
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002  (the generator that Keras uses)
        generator = _global_generator()
        if generator is not None and state["keras"] is not None:
            generator.state.assign(state["keras"])
        _set_backend_state(state["backend"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ANN401  (Keras's)
        """Save, if it is time to; what Keras measured goes with it."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        self._ckpt.save(epoch, self._content, metrics=metrics)

    def _content(self) -> dict[str, Any]:
        generator = _global_generator()
        return {
            "model": _values(self.model.variables),
            "optimizer": _values(self.model.optimizer.variables),
            "python": random.getstate(),
            "numpy": np.random.get_state(),  # noqa: NPY002  (as above)
            "keras": None if generator is None else np.asarray(_keras.ops.convert_to_numpy(generator.state)),
            "backend": _backend_state(),
        }


def _values(variables: Any) -> list[Any]:  # noqa: ANN401  (Keras's)
    return [np.array(_keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: Any, values: list[Any]) -> None:  # noqa: ANN401  (Keras's)
    for variable, value in zip(variables, values):
        variable.assign(value)


def _global_generator() -> Any:  # noqa: ANN401  (Keras's)
    """Return the generator that layers without a seed share, if there is one yet."""
    return import_module("keras.src.backend.common.global_state").get_global_attribute("global_seed_generator")


def _backend_state() -> Any:  # noqa: ANN401  (a tensor of PyTorch)
    return import_module("torch").get_rng_state() if _keras.backend.backend() == "torch" else None


def _set_backend_state(state: Any) -> None:  # noqa: ANN401  (as above)
    if state is not None and _keras.backend.backend() == "torch":
        import_module("torch").set_rng_state(state)
