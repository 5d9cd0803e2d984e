"""Parts of the standard library without the Python around them, which takes an agent longer to load than all of its own.

`json` brings `re`, and `signal`, `re` and `contextlib` bring `enum`, `functools` and `collections`. What does the work is
written in C and quickly loaded: `_json` and `_signal` are CPython's from 3.8 on. Where they are not, or are not as they
were, the standard library's own are used.
"""

from __future__ import annotations

import _thread
import sys

from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from types import TracebackType
    from typing import Any, Callable
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["Ignored", "dump_json", "load_json", "parse_json", "signal", "start_thread"]

_BLANK = " \t\n\r"


class Ignored:
    """Ignores some errors within a `with` block, as `contextlib.suppress` does."""

    def __init__(self, *errors: type[BaseException]) -> None:
        self._errors = errors

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return kind is not None and issubclass(kind, self._errors)


def start_thread(work: Callable[[], object]) -> None:
    """Do `work` in a thread that does not keep the process alive.

    `threading` reads files, and takes longer to load than a short program to run; where it is loaded, it knows the thread.
    """
    if "threading" in sys.modules:
        import threading

        threading.Thread(target=work, daemon=True).start()
    else:
        _thread.start_new_thread(work, ())


class _Rules:
    """What a scanner asks its decoder for: those of `json.loads` where nothing is said."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}.__getitem__


def _loaded(text: str) -> Any:  # noqa: ANN401  (JSON is of any kind)
    """Have the standard library say what is wrong with a text."""
    import json

    return json.loads(text)


def _own_parser() -> Callable[[str], Any]:
    from _json import make_scanner

    scan = make_scanner(_Rules)  # type: ignore[arg-type]  # it takes whatever has these attributes

    def parse(text: str) -> Any:  # noqa: ANN401  (JSON is of any kind)
        try:
            value, end = scan(text, len(text) - len(text.lstrip(_BLANK)))
        except (StopIteration, SystemError):  # the latter where it wants an error of `json`, and that is not loaded
            return _loaded(text)
        return _loaded(text) if text[end:].strip(_BLANK) else value

    return parse


def _own_writer(*, is_short: bool) -> Callable[[Any], str]:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder

    def refuse(value: object) -> None:
        raise TypeError(f"{value!r} has no JSON")

    text_of, separators = (encode_basestring, (":", ",")) if is_short else (encode_basestring_ascii, (": ", ", "))
    encode = make_encoder(None, refuse, text_of, None, *separators, False, False, True)  # noqa: FBT003  (it takes no names)
    return lambda value: "".join(encode(value, 0))


def _parser() -> Callable[[str], Any]:
    try:
        parse = _own_parser()
        if parse(' {"a": [1, 2.5, null, "\\u00e9"]} ') == {"a": [1, 2.5, None, "\u00e9"]}:
            return parse
    except (ImportError, AttributeError, TypeError, ValueError):
        pass
    import json

    return json.loads


def _writer(*, is_short: bool) -> Callable[[Any], str]:
    expected = '{"a":[1,2.5,null,"\u00e9"]}' if is_short else '{"a": [1, 2.5, null, "\\u00e9"]}'
    try:
        write = _own_writer(is_short=is_short)
        if write({"a": [1, 2.5, None, "\u00e9"]}) == expected:
            return write
    except (ImportError, AttributeError, TypeError, ValueError):
        pass
    import json

    if is_short:
        return lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return json.dumps


parse_json = _parser()
"""Return the value of a text; raises ValueError. What is not finite is read, too."""

_write, _write_short = _writer(is_short=False), _writer(is_short=True)


def load_json(path: str, errors: str = "strict") -> Any:  # noqa: ANN401  (JSON is of any kind)
    """Return the value in the file at `path`, UTF-8 with `errors` treated so; raises OSError or ValueError."""
    with open(path, "rb", 0) as stream:
        return parse_json(stream.read().decode("utf-8", errors))


def dump_json(value: object, *, is_short: bool = False) -> str:
    """Return `value` as JSON; `is_short`: without blanks, and with other letters than those of ASCII as they are."""
    return _write_short(value) if is_short else _write(value)
