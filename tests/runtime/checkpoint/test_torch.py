from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elisa import checkpoint
from elisa.runtime.checkpoint.codec import Decoder, Encoder, NotSavableError
from elisa.runtime.formats import check_format


@pytest.fixture(autouse=True)
def torch(require_real: Callable[..., None]) -> Any:
    require_real("torch")
    import torch as found

    return found


def round_trip(folder: Path, state: object) -> Any:
    for piece in Encoder().encode_state(state):
        content = b"".join(piece.chunks())
        assert len(content) == piece.size
        (folder / piece.name).write_bytes(content)
        if piece.name.endswith(".safetensors"):
            assert check_format(str(folder / piece.name), "safetensors") == (True, "")
    return Decoder(str(folder)).decode_state()


def bits(tensor: Any) -> bytes:
    import torch as found

    return bytes(tensor.detach().contiguous().reshape(-1).view(found.uint8).numpy().tobytes())


TYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int8", "uint8", "bool", "complex64", "complex128"]


@pytest.mark.parametrize("name", TYPES)
def test_tensors_come_back_to_the_bit(tmp_path: Path, torch: Any, name: str) -> None:
    dtype = getattr(torch, name)
    tensor = torch.randn(7, 3, dtype=torch.complex128).to(dtype) if "complex" in name else torch.randn(7, 3).to(dtype)

    restored = round_trip(tmp_path, {"t": tensor})["t"]

    assert (restored.dtype, restored.shape, bits(restored)) == (dtype, tensor.shape, bits(tensor))


def test_tensors_of_all_kinds_come_back(tmp_path: Path, torch: Any) -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {
        "channels last": image,
        "transposed": torch.randn(3, 4).t(),
        "every other": torch.randn(10)[::2],
        "number": torch.tensor(5.0),
        "nothing": torch.empty(0, 3),
        "grad": torch.randn(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.randn(2), requires_grad=False),
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
    }

    restored = round_trip(tmp_path, state)

    for name, tensor in state.items():
        assert bits(restored[name]) == bits(tensor.resolve_conj()), name
    assert restored["channels last"].is_contiguous(memory_format=torch.channels_last)
    assert restored["transposed"].stride() == (1, 4)
    assert restored["grad"].requires_grad
    assert isinstance(restored["parameter"], torch.nn.Parameter)
    restored["number"].add_(1)


def test_other_things_of_torch_come_back(tmp_path: Path, torch: Any) -> None:
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[0, 1], [2, 0]]), torch.tensor([3.0, 4.0]), (2, 3), check_invariants=True
    )
    state = {"size": torch.Size([1, 2]), "dtype": torch.bfloat16, "device": torch.device("cpu"), "sparse": sparse}

    restored = round_trip(tmp_path, state)

    assert (restored["size"], restored["dtype"], restored["device"]) == (
        torch.Size([1, 2]),
        torch.bfloat16,
        state["device"],
    )
    assert torch.equal(restored["sparse"].to_dense(), sparse.to_dense())


def test_one_memory_is_saved_once(tmp_path: Path, torch: Any) -> None:
    weight = torch.randn(1000)
    round_trip(tmp_path, OrderedDict(a=weight, b=weight))

    assert next(tmp_path.glob("*.safetensors")).stat().st_size < 6000


def test_a_large_state_is_spread_over_files(tmp_path: Path, torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from elisa.runtime.checkpoint.adapters import tensors

    monkeypatch.setattr(tensors, "_PACK_BYTES", 5000)
    state = {str(number): torch.full((1000,), float(number)) for number in range(4)}

    restored = round_trip(tmp_path, state)

    assert all(torch.equal(restored[name], tensor) for name, tensor in state.items())
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_whatever_has_a_state_is_saved_by_it(tmp_path: Path, torch: Any) -> None:
    model = torch.nn.Linear(2, 2)
    generator = torch.Generator().manual_seed(5)

    restored = round_trip(tmp_path, {"model": model, "generator": generator})

    assert torch.equal(restored["model"]["weight"], model.weight)
    assert torch.equal(restored["generator"], generator.get_state())


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_what_no_file_can_carry_is_refused(torch: Any) -> None:
    csr = torch.eye(2).to_sparse_coo().to_sparse_csr()
    for value in (torch.empty(2, device="meta"), csr, torch.nn.functional.relu, torch.strided):
        with pytest.raises(NotSavableError):
            Encoder().encode_state({"x": value})


TRAINING = """
import os, random, sys
import numpy as np
import torch
from elisa import checkpoint

torch.manual_seed(1); random.seed(2); np.random.seed(3)
torch.use_deterministic_algorithms(True)

class Data(torch.utils.data.Dataset):
    def __len__(self): return 60
    def __getitem__(self, i):  # augmentation draws from every generator, in the loader's workers too
        noise = torch.rand(8) + random.random() + np.random.rand()
        x = torch.linspace(0, 1, 8) * (i % 7) + 0.01 * noise
        return x, x.sum() % 3

workers = int(sys.argv[2])
loader = torch.utils.data.DataLoader(Data(), batch_size=8, shuffle=True, num_workers=workers)
model = torch.nn.Sequential(
    torch.nn.Linear(8, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=100)
scaler = torch.amp.GradScaler("cpu")
training = checkpoint.Training(model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler)
training.values = {"losses": []}

with checkpoint.run(sys.argv[1], interval_s=0, beside=sys.argv[3] == "beside") as ckpt:
    training.restore(ckpt)
    step = 0 if ckpt.step is None else ckpt.step + 1
    while training.values.setdefault("epoch", 0) < 4:
        for x, y in training.batches(loader):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x)[:, 0], y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            training.values["losses"].append(loss.item())
            ckpt.save(step, training)
            step += 1
        training.values["epoch"] += 1
        ckpt.save(step, training)
        step += 1

print(training.values["losses"][-1].hex(), len(training.values["losses"]))
print(b"".join(p.detach().numpy().tobytes() for p in model.state_dict().values()).hex())
print(torch.rand(1).item().hex(), random.random().hex(), float(np.random.rand()).hex())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "how"), [(0, "at once"), (0, "beside"), (2, "at once")])
def test_killed_at_random_a_training_ends_with_the_same_bits(tmp_path: Path, workers: int, how: str) -> None:
    def run(folder: Path, point: int = 0) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "OMP_NUM_THREADS": "1", **({"ELISA_CRASH_AT": f"*:{point}"} if point else {})}
        argv = [sys.executable, "-c", TRAINING, str(folder), str(workers), how]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    expected = run(tmp_path / "whole")
    assert expected.returncode == 0, expected.stderr
    rng = random.Random(workers)

    kills = [run(tmp_path / "killed", rng.randint(20, 200)).returncode for _ in range(4)]

    assert kills == [137] * 4
    assert run(tmp_path / "killed").stdout == expected.stdout


def test_without_a_checkpoint_a_training_begins(tmp_path: Path, torch: Any) -> None:
    training = checkpoint.Training(generator=torch.Generator().manual_seed(1))
    with checkpoint.run(tmp_path, interval_s=0) as ckpt:
        assert not training.restore(ckpt)
        ckpt.save(0, training)
    drawn = torch.rand(1, generator=training._parts["generator"])

    again = checkpoint.Training(generator=torch.Generator().manual_seed(9))
    with checkpoint.run(tmp_path) as ckpt:
        assert again.restore(ckpt)
    assert torch.equal(torch.rand(1, generator=again._parts["generator"]), drawn)


def test_generators_of_other_devices_are_kept_where_there_are_any(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from elisa.runtime.checkpoint.adapters import training

    seen: dict[str, Any] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["gpu 0", "gpu 1"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda states: seen.update(cuda=states))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: "mps")
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: seen.update(mps=state))

    training.set_generator_states(training.generator_states())

    assert seen == {"cuda": ["gpu 0"], "mps": "mps"}
