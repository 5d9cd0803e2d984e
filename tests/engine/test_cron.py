from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from elisa.backends.runner import Completed
from elisa.engine.cron import Cron, CronEntry, block_of, with_block, without_block
from elisa.engine.files import OsFiles
from elisa.model.errors import ElisaError, UsageError

OTHERS = "MAILTO=ada\n0 3 * * * backup\n"


def entry(home: Path = Path("/home/ada/elisa"), *, every: int = 5, is_slurm: bool = False) -> CronEntry:
    return CronEntry(
        home=home,
        program=("/opt/elisa/bin/elisa",),
        every_minutes=every,
        environment={"PATH": "/usr/bin:/bin", "SECRET": "x", "SLURM_CONF": "/etc/slurm.conf"},
        is_slurm=is_slurm,
    )


def test_the_line_holds_absolute_paths_and_what_the_tick_needs_of_the_environment() -> None:
    assert block_of(entry()) == (
        "# >>> elisa tick of /home/ada/elisa >>>\n"
        "*/5 * * * * /usr/bin/env ELISA_HOME=/home/ada/elisa PATH=/usr/bin:/bin SLURM_CONF=/etc/slurm.conf"
        " /opt/elisa/bin/elisa tick >>/home/ada/elisa/tick.log 2>&1\n"
        "# <<< elisa tick of /home/ada/elisa <<<\n"
    )


def test_slurms_form_says_how_long_and_where_to() -> None:
    lines = block_of(entry(is_slurm=True)).splitlines()

    assert lines[1:5] == [
        "#SCRON --time=00:10:00",
        "#SCRON --job-name=elisa-tick",
        "#SCRON --open-mode=append",
        "#SCRON --output=/home/ada/elisa/tick.log",
    ]
    assert lines[5].endswith("/opt/elisa/bin/elisa tick")


@pytest.mark.parametrize(("every", "when"), [(1, "*/1 * * * *"), (60, "0 * * * *")])
def test_minutes_become_crons_fields(every: int, when: str) -> None:
    assert block_of(entry(every=every)).splitlines()[1].startswith(when)


def test_a_hostile_folder_is_quoted_for_the_shell_and_for_cron() -> None:
    line = block_of(entry(Path("/tmp/a b%c'; rm -rf /"))).splitlines()[1]

    assert "%" not in line.replace("\\%", "")
    assert "'ELISA_HOME=/tmp/a b\\%c'\"'\"'; rm -rf '" in line


def test_a_folder_with_a_line_feed_is_refused() -> None:
    with pytest.raises(UsageError):
        block_of(entry(Path("/tmp/a\n* * * * * evil")))


@pytest.mark.parametrize("table", ["", OTHERS, OTHERS.rstrip("\n")])
def test_putting_it_in_twice_is_putting_it_in_once_and_taking_it_out_leaves_the_rest(table: str) -> None:
    once = with_block(table, entry())

    assert with_block(once, entry()) == once
    assert with_block(once, entry(every=9)).count("elisa tick of") == 2
    assert without_block(once, entry()).rstrip("\n") == table.rstrip("\n")


def test_lines_for_another_state_folder_stay() -> None:
    both = with_block(with_block("", entry()), entry(Path("/other")))

    assert without_block(both, entry()) == block_of(entry(Path("/other")))


class FakeCrontab:
    """`crontab` and `scrontab` with one table each."""

    def __init__(self, table: str | None = None, *, broken: str = "") -> None:
        self.table = table
        self.broken = broken

    def run(self, argv: Sequence[str], **_told: object) -> Completed:
        if self.broken and (self.broken in argv or self.broken == "all"):
            return Completed(exit_code=1, stderr="You (ada) are not allowed to use this program\nsee man")
        if argv[1] != "-l":
            self.table = Path(argv[1]).read_text()
        elif self.table is None:
            return Completed(exit_code=1, stderr="no crontab for ada")
        return Completed(exit_code=0, stdout=self.table or "")


@pytest.mark.parametrize("table", [None, OTHERS])
def test_it_is_installed_found_and_removed(tmp_path: Path, table: str | None) -> None:
    fake, mine = FakeCrontab(table), entry(tmp_path)
    cron = Cron(fake, OsFiles())

    steps = [cron.is_installed(mine), cron.install(mine), cron.install(mine), cron.is_installed(mine)]
    removed = [cron.remove(mine), cron.remove(mine)]

    assert (steps, removed) == ([False, True, False, True], [True, False])
    assert fake.table == (table or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["all", "-l"])
def test_where_cron_is_forbidden_the_way_out_is_told(tmp_path: Path, broken: str) -> None:
    with pytest.raises(ElisaError) as caught:
        Cron(FakeCrontab("", broken=broken), OsFiles()).install(entry(tmp_path))

    assert caught.value.why == "You (ada) are not allowed to use this program"
    assert "--loop" in caught.value.hint
