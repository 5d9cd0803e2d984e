"""Shares of GPUs: what part of a whole one each is, counted in exact integers and rounded up."""

from __future__ import annotations

from functools import cache

from .metered import Metered
from .resources import MPS, meets

__all__ = ["UNITS_A_GPU", "booked_kind", "parts_of", "plain_kind", "whole_gpus"]

# What a GPU is counted as where shares are held: a half to a tenth, a twelfth, a 64th and a percent of it are whole numbers.
UNITS_A_GPU = 100_800


def booked_kind(kind: str, parts: int) -> str:
    """Return the type by which a share is booked: `shard (1/4)`, if four of them make a GPU; any other as it is."""
    return f"{kind} (1/{parts})" if kind and parts > 1 else kind


@cache
def parts_of(kind: str) -> int:
    """Return how many of what is booked by this type make a GPU."""
    _, _, size = kind.partition(" (1/")
    return int(size.removesuffix(")")) if size else 1


def plain_kind(kind: str) -> str:
    """Return the type of a share as tasks ask for it, without its size and of whichever GPU."""
    kind = kind.partition(" (1/")[0]
    return MPS if meets(kind, MPS) else kind


def whole_gpus(resource: Metered, amount: int, parts: int) -> int:
    """Return an amount of shares as that of GPUs of any type, rounded up; what is no number of GPUs as it is."""
    match resource:
        case Metered.GPU_UNITS:
            return -(-amount * UNITS_A_GPU // parts)
        case Metered.GPUS | Metered.GPU_S:
            return -(-amount // parts)
        case _:
            return amount
