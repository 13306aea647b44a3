"""A user's own file: what is read from it, and that nothing else gets in."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ddg_ref
from ddg_ref import InputError
from ddg_ref.data import load_data
from ddg_ref.data.npz import load_npz


def samples(n=60, dtype=np.float32, shape=(5,)):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (3 * np.eye(3, 5)[y].reshape(n, *shape) + rng.standard_normal((n, *shape))).astype(dtype), y


@pytest.fixture
def path(tmp_path):
    return tmp_path / "own.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_every_sample_is_used_once(path, save, dtype):
    x, y = samples(dtype=dtype)
    save(path, x=np.asfortranarray(x), y=y.astype(np.uint8))
    data = load_data(str(path))
    assert (len(data.x_train), len(data.x_test), data.classes) == (48, 12, 3)
    together = np.concatenate([data.x_train, data.x_test])
    assert sorted(map(tuple, together)) == sorted(map(tuple, x))
    assert data.fingerprint == load_data(str(path)).fingerprint


def test_train_on_it(path):
    x, y = samples(300)
    np.savez(path, x=x, y=y)
    run = ddg_ref.train(data=str(path), model="mlp", depth=2, batch_size=20, epochs=10, split="count")
    assert run.final_test_accuracy > 0.8
    assert run.config.data == str(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": samples()[0]}, "expected the arrays x and y, got x.npy"),
        (
            {"x": samples()[0], "y": samples()[1], "z": np.zeros(3)},
            "expected the arrays x and y, got x.npy, y.npy, z.npy",
        ),
        ({"x": samples()[0], "y": samples()[1][:-1]}, "expected y as whole numbers of shape (60,)"),
        ({"x": samples()[0], "y": samples()[1] * 1.0}, "expected y as whole numbers of shape (60,)"),
        ({"x": samples()[0], "y": samples()[1] - 1}, "expected labels 0 to 1, got -1"),
        ({"x": samples()[0] * np.nan, "y": samples()[1]}, "got NaN or infinity in sample 0"),
        ({"x": samples()[1], "y": samples()[1]}, "expected x (samples, ...)"),
        (
            {"x": samples()[0].astype(int), "y": samples()[1]},
            "expected x as a non-empty array (samples, ...) of floats",
        ),
        ({"x": samples()[0].astype(str), "y": samples()[1]}, "x.npy: expected floats or whole numbers, got <U"),
        ({"x": np.zeros((0, 5)), "y": np.zeros(0, int)}, "at least 5 samples"),
        ({"x": np.zeros((10**6, 64)), "y": np.zeros(10**6, int)}, "more than 200 times larger than the file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arrays_get_one_line(path, arrays, message):
    np.savez_compressed(path, **arrays)
    with pytest.raises(InputError) as error:
        load_npz(path)
    assert "\n" not in str(error.value)
    assert message in str(error.value)
    assert "own.npz" in str(error.value)


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("something in the file was executed",))


def test_pickles_are_not_opened(path):
    _, y = samples()
    np.savez(path, x=np.array([Explosive()] * 60, dtype=object), y=y)
    with pytest.raises(InputError, match=r"x\.npy: expected floats or whole numbers, got object"):
        load_npz(path)
    path.write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(InputError, match="cannot be read"):
        load_npz(path)


def test_a_header_cannot_ask_for_memory(path):
    """The array claims 8 exabytes and is 80 bytes long."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**18, 5)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(80))
        y = io.BytesIO()
        np.save(y, samples()[1])
        archive.writestr("y.npy", y.getvalue())
    with pytest.raises(InputError, match=r"x\.npy: expected 40000000000000000000 bytes for shape"):
        load_npz(path)


def test_missing_files(tmp_path):
    for name in ("none.npz", "folder.npz"):
        (tmp_path / "folder.npz").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=rf"{name}: cannot be read \("):
            load_npz(tmp_path / name)


@given(st.data())
@settings(max_examples=300)
def test_damaged_files_are_refused_or_give_the_same_data(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "own.npz"
    x, y = samples(20)
    np.savez_compressed(path, x=x, y=y)
    original, fingerprint = path.read_bytes(), load_npz(path).fingerprint
    content = bytearray(original)
    match data.draw(st.sampled_from(["flip", "cut", "insert"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 4))):
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "insert":
            place = data.draw(st.integers(0, len(content)))
            content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    path.write_bytes(content)
    found = message = None
    try:
        found = load_npz(path).fingerprint
    except InputError as error:
        message = str(error)
    assert found == fingerprint if message is None else "\n" not in message
