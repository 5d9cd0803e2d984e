"""Trainings under other people's trainers, killed and resumed: the weights equal the uninterrupted run's to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

LIGHTNING = """
import sys, warnings, logging
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import torch
import lightning.pytorch as pl
from elisa import checkpoint

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Dropout(0.4), torch.nn.Linear(16, 1))
    def training_step(self, batch, _):
        x, y = batch
        self.loss = torch.nn.functional.mse_loss(self.net(x)[:, 0], y)
        return self.loss
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]

pl.seed_everything(3)
x = torch.randn(64, 4)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1)), batch_size=8, shuffle=True)
model = Model()
with checkpoint.run(sys.argv[1], interval_s=0) as ckpt:
    saver = checkpoint.LightningCheckpoint(ckpt)
    trainer = pl.Trainer(max_epochs=8, callbacks=[saver], enable_checkpointing=False, logger=False, accelerator="cpu",
                         enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, data, ckpt_path=saver.resume_path)
print(model.loss.item().hex())
print(b"".join(p.detach().numpy().tobytes() for p in model.parameters()).hex())
"""

TRANSFORMERS = """
import sys, warnings, logging, tempfile
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed
from elisa import checkpoint

set_seed(3)
config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                    max_position_embeddings=16)
model = BertForSequenceClassification(config)
g = torch.Generator().manual_seed(1)
data = [{"input_ids": torch.randint(0, 50, (8,), generator=g), "labels": torch.tensor(i % 2)} for i in range(40)]
with checkpoint.run(sys.argv[1], interval_s=0) as ckpt, tempfile.TemporaryDirectory() as out:
    saver = checkpoint.TrainerCheckpoint(ckpt)
    arguments = TrainingArguments(out, num_train_epochs=2, per_device_train_batch_size=8, save_strategy="no", report_to=[],
                                  disable_tqdm=True, use_cpu=True, logging_strategy="no", save_total_limit=1)
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[saver])
    trainer.train(resume_from_checkpoint=saver.resume_path)
    with torch.no_grad():
        ids, labels = (torch.stack([row[name] for row in data]) for name in ("input_ids", "labels"))
        loss = model(input_ids=ids, labels=labels).loss
print(loss.item().hex(), trainer.state.global_step)
print(b"".join(p.detach().numpy().tobytes() for p in model.parameters()).hex())
"""

KERAS = """
import os, sys
import numpy as np
import keras
from elisa import checkpoint

keras.utils.set_random_seed(3)
x = np.random.default_rng(0).random((64, 4)).astype("float32")
y = x.sum(1)
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dropout(0.4), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
model.build((None, 4))
keras.random.uniform(())  # makes the generator that layers without a seed share
draws = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: keras.random.uniform(()))
with checkpoint.run(sys.argv[1], interval_s=0) as ckpt:
    saver = checkpoint.KerasCheckpoint(ckpt)
    model.fit(x, y, epochs=8, initial_epoch=saver.first_epoch, batch_size=8, callbacks=[draws, saver], verbose=0, shuffle=%s)
print(float(model.evaluate(x, y, verbose=0)).hex(), float(keras.random.uniform(())).hex())
print(b"".join(np.asarray(keras.ops.convert_to_numpy(v)).tobytes() for v in model.trainable_variables).hex())
"""


def run(script: str, folder: Path, point: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", **env}
    if point:
        known["ELISA_CRASH_AT"] = f"*:{point}"
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)], env=known, capture_output=True, text=True, check=False
    )


def the_bits_are_the_same(script: str, tmp_path: Path, *points: int, **env: str) -> bool:
    expected = run(script, tmp_path / "whole", **env)
    assert expected.returncode == 0, expected.stderr
    for point in points:
        killed = run(script, tmp_path / "killed", point, **env)
        assert killed.returncode == 137, killed.stderr
    again = run(script, tmp_path / "killed", **env)
    assert again.returncode == 0, again.stderr
    return again.stdout.splitlines()[-2:] == expected.stdout.splitlines()[-2:]


def test_either_package_of_lightning_will_do(
    monkeypatch: pytest.MonkeyPatch, require_real: Callable[..., None]
) -> None:
    require_real("lightning", how="make frameworks", found=find_spec("lightning") is not None)
    from elisa.runtime.checkpoint.adapters import lightning

    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", SimpleNamespace(Callback=Path))  # type: ignore[arg-type]  # any

    assert lightning._callback() is Path


def test_without_a_checkpoint_keras_begins_as_the_program_says(
    tmp_path: Path, require_real: Callable[..., None]
) -> None:
    require_real("keras", how="make frameworks", found=find_spec("keras") is not None)
    from elisa import checkpoint

    with checkpoint.run(tmp_path) as ckpt:
        saver = checkpoint.KerasCheckpoint(ckpt)
        saver.on_train_begin()  # without a model: nothing of it may be touched

    assert saver.first_epoch == 0


@pytest.mark.slow
def test_lightning(tmp_path: Path, require_real: Callable[..., None]) -> None:
    require_real("lightning", how="make frameworks", found=find_spec("lightning") is not None)

    assert the_bits_are_the_same(LIGHTNING, tmp_path, 40, 60)


@pytest.mark.slow
def test_the_trainer_of_transformers(tmp_path: Path, require_real: Callable[..., None]) -> None:
    require_real("transformers", how="make frameworks", found=find_spec("transformers") is not None)

    assert the_bits_are_the_same(TRANSFORMERS, tmp_path, 150, 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "part", "shuffle"), [("tensorflow", "tensorflow", "False"), ("torch", "torch", "True")]
)
def test_keras(tmp_path: Path, require_real: Callable[..., None], backend: str, part: str, shuffle: str) -> None:
    require_real(part)
    require_real("keras", how="make frameworks", found=find_spec("keras") is not None)

    assert the_bits_are_the_same(KERAS % shuffle, tmp_path, 30, 50, KERAS_BACKEND=backend)
