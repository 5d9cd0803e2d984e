from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from elisa.runtime.checkpoint import hashing
from elisa.runtime.checkpoint.hashing import BlockDigest, Extent, digests_of

MIB = 2**20


def expected(content: bytes) -> str:
    blocks = [content[at : at + MIB] for at in range(0, len(content), MIB)]
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


def a_file(folder: Path, size: int) -> Extent:
    path = folder / f"file-{size}"
    path.write_bytes(random.Random(size).randbytes(size))
    return Extent(str(path), size)


SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 9 * MIB + 5]


@pytest.mark.parametrize("processors", [1, 2])
def test_the_digest_is_that_of_the_digests_of_the_mebibytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(hashing, "_threads", lambda: processors)
    extents = [a_file(tmp_path, size) for size in SIZES]

    assert list(digests_of(extents)) == [expected(Path(extent.path).read_bytes()) for extent in extents]
    assert list(digests_of([])) == []


def test_the_digest_of_the_first_version_is_of_the_whole_file(tmp_path: Path) -> None:
    extents = [a_file(tmp_path, size)._replace(hash_name="sha256") for size in SIZES]

    contents = [Path(extent.path).read_bytes() for extent in extents]
    assert list(digests_of(extents)) == [hashlib.sha256(content).hexdigest() for content in contents]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_in_any_pieces_has_the_digest_of_what_is_read(tmp_path: Path, size: int) -> None:
    content = memoryview(Path(a_file(tmp_path, size).path).read_bytes())
    rng = random.Random(size)
    digest = BlockDigest()
    at = 0
    while at < size:
        step = rng.choice([1, 1000, MIB, 3 * MIB])
        digest.update(content[at : at + step])
        at += step

    assert digest.finish() == expected(content.tobytes())


def test_hashing_keeps_up_with_many_blocks() -> None:
    content = random.Random(0).randbytes(40 * MIB)
    digest = BlockDigest()
    digest.update(content)

    assert digest.finish() == expected(content)


def test_a_file_that_is_longer_or_shorter_than_it_should_be_has_another_digest(tmp_path: Path) -> None:
    extent = a_file(tmp_path, 9 * MIB)
    right = next(digests_of([extent]))

    os.truncate(extent.path, 8 * MIB)
    shorter = next(digests_of([extent]))

    assert shorter != right


def test_reading_stops_at_the_first_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_threads", lambda: 2)
    later = a_file(tmp_path, 9 * MIB)
    digests = digests_of([Extent(str(tmp_path / "none"), 5), *[later] * 50])

    with pytest.raises(FileNotFoundError):
        next(digests)


def test_what_nobody_waits_for_any_more_is_not_read() -> None:
    import threading

    is_over = threading.Event()
    is_over.set()

    assert hashing._unless(is_over, lambda: [b"read"]) == []


def test_a_network_that_gives_less_than_was_asked_for_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extent = a_file(tmp_path, 2 * MIB + 7)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:300_000]], at))

    assert next(digests_of([extent])) == expected(Path(extent.path).read_bytes())


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(a_file(tmp_path, 5).path)

    with pytest.raises(OSError, match="not a file"):
        hashing.open_regular(str(tmp_path / "link"))
