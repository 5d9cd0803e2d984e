"""States whose tensors are spread over ranks, by `torch.distributed.checkpoint`: saved in parts, loaded in any others."""

from __future__ import annotations

import os
import tempfile
import zlib
from typing import TYPE_CHECKING, Any, Mapping

import torch.distributed as ranks
import torch.distributed.checkpoint as library

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Decoder, Encoder

__all__ = ["Sharded", "decode", "encode"]

_MARK = "-shard-"
_MEMORY = "/dev/shm"  # noqa: S108  (a folder with a random name is made there)


class Sharded:
    """A state dictionary of distributed tensors, as `torch.distributed.checkpoint.state_dict.get_state_dict` gives.

        ckpt.save(step, lambda: {"model": checkpoint.Sharded(model_state())})

    Restored, `load_into` fills such a dictionary in place, be it spread over the same number of ranks or another.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state
        self._decoder: Decoder | None = None
        self._label = ""

    def load_into(self, state: dict[str, Any]) -> None:
        """Load into the tensors of `state`; every rank must call this. Only what was restored can be loaded."""
        if self._decoder is None:
            raise ValueError("this was not restored from a checkpoint: there is nothing to load")
        mark = _MARK + self._label
        with tempfile.TemporaryDirectory(prefix="elisa-") as folder:
            for name in self._decoder.all_names(mark):
                os.symlink(self._decoder.plain_path(name), os.path.join(folder, name.partition(mark)[2]))
            library.load(state, checkpoint_id=folder)


def _label(state: Mapping[str, Any]) -> str:
    """Return a name for the state that is the same on all ranks."""
    return f"{zlib.crc32(chr(0).join(sorted(state)).encode()):08x}-"


def encode(value: object, encoder: Encoder, _where: str) -> dict[str, Any] | None:
    """Let all ranks take the state apart together, and return the node of this rank's parts, which are in memory."""
    if not isinstance(value, Sharded):
        return None
    mark = _MARK + _label(value.state)
    memory = _MEMORY if os.path.isdir(_MEMORY) else None
    with tempfile.TemporaryDirectory(prefix="elisa-", dir=memory) as folder:
        library.save(dict(value.state), checkpoint_id=folder)
        for name in sorted(os.listdir(folder)):
            if name.startswith(f"__{ranks.get_rank()}_") or name == ".metadata":
                with open(os.path.join(folder, name), "rb") as stream:
                    content = stream.read()
                encoder.add_content(mark + name, content)
    return {"$": "sharded.state", "v": _label(value.state)}


def decode(node: dict[str, Any], decoder: Decoder) -> Sharded:
    """Return what `load_into` can be called on."""
    found = Sharded({})
    found._decoder, found._label = decoder, node["v"]  # noqa: SLF001  (this module's own)
    return found
