from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.units import format_duration, format_memory, parse_duration_s, parse_memory_mib


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("45min", 2700),
        ("2h30m", 9000),
        ("2h 30m", 9000),
        ("1.5h", 5400),
        ("3d", 259_200),
        ("1w", 604_800),
        ("1d2h3m4s", 93_784),
        (" 10s ", 10),
        ("0s", 0),
        ("12:00:00", 43_200),
        ("3-12:00:00", 302_400),
        ("100:00:01", 360_001),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "12:30",
        "1:60:00",
        "1:00:60",
        "-5m",
        "5 minutes",
        "h",
        "1h2",
        "1e3s",
        "\u0663h",
        "1h\0",
        "3-4",
        "9" * 400 + "d",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("512MiB", 512),
        ("512M", 512),
        ("16GiB", 16_384),
        ("16G", 16_384),
        ("2TiB", 2_097_152),
        ("1.5GiB", 1536),
        ("16 GiB", 16_384),
        ("1GB", 954),
        ("2TB", 1_907_349),
        ("1KiB", 1),
        ("1kB", 1),
        ("0MiB", 0),
    ],
)
def test_sizes_are_read_and_rounded_up(text: str, mib: int) -> None:
    assert parse_memory_mib(text) == mib


@pytest.mark.parametrize(
    "text", ["", "16", "16 gigabytes", "-1GiB", "GiB", "16gib", "1e3MiB", "1_000MiB", "16GiBs", "9" * 400 + "GiB"]
)
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of memory"):
        parse_memory_mib(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0, "0s"), (45.4, "45s"), (59.6, "1m00s"), (750, "12m30s"), (11_100, "3h05m"), (187_200, "2d04h")],
)
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("mib", "text"), [(512, "512MiB"), (16_384, "16GiB"), (1_572_864, "1.5TiB")])
def test_memory_is_shown_in_the_largest_unit(mib: int, text: str) -> None:
    assert format_memory(mib) == text


@given(st.integers(min_value=0, max_value=10**6))
def test_shown_memory_is_read_back_to_three_digits(mib: int) -> None:
    assert parse_memory_mib(format_memory(mib)) == pytest.approx(mib, rel=0.006)


@given(st.integers(min_value=0, max_value=10**4), st.integers(0, 59), st.integers(0, 59))
def test_clock_and_units_agree(hours: int, minutes: int, seconds: int) -> None:
    hours %= 1000

    assert parse_duration_s(f"{hours}:{minutes:02}:{seconds:02}") == parse_duration_s(f"{hours}h{minutes}m{seconds}s")


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    for parse in (parse_duration_s, parse_memory_mib):
        try:
            assert parse(text) >= 0
        except ValueError as err:
            assert text.strip() in str(err)  # noqa: PT017 - most texts are refused, some are not
