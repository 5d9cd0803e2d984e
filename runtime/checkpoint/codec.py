"""A state (nested dictionaries, numbers, arrays, bytes, what adapters know) as a JSON tree and files, and back.

What comes back equals what went in, to the bit and to the type. Nothing is unpickled unless the saver asked for pickle.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import pickle
import tempfile
import zlib
from collections import OrderedDict
from importlib import import_module
from pathlib import Path, PurePath
from typing import IO, Any, Callable, Iterator, NamedTuple, Union

from elisa.runtime.checkpoint.manifest import DamagedError
from elisa.runtime.checkpoint.mapping import private_bytes

__all__ = ["COMPRESSED", "TREE", "Chunk", "Decoder", "Encoder", "NotSavableError", "Piece"]

TREE = "state.json"

COMPRESSED = ".z"
"""What the name of a compressed file ends with; the tree knows nothing of it."""

_INLINE = 4096  # bytes; smaller pieces stand in the tree: a file of its own costs a parallel filesystem more than that
_JSON_INTEGER = 2**53

Chunk = Union[bytes, memoryview]
Node = Any

# Which adapter knows the objects of which package (in which any of the object's classes is defined), or is one itself.
_ADAPTERS = {
    "files": "files",
    "labelled": "labelled",
    "numpy": "arrays",
    "pandas": "labelled",
    "scipy": "objects",
    "sharded": "sharded",
    "sklearn": "objects",
    "torch": "tensors",
    "xarray": "labelled",
}


_OWN = "elisa.runtime.checkpoint.adapters."


class NotSavableError(TypeError):
    """The state holds something that no safe format can carry; the message says where and what to do."""


class Piece(NamedTuple):
    """One file to be: its name in the checkpoint, and its bytes in order, which can be asked for again and again."""

    name: str
    size: int
    chunks: Callable[[], Iterator[Chunk]]


def _adapter(name: str) -> Any:  # noqa: ANN401  (a module with `encode` and `decode`)
    return import_module(f"elisa.runtime.checkpoint.adapters.{name}")


def _packages(value: object) -> list[str]:
    """Return the packages that know `value`: where its classes are defined, or where it is itself, for a class."""
    kinds = (value,) if isinstance(value, type) else (value, *type(value).__mro__)
    modules = [getattr(kind, "__module__", None) or "" for kind in kinds]
    own = [module[len(_OWN) :] for module in modules if module.startswith(_OWN)]
    return own or list(dict.fromkeys(module.partition(".")[0] for module in modules))


class Encoder:
    """Turns one state into a tree and `pieces`. With `allow_pickle` what nothing else can carry is pickled."""

    def __init__(self, *, allow_pickle: bool = False, prefix: str = "", absolute_paths: bool = False) -> None:
        self.pieces: list[Piece] = []
        self._collectors: dict[object, Any] = {}
        self._ends: list[Callable[[], None]] = []
        self.numbers: dict[int, tuple[int, object]] = {}  # of the objects that may occur again, by their id
        self._allow_pickle = allow_pickle
        self._absolute_paths = absolute_paths
        self._prefix = prefix

    def encode_state(self, state: object) -> list[Piece]:
        """Return all files of `state`; the tree comes last."""
        tree = json.dumps(self.encode(state, "state"), separators=(",", ":")).encode()
        self.finish()
        self.pieces.append(Piece(self._prefix + TREE, len(tree), lambda: iter((tree,))))
        return self.pieces

    def finish(self) -> list[Piece]:
        """Return the files, now that everything is encoded: what adapters collected becomes files too."""
        for end in self._ends:
            end()
        self._ends = []
        return self.pieces

    def collector(self, kind: Callable[[Encoder], Any]) -> Any:  # noqa: ANN401  (the adapter knows its own)
        """Return the one collector of this `kind`; its `finish` is called in the end, to make files of what it has."""
        if kind not in self._collectors:
            self._collectors[kind] = collector = kind(self)
            self._ends.append(collector.finish)
        return self._collectors[kind]

    def encode(self, value: Any, where: str) -> Node:  # noqa: ANN401  (anything may be tried)
        """Return the node of `value`; `where` names it in errors."""
        method = _ENCODERS.get(type(value))
        if method is not None:
            return method(self, value, where)
        return self._encode_by_adapter(value, where)

    def add(self, suffix: str, size: int, chunks: Callable[[], Iterator[Chunk]]) -> str:
        """Make a file of `chunks`, `size` bytes together, and return its name."""
        name = f"{self._prefix}{len(self.pieces):05d}{suffix}"
        self.pieces.append(Piece(name, size, chunks))
        return name

    def add_content(self, suffix: str, content: bytes) -> str:
        """Make a file of `content` and return its name."""
        return self.add(suffix, len(content), lambda: iter((content,)))

    def add_bytes(self, tag: str, suffix: str, content: list[Chunk]) -> Node:
        """Return a node that holds `content`: in itself if it is short, else in a file."""
        size = sum(len(chunk) for chunk in content)
        if size <= _INLINE:
            return {"$": tag, "v": base64.b64encode(b"".join(content)).decode()}
        return {"$": tag, "at": self.add(suffix, size, lambda: iter(content))}

    def _encode_by_adapter(self, value: object, where: str) -> Node:
        if isinstance(value, PurePath):
            return {"$": "path", "v": os.path.abspath(value) if self._absolute_paths else str(value)}
        for package in _packages(value):
            if package in _ADAPTERS:
                node = _adapter(_ADAPTERS[package]).encode(value, self, where)
                if node is not None:
                    return node
        return self._encode_pickle(value, where)

    def _encode_pickle(self, value: object, where: str) -> Node:
        if not self._allow_pickle:
            kind = type(value)
            raise NotSavableError(
                f"cannot save {where}: a {kind.__module__}.{kind.__qualname__} has no safe format"
                " (save its numbers and arrays instead, or pass allow_pickle=True)"
            )
        return self.add_bytes("pickle", ".pickle", [pickle.dumps(value, protocol=4)])

    def _plain(self, value: object, _where: str) -> Node:
        return value

    def _float(self, value: float, _where: str) -> Node:
        return value if math.isfinite(value) else {"$": "float", "v": str(value)}

    def _int(self, value: int, _where: str) -> Node:
        return value if abs(value) < _JSON_INTEGER else {"$": "int", "v": hex(value)}

    def _complex(self, value: complex, where: str) -> Node:
        return {"$": "complex", "v": [self._float(value.real, where), self._float(value.imag, where)]}

    def _bytes(self, value: bytes, _where: str) -> Node:
        return self.add_bytes("bytes", ".bin", [memoryview(value)])

    def _bytearray(self, value: bytearray, _where: str) -> Node:
        return self.add_bytes("bytearray", ".bin", [memoryview(value)])

    def _list(self, value: list[object], where: str) -> Node:
        return [self.encode(item, f"{where}[{index}]") for index, item in enumerate(value)]

    def _tuple(self, value: tuple[object, ...], where: str) -> Node:
        return {"$": "tuple", "v": self._list(list(value), where)}

    def _set(self, value: set[object], where: str) -> Node:
        return {"$": "set", "v": self._members(value, where)}

    def _frozenset(self, value: frozenset[object], where: str) -> Node:
        return {"$": "frozenset", "v": self._members(value, where)}

    def _members(self, value: set[object] | frozenset[object], where: str) -> Node:
        """Return the members in an order of their own: that of a set changes from process to process."""
        return sorted((self.encode(item, where) for item in value), key=json.dumps)

    def _slice(self, value: slice, where: str) -> Node:
        return {"$": "slice", "v": self._list([value.start, value.stop, value.step], where)}

    def _dict(self, value: dict[object, object], where: str) -> Node:
        if all(type(key) is str for key in value) and "$" not in value:
            return {key: self.encode(item, f"{where}[{key!r}]") for key, item in value.items()}
        return {"$": "dict", "v": self._items(value, where)}

    def _ordered(self, value: OrderedDict[object, object], where: str) -> Node:
        return {"$": "ordered", "v": self._items(value, where)}

    def _items(self, value: dict[object, object], where: str) -> Node:
        return [[self.encode(key, where), self.encode(item, f"{where}[{key!r}]")] for key, item in value.items()]


_ENCODERS: dict[type, Callable[[Encoder, Any, str], Node]] = {
    type(None): Encoder._plain,  # noqa: SLF001  (the table of its methods)
    bool: Encoder._plain,  # noqa: SLF001
    str: Encoder._plain,  # noqa: SLF001
    int: Encoder._int,  # noqa: SLF001
    float: Encoder._float,  # noqa: SLF001
    complex: Encoder._complex,  # noqa: SLF001
    bytes: Encoder._bytes,  # noqa: SLF001
    bytearray: Encoder._bytearray,  # noqa: SLF001
    list: Encoder._list,  # noqa: SLF001
    tuple: Encoder._tuple,  # noqa: SLF001
    set: Encoder._set,  # noqa: SLF001
    frozenset: Encoder._frozenset,  # noqa: SLF001
    slice: Encoder._slice,  # noqa: SLF001
    dict: Encoder._dict,  # noqa: SLF001
    OrderedDict: Encoder._ordered,  # noqa: SLF001
}


class Decoder:
    """Turns the files in `folder` back into the state. They must have been verified."""

    def __init__(self, folder: str, *, prefix: str = "") -> None:
        self.cache: dict[object, Any] = {}  # what an adapter read of files that many nodes share
        self._folder = folder
        self._prefix = prefix

    def decode_state(self) -> Any:  # noqa: ANN401  (whatever was saved)
        """Return the state; raises DamagedError for a tree that nothing of this version wrote."""
        with self.open(self._prefix + TREE) as stream:
            return self.decode(json.loads(stream.read()))

    def names(self, suffix: str) -> list[str]:
        """Return the names, without the mark of compression, of this state's files that end with `suffix`."""
        return [name for name in self.all_names(suffix) if name.startswith(self._prefix) and name.endswith(suffix)]

    def all_names(self, part: str) -> list[str]:
        """Return the names of the checkpoint's files, of whatever rank, that contain `part`."""
        names = (name[: -len(COMPRESSED)] if name.endswith(COMPRESSED) else name for name in os.listdir(self._folder))
        return sorted(name for name in names if part in name)

    def plain_path(self, name: str) -> str:
        """Return the path of the file `name` as it was before any compression."""
        path = os.path.join(self._folder, name)
        if os.path.exists(path + COMPRESSED):
            path = os.path.join(tempfile.mkdtemp(prefix="elisa-"), name)
            with self.open(name) as source, open(path, "wb") as target:
                target.write(source.read())
        return path

    def open(self, name: str) -> IO[bytes]:
        """Open the file `name`, compressed or not."""
        path = os.path.join(self._folder, name)
        if os.path.exists(path + COMPRESSED):
            return io.BytesIO(self._unpack(path + COMPRESSED))
        return open(path, "rb")

    def memory(self, name: str) -> memoryview:
        """Return the bytes of the file `name`, compressed or not, as memory that may be written to and kept."""
        path = os.path.join(self._folder, name)
        if os.path.exists(path + COMPRESSED):
            return memoryview(bytearray(self._unpack(path + COMPRESSED)))
        return private_bytes(path)

    def memory_of(self, node: dict[str, Any]) -> memoryview:
        """Return the bytes that `add_bytes` made `node` of, as memory that may be written to and kept."""
        return memoryview(bytearray(base64.b64decode(node["v"]))) if "v" in node else self.memory(node["at"])

    @staticmethod
    def _unpack(path: str) -> bytes:
        with open(path, "rb") as stream:
            return zlib.decompress(stream.read())

    def decode(self, node: Node) -> Any:  # noqa: ANN401  (whatever was saved)
        """Return the value of `node`."""
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$" not in node:
            return {key: self.decode(item) for key, item in node.items()}
        return self._decode_tagged(node)

    def _decode_tagged(self, node: dict[str, Any]) -> Any:  # noqa: ANN401
        tag = node["$"]
        if tag in _DECODERS:
            return _DECODERS[tag](self, node)
        package = tag.partition(".")[0]
        if package not in _ADAPTERS:
            raise DamagedError(f"nothing here can read a {tag!r}: it was saved by a newer version")
        return _adapter(_ADAPTERS[package]).decode(node, self)

    def content(self, node: dict[str, Any]) -> bytes:
        """Return the bytes that `add_bytes` made `node` of."""
        with self.stream(node) as stream:
            return stream.read()

    def stream(self, node: dict[str, Any]) -> IO[bytes]:
        """Return a stream of the bytes that `add_bytes` made `node` of."""
        return io.BytesIO(base64.b64decode(node["v"])) if "v" in node else self.open(node["at"])

    def _pairs(self, node: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [(self.decode(key), self.decode(item)) for key, item in node["v"]]


_DECODERS: dict[str, Callable[[Decoder, dict[str, Any]], Any]] = {
    "float": lambda _, node: float(node["v"]),
    "int": lambda _, node: int(node["v"], 16),
    "complex": lambda decoder, node: complex(*decoder.decode(node["v"])),
    "bytes": lambda decoder, node: decoder.content(node),
    "bytearray": lambda decoder, node: bytearray(decoder.content(node)),
    "tuple": lambda decoder, node: tuple(decoder.decode(node["v"])),
    "set": lambda decoder, node: set(decoder.decode(node["v"])),
    "frozenset": lambda decoder, node: frozenset(decoder.decode(node["v"])),
    "dict": lambda decoder, node: dict(decoder._pairs(node)),  # noqa: SLF001  (the table of its methods)
    "ordered": lambda decoder, node: OrderedDict(decoder._pairs(node)),  # noqa: SLF001
    "slice": lambda decoder, node: slice(*decoder.decode(node["v"])),
    "path": lambda _, node: Path(node["v"]),
    "pickle": lambda decoder, node: pickle.loads(decoder.content(node)),  # noqa: S301  (verified, asked for)
}
