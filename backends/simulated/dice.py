"""Chance that repeats itself: what is drawn depends on the seed and on what it is drawn for, not on the order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elisa.model.units import parse_duration_s

__all__ = ["Dice", "Distribution", "parse_distribution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What to draw a number from.

    Kinds: `constant` (value), `uniform` (least, greatest), `exponential` (mean), `lognormal` (median, sigma), `choice`
    (any of them).
    """

    kind: str
    numbers: tuple[float, ...]


_COUNTS = {"constant": 1, "uniform": 2, "exponential": 1, "lognormal": 2}


def parse_distribution(value: object) -> Distribution:
    """Return the distribution in `90`, `"2h"`, `{"lognormal": ["1h", 0.5]}` and the like.

    Raises ValueError, with a sentence for the author, for anything else.
    """
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, numbers),) = value.items()
        listed = numbers if isinstance(numbers, Sequence) and not isinstance(numbers, str) else [numbers]
        parsed = tuple(_number(number) for number in listed)
        if parsed and (kind == "choice" or _COUNTS.get(str(kind)) == len(parsed)):
            return Distribution(kind=str(kind), numbers=parsed)
    elif not isinstance(value, Mapping):
        return Distribution(kind="constant", numbers=(_number(value),))
    raise ValueError(
        f"`{value}` is no distribution: write a number, a duration, or one of uniform: [a, b], exponential: mean, "
        "lognormal: [median, sigma], choice: [..]"
    )


def _number(value: object) -> float:
    if isinstance(value, str):
        return float(parse_duration_s(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"`{value}` is neither a number nor a duration such as 90s or 2h30m")


@dataclass(frozen=True, slots=True)
class Dice:
    """Draws numbers. The same key gives the same number for ever."""

    seed: int

    def uniform(self, *key: object) -> float:
        """Return a number in [0, 1)."""
        text = "\x1f".join(str(part) for part in (self.seed, *key))
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / 2**53

    def happens(self, probability: float, *key: object) -> bool:
        """Tell whether something of this probability happens."""
        return probability > 0.0 and self.uniform(*key) < probability

    def draw(self, source: Distribution, *key: object) -> float:
        """Return a number from `source`."""
        numbers = source.numbers
        match source.kind:
            case "constant":
                return numbers[0]
            case "uniform":
                return numbers[0] + (numbers[1] - numbers[0]) * self.uniform(*key)
            case "exponential":
                return -numbers[0] * math.log(1.0 - self.uniform(*key))
            case "lognormal":
                return numbers[0] * math.exp(numbers[1] * self._normal(*key))
            case _:
                return numbers[int(self.uniform(*key) * len(numbers))]

    def _normal(self, *key: object) -> float:
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform(*key, "radius")))
        return radius * math.cos(2.0 * math.pi * self.uniform(*key, "angle"))
