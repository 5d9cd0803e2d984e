"""Tensors of PyTorch in safetensors files, and whatever of it has a `state_dict`."""

from __future__ import annotations

import ctypes
import json
import struct
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

import torch

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.codec import Chunk, Decoder, Encoder

__all__ = ["decode", "encode"]

_PACK_BYTES = 512 * 2**20  # so that a part of a model that stays as it is can be linked from the checkpoint before
_ALIGNMENT = 64  # bytes: of the first number in a file, which is used where it lies
_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


class _Packed(NamedTuple):
    """A tensor with its numbers in memory order, on the host."""

    flat: torch.Tensor
    type_name: str


class _Pack:
    """Collects the tensors of one state, each storage once, into as few files as will do."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._tensors: list[_Packed] = []
        self._known: dict[tuple[Any, ...], int] = {}
        self._kept: list[torch.Tensor] = []  # or their memory, and with it their address, might be used again

    def add(self, tensor: torch.Tensor) -> int:
        """Return the number of the tensor in the pack."""
        key = (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() == 0 or key not in self._known:
            self._known[key] = len(self._tensors)
            self._kept.append(tensor)
            self._tensors.append(_Packed(_flat(tensor), str(tensor.dtype).partition(".")[2]))
        return self._known[key]

    def finish(self) -> None:
        """Make the files. Wide types come first, so that all lie at multiples of their size."""
        order = sorted(range(len(self._tensors)), key=lambda number: -self._tensors[number].flat.element_size())
        group: list[int] = []
        size = 0
        for number in order:
            nbytes = _nbytes(self._tensors[number].flat)
            if group and size + nbytes > _PACK_BYTES:
                self._add_file(group)
                group, size = [], 0
            group.append(number)
            size += nbytes
        self._add_file(group)

    def _add_file(self, group: list[int]) -> None:
        content: list[Chunk] = [self._header(group)]
        content.extend(_raw(self._tensors[number].flat) for number in group)
        self._encoder.add(".safetensors", sum(len(chunk) for chunk in content), lambda: iter(content))

    def _header(self, group: list[int]) -> bytes:
        header: dict[str, Any] = {}
        at = 0
        for number in group:
            flat, name = self._tensors[number]
            size = _nbytes(flat)
            known = _NAMES.get(name)
            shape = [flat.numel()] if known else [size]
            header[str(number)] = {"dtype": known or "U8", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNMENT)
        return struct.pack("<Q", len(text)) + text


def _nbytes(flat: torch.Tensor) -> int:
    return int(flat.numel() * flat.element_size())


def _is_dense(tensor: torch.Tensor) -> bool:
    """Tell whether the tensor's numbers fill its memory, each once, in whatever order."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    host = tensor.detach().cpu()
    if host.is_conj() or host.is_neg():
        host = host.resolve_conj().resolve_neg()
    if not _is_dense(host):
        host = host.contiguous()
    return host.as_strided((host.numel(),), (1,))


def _raw(flat: torch.Tensor) -> memoryview:
    size = _nbytes(flat)
    if size == 0:
        return memoryview(b"")
    view = (ctypes.c_ubyte * size).from_address(flat.data_ptr())
    view.owner = flat  # type: ignore[attr-defined]  # keeps the memory alive as long as the view
    return memoryview(view).cast("B")


def encode(value: object, encoder: Encoder, where: str) -> dict[str, Any] | None:
    """Return the node of a tensor, of a simple type of torch, or of the state of anything that has one."""
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, encoder, where)
    if isinstance(value, torch.Size):
        return {"$": "torch.size", "v": list(value)}
    if isinstance(value, (torch.dtype, torch.device)):
        return {"$": f"torch.{type(value).__name__}", "v": str(value)}
    if isinstance(value, torch.Generator):
        return {"$": "torch.state", "v": encoder.encode(value.get_state(), where)}
    if callable(getattr(value, "state_dict", None)):
        return {"$": "torch.state", "v": encoder.encode(value.state_dict(), where)}  # type: ignore[attr-defined]
    return None


def _encode_tensor(tensor: torch.Tensor, encoder: Encoder, where: str) -> dict[str, Any] | None:
    if type(tensor) not in {torch.Tensor, torch.nn.Parameter} or tensor.is_quantized or tensor.is_meta:
        return None  # shards of a distributed tensor are saved by `checkpoint.sharded`
    if tensor.layout != torch.strided:
        return _encode_sparse(tensor, encoder, where)
    stride = list(tensor.stride()) if _is_dense(tensor) and not tensor.is_contiguous() else None
    return {
        "$": "torch.parameter" if isinstance(tensor, torch.nn.Parameter) else "torch.tensor",
        "n": encoder.collector(_Pack).add(tensor),
        "dtype": str(tensor.dtype).partition(".")[2],
        "shape": list(tensor.shape),
        "stride": stride,
        "grad": tensor.requires_grad,
    }


def _encode_sparse(tensor: torch.Tensor, encoder: Encoder, where: str) -> dict[str, Any] | None:
    if tensor.layout != torch.sparse_coo:
        return None
    tensor = tensor.coalesce()
    parts = [tensor.indices(), tensor.values()]
    return {"$": "torch.sparse", "v": [encoder.encode(part, where) for part in parts], "shape": list(tensor.shape)}


def decode(node: dict[str, Any], decoder: Decoder) -> Any:  # noqa: ANN401  (whatever was saved)
    """Return the tensor, on the host, or the state."""
    kind = node["$"].partition(".")[2]
    if kind in {"tensor", "parameter"}:
        return _decode_tensor(node, decoder)
    if kind == "state":
        return decoder.decode(node["v"])
    if kind == "size":
        return torch.Size(node["v"])
    if kind == "sparse":
        indices, values = (decoder.decode(part) for part in node["v"])
        return torch.sparse_coo_tensor(indices, values, node["shape"], check_invariants=True).coalesce()
    if kind == "dtype":
        return getattr(torch, node["v"].partition(".")[2])
    return torch.device(node["v"])


def _decode_tensor(node: dict[str, Any], decoder: Decoder) -> torch.Tensor:
    raw = _packs(decoder)[str(node["n"])]
    dtype = getattr(torch, node["dtype"])
    flat = torch.frombuffer(raw, dtype=dtype) if len(raw) else torch.empty(0, dtype=dtype)
    tensor = flat.as_strided(node["shape"], node["stride"]) if node["stride"] else flat.reshape(node["shape"])
    if node["$"] == "torch.parameter":
        return torch.nn.Parameter(tensor, requires_grad=node["grad"])
    return tensor.requires_grad_(node["grad"])


def _packs(decoder: Decoder) -> dict[str, memoryview]:
    """Return the memory of every tensor of the checkpoint; each file is read once."""
    if "torch" not in decoder.cache:
        decoder.cache["torch"] = dict(_read_packs(decoder))
    tensors: dict[str, memoryview] = decoder.cache["torch"]
    return tensors


def _read_packs(decoder: Decoder) -> Iterator[tuple[str, memoryview]]:
    for name in decoder.names(".safetensors"):
        content = decoder.memory(name)
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(bytes(content[8 : 8 + length]))
        data = content[8 + length :]
        for number, item in header.items():
            yield number, data[slice(*item["data_offsets"])]
