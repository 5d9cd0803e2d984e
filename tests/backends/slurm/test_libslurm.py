"""libslurm where there is none: functions that stand for its own, called as those of a real one are (see tests/real)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from elisa.backends.slurm.libslurm import Inventory, Libslurm
from elisa.model.errors import Unavailable


class Loaded(ctypes.Structure):
    """What slurm_load_partitions leaves: partition_info_msg_t of slurm.h."""

    _fields_: ClassVar = [("at", ctypes.c_int64), ("record_count", ctypes.c_uint32), ("records", ctypes.c_void_p)]


class Functions:
    """A controller whose jobs changed at some second, with the node n1 and partitions whose records have 16 bytes."""

    def __init__(self, *, errno: int = 1900, partitions: Sequence[str] = ("low", "high")) -> None:
        self.records = ctypes.create_string_buffer(b"".join(name.encode().ljust(16, b"\0") for name in partitions))
        records = ctypes.addressof(self.records) if partitions else None
        self.partitions = Loaded(1_800_000_000, len(partitions), records)
        self.changed_at = 100
        self.errno = errno
        self.freed: list[str] = []
        self.message = (ctypes.c_long * 2)()

    def slurm_load_jobs(self, since: Any, message: Any, _flags: Any) -> int:
        if self.errno != 1900 or since.value > self.changed_at:
            ctypes.set_errno(self.errno)
            return -1
        self.message[0], self.message[1] = 90, self.changed_at + 1
        pointer = ctypes.POINTER(ctypes.c_long)
        message._obj.contents = ctypes.cast(self.message, pointer).contents
        return 0

    def slurm_free_job_info_msg(self, _message: Any) -> None:
        self.freed.append("jobs")

    def slurm_load_node(self, _since: Any, message: Any, flags: Any) -> int:
        message._obj.value = 7
        assert flags.value == 0x0A  # in detail, and what is partly in use told as such
        return 0

    def slurm_load_partitions(self, _since: Any, message: Any, _flags: Any) -> int:
        message._obj.value = ctypes.addressof(self.partitions)
        ctypes.set_errno(self.errno)
        return 0 if self.errno == 1900 else -1

    def slurm_populate_node_partitions(self, nodes: Any, partitions: Any) -> None:
        assert (nodes.value, partitions.value) == (7, ctypes.addressof(self.partitions))

    def slurm_print_node_info_msg(self, file: Any, nodes: Any, one_line: Any) -> None:
        assert (nodes.value, one_line.value) == (7, 1)
        ctypes.CDLL(None).fputs(b"NodeName=n1 \n", file)

    class slurm_xsize:  # noqa: N801 - named as in the library
        restype: object = None

        def __new__(cls, records: Any) -> int:  # type: ignore[misc]  # called as the function is
            return 2 * 16 if records.value else 0

    def slurm_print_partition_info(self, file: Any, record: Any, one_line: Any) -> None:
        name = ctypes.string_at(record.value)
        ctypes.CDLL(None).fputs(b"PartitionName=%s%s" % (name, b" " if one_line.value else b"\n"), file)
        ctypes.CDLL(None).fputs(b"State=UP\n", file)

    def slurm_free_node_info_msg(self, _message: Any) -> None:
        self.freed.append("nodes")

    def slurm_free_partition_info_msg(self, _message: Any) -> None:
        self.freed.append("partitions")

    class slurm_strerror:  # noqa: N801 - named as in the library
        restype: object = None

        def __new__(cls, errno: int) -> bytes:  # type: ignore[misc]  # called as the function is
            return f"error {errno}".encode()


def test_changed_since_is_asked_by_the_controllers_own_clock() -> None:
    functions = Functions()
    libslurm = Libslurm(functions)

    answers = [libslurm.have_jobs_changed(), libslurm.have_jobs_changed()]
    functions.changed_at = 200
    answers.append(libslurm.have_jobs_changed())
    functions.errno = 1800
    answers.append(libslurm.have_jobs_changed())

    assert (answers, functions.freed) == ([True, False, True, True], ["jobs", "jobs"])


def test_nodes_and_partitions_are_told_as_scontrol_prints_them_and_nothing_is_left_in_memory() -> None:
    functions = Functions()

    assert Libslurm(functions).inventory() == Inventory(
        nodes="NodeName=n1 \n", partitions="PartitionName=low State=UP\nPartitionName=high State=UP\n"
    )
    assert functions.freed == ["partitions", "nodes"]


def test_a_controller_without_partitions_tells_none() -> None:
    told = Libslurm(Functions(partitions=())).inventory()

    assert told == Inventory(nodes="NodeName=n1 \n", partitions="")


def test_a_controller_that_tells_only_half_is_unavailable_in_its_own_words() -> None:
    functions = Functions(errno=1800)

    with pytest.raises(Unavailable) as caught:
        Libslurm(functions).inventory()

    assert (caught.value.why, functions.freed) == ("error 1800", ["nodes"])


def test_times_printed_in_a_way_of_the_users_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")

    assert Libslurm(Functions()).inventory() is None
