from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elisa import checkpoint
from elisa.runtime.checkpoint.adapters import objects
from elisa.runtime.checkpoint.codec import COMPRESSED, Decoder, Encoder, NotSavableError


def round_trip(folder: Path, state: object) -> Any:
    for piece in Encoder().encode_state(state):
        (folder / piece.name).write_bytes(b"".join(piece.chunks()))
    return Decoder(str(folder)).decode_state()


class TestNumpy:
    @pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, np.random.SeedSequence])
    def test_random_generators_go_on(self, tmp_path: Path, make: Callable[[int], Any]) -> None:
        generator = make(5)
        restored = round_trip(tmp_path, {"rng": generator})["rng"]

        def draw(one: Any) -> Any:
            return one.generate_state(5) if make is np.random.SeedSequence else one.normal(size=5)

        assert np.array_equal(draw(restored), draw(generator))

    def test_what_is_one_object_is_one_object_again(self, tmp_path: Path) -> None:
        array, rng = np.zeros(3), np.random.default_rng(1)
        restored = round_trip(tmp_path, {"a": array, "b": [array], "r": rng, "s": rng})

        assert restored["a"] is restored["b"][0]
        assert restored["r"] is restored["s"]

    def test_arrays_of_objects_types_and_slices_come_back(self, tmp_path: Path) -> None:
        fields = np.dtype([("a", "<i4"), ("b", ">f8", (2,))])
        state = {
            "o": np.array([["x", None], [1, 2.5]], dtype=object),
            "d": fields,
            "t": np.float32,
            "s": slice(1, None),
        }

        restored = round_trip(tmp_path, state)

        assert restored["o"].tolist() == state["o"].tolist()
        assert (restored["d"], restored["t"], restored["s"]) == (fields, np.float32, slice(1, None))
        assert round_trip(tmp_path, np.sin) is np.sin


class TestObjects:
    @pytest.mark.parametrize(
        "name",
        [
            "os:system",
            "builtins:eval",
            "numpy:load",
            "numpy.lib.format:os.system",
            "numpy.f2py.crackfortran:crack2fortran",
        ],
    )
    def test_nothing_but_parts_can_be_made(self, name: str) -> None:
        with pytest.raises((ValueError, AttributeError, ImportError)):
            objects.decode(
                {"$": "sklearn.object", "make": name, "new": False, "args": [], "state": None, "n": 0}, _none()
            )

    @pytest.mark.parametrize("value", [np.vectorize(len), np.load, np.ma.masked])
    def test_what_code_would_make_is_refused(self, value: object) -> None:
        with pytest.raises(NotSavableError):
            Encoder().encode_state({"x": value})

    def test_what_is_not_made_of_parts_is_refused(self) -> None:
        class Named:
            def __reduce_ex__(self, _protocol: object) -> str:
                return "a_global_name"

        class Listed:
            def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
                return np.float32, (), None, iter([1])

        assert objects.encode(Named(), Encoder(), "state") is None
        assert objects.encode(Listed(), Encoder(), "state") is None

    def test_slots_and_attributes_are_set(self) -> None:
        class WithSlots:
            __slots__ = ("__dict__", "one")

        value = WithSlots()
        objects._set_state(value, ({"two": 2}, {"one": 1}))

        assert (value.one, value.two) == (1, 2)  # type: ignore[attr-defined]  # set by name


def _none() -> Decoder:
    return Decoder("/nowhere")


class TestFiles:
    def test_a_file_of_the_program_is_part_of_the_state(self, tmp_path: Path) -> None:
        log = tmp_path / "out" / "events.log"
        log.parent.mkdir()
        log.write_text("step 1\n")
        with checkpoint.run(tmp_path / "kept", interval_s=0) as ckpt:
            ckpt.save(1, {"log": checkpoint.File(log)})
        log.write_text("step 1\nstep 2, lost\n")

        with checkpoint.run(tmp_path / "kept") as ckpt:
            restored = ckpt.load()["log"]
            assert restored.put_back() == str(log)
            assert restored.put_back(tmp_path / "copy") == str(tmp_path / "copy")

        assert (log.read_text(), (tmp_path / "copy").read_text()) == ("step 1\n", "step 1\n")
        assert restored == checkpoint.File(log)
        assert hash(restored) == hash(checkpoint.File(log))

    def test_compressed_or_not(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_bytes(b"x" * 100)
        round_trip(tmp_path, checkpoint.File(tmp_path / "text"))
        plain = tmp_path / "00000.file"
        Path(f"{plain}{COMPRESSED}").write_bytes(zlib.compress(plain.read_bytes()))
        plain.unlink()

        restored = Decoder(str(tmp_path)).decode_state()
        restored.put_back(tmp_path / "again")

        assert (tmp_path / "again").read_bytes() == b"x" * 100

    def test_a_folder_of_files_is_part_of_the_state(self, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        (folder / "deep").mkdir(parents=True)
        (folder / "a.json").write_text("{}")
        (folder / "deep" / "b.bin").write_bytes(b"b")
        restored = round_trip(tmp_path, checkpoint.Folder(folder))
        (folder / "a.json").write_text("changed")

        assert restored.put_back() == str(folder)
        assert restored.put_back(tmp_path / "copy") == str(tmp_path / "copy")
        assert (folder / "a.json").read_text() == "{}"
        assert (tmp_path / "copy" / "deep" / "b.bin").read_bytes() == b"b"

    def test_other_things_of_elisa_are_refused(self) -> None:
        from elisa.runtime.checkpoint.adapters import files

        with pytest.raises(NotSavableError):
            Encoder().encode_state({"x": Encoder()})
        assert files.encode(object(), Encoder(), "state") is None


SKLEARN = """
import sys, warnings
import numpy as np
from sklearn import cluster, decomposition, ensemble, linear_model, naive_bayes, neural_network, pipeline, preprocessing
from sklearn.datasets import load_digits
from elisa import checkpoint

warnings.simplefilter("ignore")
X, y = load_digits(return_X_y=True)
def begin():
    return {
        "sgd": linear_model.SGDClassifier(random_state=np.random.RandomState(1), average=True),
        "mlp": neural_network.MLPClassifier((16,), random_state=2),
        "kmeans": cluster.MiniBatchKMeans(10, random_state=3, n_init=1),
        "pca": decomposition.IncrementalPCA(8),
        "bayes": naive_bayes.GaussianNB(),
        "scaler": preprocessing.StandardScaler(),
        "forest": ensemble.RandomForestClassifier(1, random_state=4, warm_start=True, max_depth=6),
        "boosting": ensemble.GradientBoostingRegressor(n_estimators=1, random_state=5, warm_start=True, subsample=0.5),
        "rng": np.random.default_rng(6),
    }

with checkpoint.run(sys.argv[1], interval_s=0) as ckpt:
    m = ckpt.load() or begin()
    for step in ckpt.steps(12):
        batch = m["rng"].permutation(len(X))[:100]
        x, t = X[batch], y[batch]
        m["scaler"].partial_fit(x)
        m["pca"].partial_fit(x)
        x = m["scaler"].transform(x)
        m["sgd"].partial_fit(x, t, classes=np.arange(10))
        m["mlp"].partial_fit(x, t, classes=np.arange(10))
        m["bayes"].partial_fit(x, t, classes=np.arange(10))
        m["kmeans"].partial_fit(x)
        m["forest"].set_params(n_estimators=step + 1).fit(X[:300], y[:300])
        m["boosting"].set_params(n_estimators=step + 1).fit(X[:300], y[:300])
        ckpt.save(step, m)

parts = [m["sgd"].coef_, m["sgd"].decision_function(X), *m["mlp"].coefs_, m["kmeans"].cluster_centers_,
         m["pca"].components_, m["bayes"].var_, m["scaler"].var_, m["forest"].predict_proba(X), m["boosting"].predict(X),
         m["rng"].random(3)]
import hashlib
print([hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest() for part in parts])
"""


@pytest.mark.slow
def test_killed_at_random_estimators_end_with_the_same_bits(tmp_path: Path, require_real: Callable[..., None]) -> None:
    require_real("sklearn")

    def run(folder: Path, point: int = 0) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "OMP_NUM_THREADS": "1", **({"ELISA_CRASH_AT": f"*:{point}"} if point else {})}
        argv = [sys.executable, "-c", SKLEARN, str(folder)]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    expected = run(tmp_path / "whole")
    assert expected.returncode == 0, expected.stderr
    rng = random.Random(1)

    kills = [run(tmp_path / "killed", rng.randint(60, 400)).returncode for _ in range(3)]

    assert kills == [137] * 3
    assert run(tmp_path / "killed").stdout == expected.stdout


class TestEstimators:
    def test_estimators_of_many_kinds_predict_the_same(self, tmp_path: Path, require_real: Callable[..., None]) -> None:
        require_real("sklearn")
        from sklearn import compose, ensemble, linear_model, neighbors, pipeline, preprocessing, svm, tree

        rng = np.random.default_rng(0)
        x, y = rng.random((60, 4)), rng.integers(0, 3, 60)
        scale = compose.ColumnTransformer([("a", preprocessing.MinMaxScaler(), [0, 1])])
        models = [
            ensemble.GradientBoostingClassifier(n_estimators=2),
            ensemble.HistGradientBoostingClassifier(max_iter=2),
            neighbors.KNeighborsClassifier(algorithm="kd_tree"),
            svm.SVC(),
            tree.DecisionTreeClassifier(),
            pipeline.make_pipeline(scale, linear_model.LogisticRegression()),
            pipeline.make_pipeline(preprocessing.FunctionTransformer(np.sqrt), linear_model.Perceptron()),
        ]

        for model in models:
            model.fit(x, y)
            restored = round_trip(tmp_path, {"m": model})["m"]
            assert type(restored) is type(model)
            assert np.array_equal(restored.predict(x), model.predict(x)), model

    def test_sparse_matrices_come_back(self, tmp_path: Path, require_real: Callable[..., None]) -> None:
        require_real("sklearn")
        sparse = import_module("scipy.sparse")
        matrix = sparse.random(20, 20, 0.3, random_state=1).tocsr()

        assert (round_trip(tmp_path, matrix) != matrix).nnz == 0


class TestTables:
    def test_tables_come_back(self, tmp_path: Path, require_real: Callable[..., None]) -> None:
        require_real("pandas")
        pandas = import_module("pandas")
        table = pandas.DataFrame(
            {"n": [1, 2], "x": [0.5, np.nan], "s": ["a", "b"], "t": pandas.to_datetime(["2020-01-01", "2021-01-01"])},
            index=pandas.Index(["u", "v"], name="key"),
        )
        table.insert(0, "o", pandas.Series([None, {"a": 1}], index=table.index, dtype=object))
        steps = [pandas.RangeIndex(0), pandas.RangeIndex(3, 9, 2), pandas.RangeIndex(5, 6, name="r")]
        restored = round_trip(tmp_path, {"t": table, "s": table["x"], "r": steps})

        pandas.testing.assert_frame_equal(restored["t"], table)
        pandas.testing.assert_series_equal(restored["s"], table["x"])
        for one, other in zip(restored["r"], steps, strict=True):
            pandas.testing.assert_index_equal(one, other)

    def test_what_has_no_simple_parts_is_refused(self, require_real: Callable[..., None]) -> None:
        require_real("pandas")
        pandas = import_module("pandas")
        with pytest.raises(NotSavableError):
            Encoder().encode_state(pandas.interval_range(0, 3))

    def test_labelled_arrays_come_back(self, tmp_path: Path, require_real: Callable[..., None]) -> None:
        require_real("xarray")
        xarray = import_module("xarray")
        field = xarray.DataArray(
            np.random.default_rng(0).random((3, 4)),
            dims=("t", "x"),
            coords={"t": [1, 2, 3]},
            attrs={"unit": "K"},
            name="T",
        )
        data = xarray.Dataset({"T": field, "n": 5})
        restored = round_trip(tmp_path, {"a": field, "d": data})

        xarray.testing.assert_identical(restored["a"], field)
        xarray.testing.assert_identical(restored["d"], data)
