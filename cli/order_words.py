"""What ranked a task, and the places where it may run, as sentences and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isinf

from elisa.model.pipeline import PriorityClass
from elisa.model.units import format_duration
from elisa.policies.factors import FactorLine
from elisa.policies.order import KeyLine
from elisa.policies.score import Weighed

__all__ = ["keys_data", "keys_words", "places_data", "places_words"]


def keys_words(keys: Sequence[KeyLine], factors: Sequence[FactorLine]) -> str:
    """Say what the order looked at, the most important first, and behind a score the factors that it is made of."""
    said = []
    for line in keys:
        words = _WORDS.get(line.name, lambda value, name=line.name: f"{name} {value:g}")(line.value)
        weighty = _lines_words(factors) if line.name == "multifactor" else ""
        said.append(words + (f" ({weighty})" if weighty else ""))
    return ", ".join(said)


def keys_data(keys: Sequence[KeyLine]) -> list[dict[str, object]]:
    """Return the JSON form; what a task has not, such as a deadline, is null."""
    return [{"name": line.name, "value": None if isinf(line.value) else line.value} for line in keys]


def places_words(places: Sequence[Weighed]) -> Iterator[str]:
    """Say of several places how each was weighed, the best first."""
    for place in places if len(places) > 1 else ():
        kind = f" on {place.gpu_type}" if place.gpu_type else ""
        tried = ", first because it is to be measured" if place.is_trial else ""
        yield f"place {place.backend}/{place.partition}{kind}{tried}: {place.score:.2f} ({_lines_words(place.terms)})"


def places_data(places: Sequence[Weighed]) -> list[dict[str, object]]:
    """Return the JSON form: the value of each term, and what it weighs."""
    return [
        {
            "backend": place.backend,
            "partition": place.partition,
            "gpu_type": place.gpu_type,
            "score": place.score,
            "is_trial": place.is_trial,
            "terms": {line.name: line.value for line in place.terms},
            "weights": {line.name: line.weight for line in place.terms},
        }
        for place in places
    ]


def _lines_words(lines: Sequence[FactorLine]) -> str:
    return ", ".join(f"{line.name} {line.value:.2f} x {line.weight:g}" for line in lines if line.points)


def _class(value: float) -> str:
    return f"class {tuple(PriorityClass)[int(value)].value}"


def _slack(value: float) -> str:
    return "no deadline to meet" if isinf(value) else f"slack {'-' if value < 0 else ''}{format_duration(abs(value))}"


def _moment(word: str) -> Callable[[float], str]:
    return lambda value: f"{word} {datetime.fromtimestamp(value / 1e6, UTC).astimezone():%m-%d %H:%M}"


_TIERS = ("guaranteed or come of age", "ordinary", "on idle means only")
_WORDS: Mapping[str, Callable[[float], str]] = {
    "class": _class,
    "importance": lambda value: f"importance {0 - value:g}",
    "deadline": _slack,
    "fair_share": lambda value: f"fair share tag {value:.4g}",
    "age": _moment("ready since"),
    "size": lambda value: f"size {value:.4g} billing hours",
    "fifo": _moment("submitted"),
    "multifactor": lambda value: f"score {0 - value:.4g}",
    "fair_tree": lambda value: f"fair tree {0 - value:.2f}",
    "drf": lambda value: f"dominant share {value:.2f} of its due",
    "tiers": lambda value: _TIERS[int(value)],
}
