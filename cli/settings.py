"""`--set key=value` on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elisa.model.errors import UsageError

__all__ = ["parse_settings"]


def parse_settings(words: Sequence[str] | None, option: str = "--set ") -> Mapping[str, str]:
    """Return the settings by key; `option` stands before each on the command line.

    Raises UsageError for a word without `=`, an empty key, or a key given twice.
    """
    settings: dict[str, str] = {}
    for word in words or ():
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise UsageError(
                f"`{option}{word}` sets nothing", "it must read KEY=VALUE", f"for example {option}epochs=20"
            )
        if key in settings:
            raise UsageError(f"`{key}` is set twice", f"to `{settings[key]}` and to `{value}`", "keep one of them")
        settings[key] = value
    return settings
