"""The pipeline of pipeline.yaml, written in Python: both become the same.

elisa submit examples/shards/pipeline.py --set most=5 --wait
"""

from __future__ import annotations

from shards import add, count, find

from elisa import pipeline, task


@pipeline(
    labels={"example": "shards"},
    defaults={"resources": {"cpus": 1, "memory": "256MiB", "walltime": "5m"}},
)
def shards(most: int = 8) -> None:
    """Count what `find` finds, piece by piece."""
    packages = find(most)
    counts = count.options(foreach={"limit": 100}).map(package=task.each(packages))
    add(counts)
