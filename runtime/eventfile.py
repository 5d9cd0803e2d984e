r"""The files in which a job says what it does: one writer a file, ever; a reader that no damage can mislead.

A record is a line of its own: `\n<length> <crc32> <mac> <json>\n`. The JSON holds no line feed, so that whatever was torn
or overwritten spoils no more than the lines it touches. The MAC shows that the job itself wrote it.
"""

from __future__ import annotations

import math
import os
import zlib

try:  # `hashlib` brings OpenSSL, which takes longer to load than all that is ever hashed here
    from _sha256 import sha256  # type: ignore[import-not-found]  # until Python 3.11
except ImportError:
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # since Python 3.12
    except ImportError:
        from hashlib import sha256

from elisa.runtime.crash import crash
from elisa.runtime.lean import dump_json
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any, Union

    Scalar = Union[str, int, float, bool, None]
else:
    Scalar = object

__all__ = [
    "MAXIMUM_BYTES",
    "EventFiles",
    "Record",
    "Scalar",
    "decode_records",
    "encode_record",
    "key_of",
    "read_records",
]


MAXIMUM_BYTES = 64 * 1024
"""The longest record: a longer line is damage."""

_MAC_DIGITS = 16
_KEY_BYTES = 32
_BLOCK_BYTES = 64  # of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_COUNTER_MAXIMUM = 2**53


class Record(NamedTuple):
    """One event as it was read. `at` is in seconds since the epoch, by the writer's clock."""

    attempt: str
    incarnation: int
    rank: int
    seq: int
    at: float
    kind: str
    data: dict[str, Scalar]


def _mac(key: bytes, body: bytes) -> bytes:
    return _hmac(key, body).hex()[:_MAC_DIGITS].encode()


def _hmac(key: bytes, body: bytes) -> bytes:
    """Return the HMAC-SHA-256 of `body` (RFC 2104)."""
    block = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    inner: bytes = sha256(block.translate(_INNER) + body).digest()
    outer: bytes = sha256(block.translate(_OUTER) + inner).digest()
    return outer


def _writable(value: Scalar) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()[:4096]
    return value


def encode_record(record: Record, key: bytes) -> bytes:
    """Return the bytes of `record`. Numbers that are not finite become the texts "nan", "inf" and "-inf"."""
    content = {
        "v": 1,
        "a": record.attempt,
        "i": record.incarnation,
        "r": record.rank,
        "q": record.seq,
        "t": round(record.at, 6),
        "k": record.kind,
        "d": {name: _writable(value) for name, value in record.data.items()},
    }
    body = dump_json(content, is_short=True).encode()
    return b"\n%d %08x %s %s\n" % (len(body), zlib.crc32(body), _mac(key, body), body)


def decode_records(data: bytes, key: bytes) -> tuple[tuple[Record, ...], int, int]:
    """Return the records in `data`, how many damaged or forged lines there were, and how many bytes are done with.

    The rest, a line that is still being written, is to be read again with what follows it.
    """
    end = data.rfind(b"\n") + 1
    if len(data) - end > MAXIMUM_BYTES:
        end = len(data)
    records: list[Record] = []
    bad = 0
    for line in data[:end].split(b"\n"):
        if line:
            record = _parse_line(line, key)
            if record is None:
                bad += 1
            else:
                records.append(record)
    return tuple(records), bad, end


def _parse_line(line: bytes, key: bytes) -> Record | None:
    parts = line.split(b" ", 3)
    if len(parts) != 4 or len(line) > MAXIMUM_BYTES:
        return None
    length, crc, mac, body = parts
    if length != b"%d" % len(body) or crc != b"%08x" % zlib.crc32(body):
        return None
    import hmac  # an agent seldom reads what was written
    import json

    if not hmac.compare_digest(mac, _mac(key, body)):
        return None
    try:
        return _parse_content(json.loads(body.decode(), parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> None:
    raise ValueError(name)


def _parse_content(content: object) -> Record | None:
    if not isinstance(content, dict) or content.get("v") != 1:
        return None
    numbers = [content.get(name) for name in "irq"]
    names = [content.get(name) for name in "ak"]
    at, data = content.get("t"), content.get("d")
    is_sound = (
        all(type(number) is int and 0 <= number < _COUNTER_MAXIMUM for number in numbers)
        and all(isinstance(name, str) for name in names)
        and type(at) in {int, float}
        and isinstance(data, dict)
        and all(value is None or isinstance(value, (str, int, float)) for value in data.values())
    )
    return _record(content) if is_sound else None


def _record(content: dict[Any, Any]) -> Record:
    return Record(
        content["a"], content["i"], content["r"], content["q"], float(content["t"]), content["k"], content["d"]
    )


class EventFiles:
    """The event files of one writer: segments `<incarnation>-<rank>-<n>.jsonl` in `folder`, never shared, never reused.

    `rank` is the first number tried; while another writer has it, `rank + stride` and so on is (stride 0: the number is
    kept and only the segment counts on, for an agent that alone may have rank 0).
    """

    def __init__(
        self, folder: str, attempt: str, incarnation: int, key: bytes, *, rank: int = 0, stride: int = 0
    ) -> None:
        self.folder = folder
        self.attempt = attempt
        self.incarnation = incarnation
        self.rank = rank
        self._key = key
        self._stride = stride
        self._segment = 0
        self._seq = 0
        self._is_open = False

    def write(self, kind: str, data: dict[str, Scalar], at: float, *, is_durable: bool = False) -> None:
        """Append an event by a single `write`; with `is_durable` it is on the disk when this returns.

        Raises OSError when it is not written whole. The next one then goes to a fresh segment, unharmed by the torn one.
        """
        fd = self._open()
        try:
            self._append(fd, self._encode(kind, data, at), is_durable=is_durable)
        finally:
            os.close(fd)

    def _encode(self, kind: str, data: dict[str, Scalar], at: float) -> bytes:
        record = Record(self.attempt, self.incarnation, self.rank, self._seq, at, kind, data)
        line = encode_record(record, self._key)
        if len(line) > MAXIMUM_BYTES:
            line = encode_record(record._replace(data={"why": "too long to tell"}), self._key)
        return line

    def _append(self, fd: int, line: bytes, *, is_durable: bool) -> None:
        before = os.fstat(fd).st_size
        crash("event.write")
        try:
            written = os.write(fd, line)
        except OSError:
            if os.fstat(fd).st_size != before:
                self._rotate()
            raise
        if written != len(line):
            self._rotate()
            raise OSError(f"wrote {written} of {len(line)} bytes of an event")
        self._seq += 1
        crash("event.written")
        if is_durable:
            os.fsync(fd)
            crash("event.synced")

    def _rotate(self) -> None:
        self._segment += 1
        self._is_open = False

    def _open(self) -> int:
        # Opened for each record: on NFS others see what was written once the file is closed.
        if self._is_open:
            return os.open(self._path(), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        while True:
            try:
                fd = self._create()
            except FileExistsError:
                self._next_name()
            else:
                self._is_open = True
                return fd

    def _create(self) -> int:
        crash("event.create")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path(), flags, 0o600)

    def _next_name(self) -> None:
        if self._stride and self._seq == 0:
            self.rank += self._stride
        else:
            self._segment += 1

    def _path(self) -> str:
        return os.path.join(self.folder, f"{self.incarnation}-{self.rank}-{self._segment}.jsonl")


def read_records(folder: str, key: bytes) -> list[Record]:
    """Return every sound record of every event file in `folder`, file by file."""
    records: list[Record] = []
    for name in sorted(_names(folder)):
        with open(os.path.join(folder, name), "rb") as stream:
            records.extend(decode_records(stream.read(), key)[0])
    return records


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".jsonl")]
    except FileNotFoundError:
        return []


def key_of(text: str) -> bytes:
    """Return the key that a job file holds as hexadecimal digits; raises ValueError."""
    key = bytes.fromhex(text)
    if len(key) < _KEY_BYTES:
        raise ValueError("an event key has 32 bytes")
    return key
