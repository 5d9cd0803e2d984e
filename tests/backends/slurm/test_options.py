from __future__ import annotations

import pytest

from elisa.backends.slurm.options import Accounting, GpuStyle, SlurmOptions
from elisa.model.errors import UsageError


def test_nothing_said_is_the_default() -> None:
    assert SlurmOptions.read({}) == SlurmOptions()


def test_options_are_read_in_their_kinds() -> None:
    read = SlurmOptions.read(
        {
            "path": "/opt/slurm/bin",
            "submit_timeout_s": 30,
            "accounting": "no",
            "history_days": 3,
            "gpu_style": "gpus-per-node",
            "extras": ["lustre"],
        }
    )

    assert read == SlurmOptions(
        path="/opt/slurm/bin",
        submit_timeout_s=30.0,
        accounting=Accounting.NO,
        history_days=3,
        gpu_style=GpuStyle.GPUS_PER_NODE,
        extras=("lustre",),
    )


def test_bare_yes_and_no_of_yaml_are_understood() -> None:
    assert SlurmOptions.read({"accounting": False}).accounting is Accounting.NO
    assert SlurmOptions.read({"accounting": True}).accounting is Accounting.YES


@pytest.mark.parametrize(
    "options",
    [
        {"sbatch": "x"},
        {"path": 7},
        {"accounting": "maybe"},
        {"submit_timeout_s": "soon"},
        {"submit_timeout_s": 0},
        {"history_days": True},
        {"extras": "lustre"},
        {"extras": [1]},
        {"gpu_style": True},
    ],
)
def test_what_can_not_be_is_said(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="the slurm backend"):
        SlurmOptions.read(options)
