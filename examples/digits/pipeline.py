"""The pipeline of pipeline.yaml, written in Python: both become the same.

elisa submit examples/digits/pipeline.py --set epochs=10
"""

from __future__ import annotations

from collections.abc import Sequence

from digits import evaluate, prepare, report, train

from elisa import pipeline


@pipeline(
    project="vision",
    deadline="+1d",
    labels={"example": "digits"},
    metadata={"data": "scikit-learn digits"},
    defaults={"resources": {"cpus": 1, "memory": "1GiB", "walltime": "5m"}},
)
def digits(epochs: int = 55, seeds: Sequence[int] = (1, 2, 3), threshold: float = 0.95) -> None:
    """Train one model a seed, and report on them if the best is good enough."""
    data = prepare()
    models = train.map(seed=list(seeds), data=data, epochs=epochs)
    scores = evaluate.map(model=models, data=data)
    report.options(when=f"max({scores}.accuracy) > {threshold}")(scores, threshold)
