from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from elisa.backends.pbs.opening import client_environment, open_pbs
from elisa.backends.pbs.options import Charge, Dialect, History, PbsOptions
from elisa.model.errors import UsageError
from elisa.model.ids import BackendName
from tests.builders import FakeClock


def test_nothing_configured_is_a_default_for_everything() -> None:
    assert PbsOptions.read({}) == PbsOptions()


def test_every_option_is_read_in_its_kind() -> None:
    got = PbsOptions.read(
        {
            "path": "/opt/pbs/bin",
            "dialect": "torque",
            "history": False,
            "charge": "project",
            "query_timeout_s": 5,
            "name_limit": 15,
            "gpu_type": "gpu_model",
        }
    )

    assert got == PbsOptions(
        path="/opt/pbs/bin",
        dialect=Dialect.TORQUE,
        history=History.NO,
        charge=Charge.PROJECT,
        query_timeout_s=5.0,
        name_limit=15,
        gpu_type="gpu_model",
    )
    assert PbsOptions.read({"history": True}).history is History.YES


@pytest.mark.parametrize(
    "options",
    [
        {"pathh": "x"},
        {"path": 7},
        {"dialect": "lsf"},
        {"charge": True},
        {"name_limit": -1},
        {"name_limit": True},
        {"query_timeout_s": 0},
    ],
)
def test_what_is_unknown_or_of_a_wrong_kind_is_told(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        PbsOptions.read(options)


def test_programs_learn_who_the_user_is_and_where_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_CONF_FILE", "/etc/other.conf")
    monkeypatch.setenv("PBS_DPREFIX", "#EVIL")
    monkeypatch.setenv("SECRET", "x")
    user = pwd.getpwuid(os.getuid())

    assert client_environment(PbsOptions(server="pbs01")) == {
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "PATH": os.environ["PATH"],
        "SHELL": user.pw_shell,
        "USER": user.pw_name,
        "PBS_CONF_FILE": "/etc/other.conf",
        "PBS_SERVER": "pbs01",
        "PBS_DEFAULT": "pbs01",
    }


def test_opening_finds_the_programs_and_keeps_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "qsub"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    before = os.umask(0o027)
    try:
        backend = open_pbs(BackendName("pbs"), {}, instance="ab12", clock=FakeClock())
        after = os.umask(0o027)
    finally:
        os.umask(before)

    assert (backend.options.path, backend.options.umask, after) == (str(tmp_path), "0027", 0o027)
    assert (backend.user, backend.instance) == (pwd.getpwuid(os.getuid()).pw_name, "ab12")


def test_a_configured_umask_and_path_stand() -> None:
    options = {"path": "/opt/pbs/bin", "umask": "0077"}

    assert open_pbs(BackendName("pbs"), options, instance="ab12", clock=FakeClock()).options == PbsOptions.read(options)
