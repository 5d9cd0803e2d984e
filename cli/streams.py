"""What a command writes to: made safe before it runs, emptied after it, and never a reason for a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from elisa.model.errors import ElisaError

__all__ = ["flush_output", "forget_output", "prepare_streams", "told_by_the_system"]

_HINTS: Mapping[int, str] = {
    errno.ENOSPC: "free space there, then run the command again; what was begun is not lost",
    errno.EDQUOT: "free some of your quota there, then run the command again; what was begun is not lost",
    errno.EROFS: "its filesystem is mounted read-only: name another folder with --home or ELISA_HOME",
    errno.EACCES: "ask its owner for the right, or name another folder with --home or ELISA_HOME",
    errno.EPERM: "ask its owner for the right, or name another folder with --home or ELISA_HOME",
    errno.ENOENT: "check the path, and that its filesystem is mounted",
    errno.EEXIST: "a file stands where a folder is needed: name another place",
    errno.ENOTDIR: "a file stands where a folder is needed: name another place",
    errno.EISDIR: "a folder stands where a file is needed: name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def prepare_streams() -> None:
    """Have a terminal show a mark for letters it does not know, and a stream that was closed swallow what is said."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it is the stream from now on
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def flush_output() -> None:
    """Write out what is left; raises ElisaError if it cannot be written, BrokenPipeError if nobody reads it."""
    try:
        sys.stdout.flush()
    except OSError as err:
        forget_output()
        if isinstance(err, BrokenPipeError):
            raise
        raise ElisaError(
            "the output cannot be written", err.strerror or str(err), "look at the file or disk it goes to"
        ) from err


def forget_output() -> None:
    """Keep the interpreter from writing what is left into the void when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def told_by_the_system(err: OSError) -> ElisaError:
    """Return what the operating system refused as an error in three lines."""
    what = f"{os.fsdecode(err.filename)} cannot be used" if err.filename else "a file cannot be read or written"
    hint = _HINTS.get(err.errno or 0, "see `elisa doctor`")
    return ElisaError(what, err.strerror or str(err), hint)
