from __future__ import annotations

import hmac
import math
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.runtime.eventfile import (
    MAXIMUM_BYTES,
    EventFiles,
    Record,
    _hmac,
    decode_records,
    encode_record,
    key_of,
    read_records,
)
from tests.runtime.agent_cases import names

KEY = bytes(range(32))
COUNTERS = st.integers(0, 2**53 - 1)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
RECORDS = st.builds(
    Record,
    attempt=st.text(max_size=20).filter(lambda text: text.isprintable()),
    incarnation=COUNTERS,
    rank=COUNTERS,
    seq=COUNTERS,
    at=st.floats(0, 4e9).map(lambda at: round(at, 6)),
    kind=st.sampled_from(["metric", "progress", "exited"]),
    data=st.dictionaries(st.text(max_size=10).filter(lambda text: text.isprintable()), SCALARS, max_size=5),
)


@given(st.binary(max_size=150), st.binary(max_size=150))
def test_the_mac_is_that_of_the_standard(key: bytes, body: bytes) -> None:
    assert _hmac(key, body) == hmac.digest(key, body, "sha256")


def a_record(seq: int = 0, **data: str | float | None) -> Record:
    return Record("t000000001.1", 0, 0, seq, 1.5, "metric", data)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(st.lists(RECORDS, max_size=5))
def test_what_is_read_is_what_was_written(records: list[Record]) -> None:
    data = b"".join(encode_record(record, KEY) for record in records)

    assert decode_records(data, KEY) == (tuple(records), 0, len(data))


@given(st.lists(RECORDS, min_size=1, max_size=4), st.data())
def test_damage_never_raises_and_never_invents(records: list[Record], data: st.DataObject) -> None:
    sound = b"".join(encode_record(record, KEY) for record in records)
    at = data.draw(st.integers(0, len(sound)))
    length = data.draw(st.integers(0, 40))
    damaged = sound[:at] + data.draw(st.binary(max_size=40)) + sound[at + length :]

    found, bad, consumed = decode_records(damaged, KEY)

    assert set(map(repr, found)) <= set(map(repr, records))
    assert bad >= 0
    assert 0 <= consumed <= len(damaged)


@given(st.binary(max_size=300))
def test_noise_holds_no_records(noise: bytes) -> None:
    assert decode_records(noise, KEY)[0] == ()


@given(st.integers(0, 400))
def test_a_record_that_is_still_being_written_is_read_when_it_is_whole(cut: int) -> None:
    data = encode_record(a_record(0), KEY) + encode_record(a_record(1), KEY)
    cut = min(cut, len(data))

    first, bad, consumed = decode_records(data[:cut], KEY)
    rest, bad_later, _ = decode_records(data[consumed:], KEY)

    assert [record.seq for record in first + rest] == [0, 1]
    assert (bad, bad_later) == (0, 0)


def test_a_torn_record_does_not_take_the_next_one_with_it() -> None:
    torn = encode_record(a_record(0, text="x" * 100), KEY)[:60]

    found, bad, _ = decode_records(torn + encode_record(a_record(1), KEY), KEY)

    assert ([record.seq for record in found], bad) == ([1], 1)


def test_a_record_sealed_with_another_key_is_bad() -> None:
    assert decode_records(encode_record(a_record(), b"x" * 32), KEY)[:2] == ((), 1)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"v":2}',
        b'{"v":1,"a":"x","i":-1,"r":0,"q":0,"t":1,"k":"x","d":{}}',
        b'{"v":1,"a":"x","i":true,"r":0,"q":0,"t":1,"k":"x","d":{}}',
        b'{"v":1,"a":"x","i":0,"r":0,"q":0,"t":NaN,"k":"x","d":{}}',
        b'{"v":1,"a":"x","i":0,"r":0,"q":0,"t":1,"k":"x","d":{"deep":[1]}}',
        b'{"v":1,"a":"x","i":0,"r":0,"q":0,"t":1,"k":7,"d":{}}',
        b"[" * 30_000,
        b"\xff",
    ],
)
def test_a_sealed_record_of_the_wrong_shape_is_bad(body: bytes) -> None:
    import hashlib
    import hmac
    import zlib

    mac = hmac.new(KEY, body, hashlib.sha256).hexdigest()[:16].encode()
    line = b"\n%d %08x %s %s\n" % (len(body), zlib.crc32(body), mac, body)

    assert decode_records(line, KEY)[:2] == ((), 1)


def test_a_line_without_end_is_given_up() -> None:
    noise = b"x" * (MAXIMUM_BYTES + 1)

    assert decode_records(noise, KEY) == ((), 1, len(noise))


def test_numbers_that_json_does_not_have_become_text() -> None:
    data = encode_record(a_record(0, a=math.nan, b=math.inf, c=-math.inf), KEY)

    assert decode_records(data, KEY)[0][0].data == {"a": "nan", "b": "inf", "c": "-inf"}


def test_hostile_texts_cannot_forge_a_line() -> None:
    text = "\n5 00000000 0000000000000000 {}\n\x1b[2J\udcff"

    found, bad, _ = decode_records(encode_record(a_record(0, text=text), KEY), KEY)

    assert (len(found), bad) == (1, 0)


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    EventFiles(str(tmp_path), "t000000001.1", 0, KEY).write("metric", {}, 1.0)

    assert stat.S_IMODE((tmp_path / "0-0-0.jsonl").stat().st_mode) == 0o600


def test_each_writer_has_files_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        EventFiles(str(tmp_path), "t000000001.1", 0, KEY).write("metric", {}, 1.0)
    EventFiles(str(tmp_path), "t000000001.1", 0, KEY, rank=5, stride=10).write("metric", {}, 1.0)
    EventFiles(str(tmp_path), "t000000001.1", 0, KEY, rank=5, stride=10).write("metric", {}, 1.0)

    assert names(tmp_path) == ["0-0-0.jsonl", "0-0-1.jsonl", "0-15-0.jsonl", "0-5-0.jsonl"]
    assert {record.rank for record in read_records(str(tmp_path), KEY)} == {0, 5, 15}


def test_after_a_short_write_the_record_is_whole_in_the_next_segment(tmp_path: Path) -> None:
    files = EventFiles(str(tmp_path), "t000000001.1", 0, KEY)
    files.write("metric", {"n": 1}, 1.0)
    room = (tmp_path / "0-0-0.jsonl").stat().st_size + 20

    with files_limited_to(room), pytest.raises(OSError, match="wrote 20 of"):
        files.write("metric", {"n": 2}, 2.0)
    files.write("metric", {"n": 2}, 3.0)

    assert names(tmp_path) == ["0-0-0.jsonl", "0-0-1.jsonl"]
    assert [(record.seq, record.data) for record in read_records(str(tmp_path), KEY)] == [(0, {"n": 1}), (1, {"n": 2})]


def test_a_write_that_failed_leaves_the_segment_usable(tmp_path: Path) -> None:
    files = EventFiles(str(tmp_path), "t000000001.1", 0, KEY)
    files.write("metric", {"n": 1}, 1.0)

    with files_limited_to((tmp_path / "0-0-0.jsonl").stat().st_size), pytest.raises(OSError, match="too large"):
        files.write("metric", {"n": 2}, 2.0)
    files.write("metric", {"n": 2}, 2.0, is_durable=True)

    assert names(tmp_path) == ["0-0-0.jsonl"]
    assert [record.data for record in read_records(str(tmp_path), KEY)] == [{"n": 1}, {"n": 2}]


def test_an_event_too_long_for_a_record_says_so(tmp_path: Path) -> None:
    EventFiles(str(tmp_path), "t000000001.1", 0, KEY).write("metric", {f"k{n}": "x" * 4000 for n in range(30)}, 1.0)

    assert [record.data for record in read_records(str(tmp_path), KEY)] == [{"why": "too long to tell"}]


def test_a_link_in_the_place_of_a_segment_is_not_followed(tmp_path: Path) -> None:
    files = EventFiles(str(tmp_path), "t000000001.1", 0, KEY)
    files.write("metric", {}, 1.0)
    (tmp_path / "0-0-0.jsonl").unlink()
    (tmp_path / "0-0-0.jsonl").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        files.write("metric", {}, 2.0)


def test_no_folder_holds_no_records(tmp_path: Path) -> None:
    assert read_records(str(tmp_path / "none"), KEY) == []


def test_a_short_key_is_refused() -> None:
    assert key_of(KEY.hex()) == KEY
    with pytest.raises(ValueError, match="32 bytes"):
        key_of("00")
