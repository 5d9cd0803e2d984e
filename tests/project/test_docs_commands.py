"""Commands in the documentation do what the pages say.

A page may hold, as comments before a fenced block:

    <!-- file: NAME -->    the block is written to NAME; $ELISA_HOME/… lies in the state folder
    <!-- run -->           each line of the block that begins with `$ ` is typed, what follows is what it prints
    <!-- run: FOLDER -->   the same, with the files of that folder of the project in the working folder

All blocks of a page run in their order, over one state folder. A line `...` stands for any lines; ids, moments, the
bars of timelines and trailing blanks are not compared, and an id that was printed may be typed later on. A block that
shows no output at all must only succeed. `--bless` writes down what elisa prints now.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
MARKED = re.compile(r"^<!-- (file|run)(?:: ([^\n]+?))? -->\n+```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b[pt](?=[0-9a-z]*[0-9])[0-9a-z]{9}\b")
MASKS = (
    (ID, "<id>"),
    (re.compile(r"\b(?:\d{4}-)?\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:\+\d\d:\d\d)?\b"), "<moment>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r" *[▏▎▍▌▋▊▉█·]+ *"), " <bar> "),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)


class Command(NamedTuple):
    """One command and what it prints, as the page says."""

    words: str
    printed: str


def marked() -> list[Path]:
    return [page for page in PAGES if MARKED.search(page.read_text())]


def commands_in(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        words, _, printed = part.partition("\n")
        yield Command(words, printed)


def masked(text: str) -> str:
    for mask, stands_for in MASKS:
        text = mask.sub(stands_for, text)
    return text.strip("\n")


def says(wanted: str, printed: str) -> bool:
    """Tell whether a page's words are what was printed, as far as they are compared."""
    lines = masked(wanted).splitlines()
    pattern = "".join(r"(?:[^\n]*\n)*" if line == "..." else f"{re.escape(line)}\n" for line in lines)
    return re.fullmatch(pattern, f"{masked(printed)}\n" if masked(printed) else "") is not None


class Reader:
    """Somebody who types what a page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.home = folder / "home"
        self._real: dict[str, str] = {}
        self._environment = {
            **os.environ,
            "ELISA_HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LOGNAME": "ada",
            "COLUMNS": "100",
        }

    def type(self, words: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", words],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"$ {words}\n{done.stdout}"
        return done.stdout

    def write(self, name: str, text: str) -> None:
        path = Path(name.replace("$ELISA_HOME", str(self.home)))
        path = path if path.is_absolute() else self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def follow(self, kind: str, argument: str, block: str) -> str:
        """Do what a marked block says; return the block with what was really printed where that differs."""
        if kind == "file":
            self.write(argument, block)
            return block
        if argument:
            shutil.copytree(ROOT / argument, self.folder, dirs_exist_ok=True)
        shows_output = any(command.printed.strip() for command in commands_in(block))
        answers = [self._answer(command) for command in commands_in(block)]
        return "".join(answers) if shows_output else block

    def _answer(self, command: Command) -> str:
        """Type a command; return it with what it printed, in the page's words where they are true."""
        printed = self.type(self._with(self._real, command.words))
        wanted = ID.findall(command.printed)
        found = ID.findall(printed)
        if len(wanted) == len(found):
            self._real |= dict(zip(wanted, found, strict=True))
        if says(command.printed, printed):
            return f"$ {command.words}\n{command.printed}"
        ours = {real: name for name, real in self._real.items()}
        now = re.sub(r"[ \t]+$", "", self._with(ours, printed), flags=re.MULTILINE)
        return f"$ {command.words}\n{now}"

    @staticmethod
    def _with(names: Mapping[str, str], text: str) -> str:
        return ID.sub(lambda found: names.get(found[0], found[0]), text)


def followed(page: str, reader: Reader) -> str:
    """Return a page as it would be if it told the truth."""

    def follow(found: re.Match[str]) -> str:
        kind, argument, language, block = found.groups()
        head = found[0][: found.start(4) - found.start()]
        assert kind == "file" or language == "console"
        return f"{head}{reader.follow(kind, argument or '', block)}```"

    return MARKED.sub(follow, page)


@pytest.mark.slow
@pytest.mark.parametrize("path", marked(), ids=lambda path: path.stem)
def test_commands_of_a_page_print_what_it_says(path: Path, tmp_path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(path, followed(path.read_text(), Reader(tmp_path)))


@pytest.mark.parametrize(
    ("wanted", "printed", "is_same"),
    [
        ("2 ended\n", "2 ended   \n", True),
        ("2 ended\n", "3 ended\n", False),
        ("t0a1b2c3d4 waits\n", "t9z8y7x6w5 waits\n", True),
        ("11-24 03:56:42 done\n", "12-01 23:00:00 done\n", True),
        ("one  ██    1h\ntwo  ··█▏  2h\n", "one   █    1h\ntwo   ·██  2h\n", True),
        ("first\n...\nlast\n", "first\nsecond\nthird\nlast\n", True),
        ("first\n...\nlast\n", "first\nlast\n", True),
        ("first\n...\n", "first\nsecond\n", True),
        ("first\n...\nlast\n", "first\nsecond\n", False),
    ],
)
def test_what_is_printed_is_compared_but_for_ids_moments_bars_and_dots(
    wanted: str, printed: str, is_same: object
) -> None:
    assert says(wanted, printed) is is_same


def test_a_page_that_says_something_else_is_corrected(tmp_path: Path) -> None:
    page = "<!-- file: a.txt -->\n```text\nhello\n```\n\n<!-- run -->\n```console\n$ cat a.txt\nbye\n```\n"

    assert followed(page, Reader(tmp_path)) == page.replace("bye", "hello")


def test_an_id_that_was_printed_may_be_typed_later_on(tmp_path: Path) -> None:
    page = "<!-- run -->\n```console\n$ echo t9z8y7x6w5 | tr 9 0\nt1a2b3c4d5\n$ echo t1a2b3c4d5 >id\n```\n"

    assert followed(page, reader := Reader(tmp_path)) == page
    assert (reader.folder / "id").read_text() == "t0z8y7x6w5\n"


def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="oh no"):
        followed("<!-- run -->\n```console\n$ echo oh no; false\n```\n", Reader(tmp_path))
