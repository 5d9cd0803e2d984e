"""Everything that is wrong with a document, gathered so that its author sees it all at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

from elisa.model.errors import Problem, SpecError
from elisa.model.text import clean
from elisa.pipelines.nodes import Mark

__all__ = ["Problems", "nearest", "render"]

_LONGEST_TEXT = 80


class Problems:
    """A list to add to, in any order; it comes out in file order, each problem once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.subject = ""  # the key whose value is being read
        self._found: dict[tuple[Mark, str], Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def about(self, subject: str) -> Iterator[None]:
        """Let what is added meanwhile speak of `subject`."""
        before, self.subject = self.subject, subject
        try:
            yield
        finally:
            self.subject = before

    def add(self, mark: Mark, what: str, text: str = "", hint: str = "") -> None:
        """Remember one problem; what comes from the file is made safe to print."""
        problem = Problem(file=mark.file, line=mark.line, what=clean(what), text=_short(clean(text)), hint=clean(hint))
        self._found.setdefault((mark, problem.what), problem)

    def sorted(self) -> tuple[Problem, ...]:
        """Return what was found: the main file first, from top to bottom."""
        return tuple(sorted(self._found.values(), key=lambda p: (p.file != self.file, p.file, p.line)))

    def raise_any(self) -> None:
        """Raise SpecError if there is anything to tell."""
        if self._found:
            raise SpecError(self.sorted())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def nearest(word: str, known: Collection[str], *, aliases: Sequence[tuple[str, str]] = ()) -> str:
    """Return a hint that names what `word` may have been meant to be, or all there is if that is little, or nothing."""
    meant = dict(aliases).get(word.lower().replace("-", "_"))
    close = [meant] if meant in known else get_close_matches(word, list(known), n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known are: {', '.join(sorted(known))}" if 0 < len(known) <= 30 else ""


def render(problems: Sequence[Problem]) -> str:
    """Return the problems as a person reads them: place and trouble, the offending text, the way out."""
    return "\n".join(_lines(problem) for problem in problems) + "\n"


def _lines(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    lines = [f"{place}: {problem.what}"]
    if problem.text:
        lines.append(f"    {problem.text}")
    if problem.hint:
        lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines)
