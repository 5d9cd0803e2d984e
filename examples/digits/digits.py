"""Handwritten digits, from the pixels to a report: four functions, each a task of the pipeline beside this file.

They are plain functions; each imports what only its job needs, so that putting the pipeline together stays quick. What
makes `train` survive a kill is the checkpoint library: started again, it goes on after the last epoch it saved and ends
with the same weights, to the bit, as if nothing had happened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elisa import checkpoint, task
from elisa.runtime import metric

if TYPE_CHECKING:
    from sklearn.kernel_approximation import RBFSampler
    from sklearn.linear_model import SGDClassifier

Arrays = dict[str, np.ndarray]


@task
def prepare(test_share: float = 0.25) -> Arrays:
    """Return the 1,797 scanned digits that scikit-learn ships, scaled, shuffled and split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels, labels = digits.data[order] / 16.0, digits.target[order]
    cut = int(len(labels) * (1 - test_share))
    return {
        "train_x": pixels[:cut],
        "train_y": labels[:cut],
        "test_x": pixels[cut:],
        "test_y": labels[cut:],
    }


@task(
    walltime="10m",
    checkpoint={"interval": "0s"},  # after every epoch
    retry={"limit": 3, "backoff": {"initial": "2s"}},
    environment={"OMP_NUM_THREADS": "1"},
)
def train(data: Arrays, seed: int, epochs: int) -> Arrays:
    """Return the weights of a linear classifier on random Fourier features, trained by stochastic gradient descent."""
    features = _features(seed).fit(data["train_x"])
    x, y = features.transform(data["train_x"]), data["train_y"]
    with checkpoint.run() as saved:
        model, random = _begin(x, y, seed) if saved.state is None else _continue(saved.load(), seed)
        for epoch in saved.steps(epochs):
            order = random.permutation(len(y))
            for batch in np.array_split(order, 180):
                model.partial_fit(x[batch], y[batch])
            metric("train_accuracy", float(model.score(x, y)), step=epoch)
            saved.save(epoch, lambda: _state(model, random))
    return {"seed": np.array(seed), "coef": model.coef_, "intercept": model.intercept_}


def _features(seed: int) -> RBFSampler:
    from sklearn.kernel_approximation import RBFSampler

    return RBFSampler(gamma=0.5, n_components=2000, random_state=seed)


def _classifier(seed: int) -> SGDClassifier:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", alpha=1e-5, learning_rate="invscaling", eta0=2.0, random_state=seed)


def _begin(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[SGDClassifier, np.random.Generator]:
    model = _classifier(seed)
    model.partial_fit(x[:1], y[:1], classes=np.arange(10))
    return model, np.random.default_rng(seed)


def _state(model: SGDClassifier, random: np.random.Generator) -> dict[str, Any]:
    """Everything that the next epoch depends on."""
    return {
        "coef": model.coef_,
        "intercept": model.intercept_,
        "t": model.t_,
        "random": random.bit_generator.state,
    }


def _continue(state: dict[str, Any], seed: int) -> tuple[SGDClassifier, np.random.Generator]:
    model, random = _classifier(seed), np.random.default_rng()
    model.classes_, model.t_ = np.arange(10), state["t"]
    model.coef_, model.intercept_ = state["coef"], state["intercept"]
    random.bit_generator.state = state["random"]
    return model, random


@task
def evaluate(model: Arrays, data: Arrays) -> dict[str, Any]:
    """Return how well one seed's model reads digits it has not seen."""
    from sklearn.metrics import accuracy_score, confusion_matrix

    features = _features(int(model["seed"])).fit(data["train_x"])
    scores = features.transform(data["test_x"]) @ model["coef"].T + model["intercept"]
    guessed = scores.argmax(axis=1)
    accuracy = float(accuracy_score(data["test_y"], guessed))
    metric("accuracy", accuracy)
    return {
        "seed": int(model["seed"]),
        "accuracy": accuracy,
        "confusion": confusion_matrix(data["test_y"], guessed).tolist(),
    }


@task(outputs={"report": {"path": "report.md", "format": "text"}})
def report(scores: list[dict[str, Any]], threshold: float) -> str:
    """Write the comparison of all seeds, and return the best one's line."""
    ranked = sorted(scores, key=lambda score: -score["accuracy"])
    lines = [f"- seed {score['seed']}: {score['accuracy']:.4f}" for score in ranked]
    text = f"# Digits\n\nBest accuracy above {threshold}:\n\n" + "\n".join(lines) + "\n"
    Path(os.environ.get("ELISA_TASK_DIR", "."), "report.md").write_text(text, encoding="utf-8")
    print(text)
    return lines[0]
