"""What libslurm can do and pyslurm does not offer, asked of the library that pyslurm has loaded.

Only functions and flags that are the same in 22.05 to 25.11. No record is looked into, but for the few fields with which the
answers about jobs and partitions begin:
https://github.com/SchedMD/slurm/blob/master/slurm/slurm.h
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from elisa.model.errors import Unavailable

__all__ = ["Inventory", "Libslurm"]

# slurm_errno.h, the same number in every release since 2.0
_NO_CHANGE_IN_DATA = 1900
# those of `scontrol --detail show node`: SHOW_DETAIL and SHOW_MIXED
_DETAILED = ctypes.c_uint16(0x02 | 0x08)
_EVER = ctypes.c_long(0)
_ONE_LINE = ctypes.c_int(1)


class Inventory(NamedTuple):
    """What `scontrol --detail --oneliner show node` prints, and `scontrol --oneliner show partition`."""

    nodes: str
    partitions: str


class _Partitions(ctypes.Structure):
    """partition_info_msg_t, the same in every release: its records lie one after another in memory of their own."""

    _fields_: ClassVar = [("last_update", ctypes.c_long), ("count", ctypes.c_uint32), ("records", ctypes.c_void_p)]


class Libslurm:
    """The functions of this process's libslurm. Other threads go on while one of these waits for the controller."""

    def __init__(self, functions: Any = None) -> None:  # noqa: ANN401 - a library that is not here when types are checked
        # pyslurm loaded libslurm for everybody: its functions are this process's own
        self._slurm = functions or ctypes.CDLL(None, use_errno=True)
        self._jobs_seen_at = 0

    def have_jobs_changed(self) -> bool:
        """Tell whether any job changed since this was last asked; True also where the controller does not answer.

        It takes a millisecond where nothing changed, however many jobs there are.
        """
        message = ctypes.POINTER(ctypes.c_long)()
        since = ctypes.c_long(self._jobs_seen_at)
        if self._slurm.slurm_load_jobs(since, ctypes.byref(message), ctypes.c_uint16(0)) == 0:
            # job_info_msg_t begins with the times of the last backfill and of the last change, by the controller's clock
            self._jobs_seen_at = max(message[0], message[1])
            self._slurm.slurm_free_job_info_msg(message)
            return True
        # the function that tells it is gone since Slurm 23.11; the C library's own number is in each release the same
        return ctypes.get_errno() != _NO_CHANGE_IN_DATA

    def inventory(self) -> Inventory | None:
        """Return what scontrol prints of all nodes and partitions, for one question each, with times in this process's zone.

        None where the user has times printed in a way of their own, which libslurm heeds. Raises Unavailable.
        """
        if "SLURM_TIME_FORMAT" in os.environ:
            return None
        slurm = self._slurm
        with (
            self._loaded("slurm_load_node", "slurm_free_node_info_msg") as nodes,
            self._loaded("slurm_load_partitions", "slurm_free_partition_info_msg") as partitions,
        ):
            slurm.slurm_populate_node_partitions(nodes, partitions)
            return Inventory(
                nodes=_printed(lambda file: slurm.slurm_print_node_info_msg(file, nodes, _ONE_LINE)),
                partitions=_printed(lambda file: self._print_partitions(file, partitions)),
            )

    def _print_partitions(self, file: ctypes.c_void_p, loaded: ctypes.c_void_p) -> None:
        # slurm_print_partition_info_msg, which would do it, is gone since 25.05; a record's size differs between releases
        message = _Partitions.from_address(loaded.value or 0)
        size_of = self._slurm.slurm_xsize
        size_of.restype = ctypes.c_size_t
        size = size_of(ctypes.c_void_p(message.records)) // message.count if message.count else 0
        for number in range(message.count):
            self._slurm.slurm_print_partition_info(file, ctypes.c_void_p(message.records + number * size), _ONE_LINE)

    @contextmanager
    def _loaded(self, load: str, free: str) -> Iterator[ctypes.c_void_p]:
        message = ctypes.c_void_p()
        if getattr(self._slurm, load)(_EVER, ctypes.byref(message), _DETAILED) != 0:
            raise Unavailable("Slurm did not answer", self._why(), "`elisa doctor` shows how Slurm is reached")
        try:
            yield message
        finally:
            getattr(self._slurm, free)(message)

    def _why(self) -> str:
        strerror = self._slurm.slurm_strerror
        strerror.restype = ctypes.c_char_p
        return (strerror(ctypes.get_errno()) or b"").decode("utf-8", "replace")


def _printed(show: Callable[[ctypes.c_void_p], object]) -> str:
    """Return what is printed to a file of the C library that lies in memory."""
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    file = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    try:
        show(file)
    finally:
        libc.fclose(file)
    try:
        return ctypes.string_at(text.value or 0, size.value).decode("utf-8", "replace")
    finally:
        libc.free(text)
