"""Nothing gets past a checkpoint's door: damaged and hostile files give the one documented error, at little cost.

Damage is found by the sums. Whoever changes a file on purpose can write new sums, so most tests here do, and reach what
lies behind: then a file either is refused, or is a checkpoint, and is taken up as exactly what it says.
"""

import json
import os
import shutil
import struct
import tracemalloc
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import TINY, run_to, small_training
from safetensors.numpy import load_file, save_file

from ddg_ref.errors import CheckpointError
from ddg_ref.runs.checkpoints import load, save
from ddg_ref.runs.checkpoints.state import LARGEST_STATE
from ddg_ref.runs.checkpoints.writing import state_of, tensors_of
from ddg_ref.runs.rundir import STATE, SUMS, TENSORS

MEMORY = 8 << 20
"""What reading any of these checkpoints, whose files have a few KiB, may take at its peak."""

FILES = (TENSORS, STATE, SUMS)
VARIANTS = [
    {},
    {"model": "cnn", "width": 2, "depth": 2, "optimizer": "adam", "dtype": "float64"},
    {"method": "bp", "optimizer": "adam"},
    {"method": "fr"},
    {"method": "fdg", "shrink": 0.5},
    {"method": "spectrain"},
    {"method": "dni", "synthesizer_width": 2, "synthesizer_labels": True, "dtype": "float64"},
]
STOPS = (2, 7)  # in the warm-up, and in the second epoch


def written(directory: Path) -> list[dict[str, bytes]]:
    """The files of real checkpoints."""
    found = []
    for i, options in enumerate(VARIANTS):
        for stop in STOPS:
            checkpoint = save(run_to(small_training(**options), stop), directory / f"{i}-{stop}")
            found.append({name: (checkpoint / name).read_bytes() for name in FILES})
    return found


with TemporaryDirectory() as folder:
    REAL = written(Path(folder))


def summed(files: dict[str, bytes]) -> dict[str, bytes]:
    sums = "".join(f"{sha256(files[name]).hexdigest()}  {name}\n" for name in (TENSORS, STATE))
    return files | {SUMS: sums.encode()}


def put(files: dict[str, bytes], directory: Path) -> Path:
    checkpoint = directory / "checkpoints" / "000000000002"
    checkpoint.mkdir(parents=True)
    for name, content in files.items():
        (checkpoint / name).write_bytes(content)
    return checkpoint


def refusal(checkpoint: Path, memory: int = MEMORY):
    """The message if the checkpoint is refused, else the run that it holds; either way within the memory."""
    tracemalloc.start()
    try:
        try:
            return load(checkpoint, data=TINY)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < memory
    except CheckpointError as error:
        message = str(error)
        assert message.startswith(f"checkpoint {checkpoint}: ")
        assert len(message.splitlines()) == 1
        assert len(message) < len(str(checkpoint)) + 400
        return message


def assert_refused(files: dict[str, bytes], *parts: str) -> None:
    with TemporaryDirectory() as folder:
        message = refusal(put(files, Path(folder)))
        assert isinstance(message, str), "it was taken up"
        assert all(part in message for part in parts), message


def assert_refused_or_faithful(files: dict[str, bytes]) -> bool:
    """If a checkpoint passes, the run is what its files say, to the last bit, and no more. True if it passed."""
    with TemporaryDirectory() as folder:
        checkpoint = put(files, Path(folder))
        training = refusal(checkpoint)
        if isinstance(training, str):
            return False
        stored, held = load_file(checkpoint / TENSORS), tensors_of(training)
        assert {name: (array.dtype, array.shape, array.tobytes()) for name, array in stored.items()} == {
            name: (array.dtype, array.shape, array.tobytes()) for name, array in held.items()
        }
        state, taken = json.loads(files[STATE]), state_of(training)
        assert taken["config"].pop("data") == TINY.name  # which was given, whatever the state calls it
        assert isinstance(state["config"].pop("data"), str)
        assert {name: state[name] for name in taken} == taken
        return True


def test_real_checkpoints_pass():
    assert all(assert_refused_or_faithful(files) for files in REAL)
    assert all(summed(files) == files for files in REAL)


real = st.sampled_from(REAL)
places = st.floats(0, 1, exclude_max=True)


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Another content: bits flipped, or bytes cut out, put in, exchanged or doubled."""
    place = int(draw(places) * max(1, len(content)))
    length = draw(st.integers(1, 16))
    match draw(st.sampled_from(["flip", "cut", "cut out", "put in", "write over", "double", "empty"])):
        case "flip":
            changed = bytearray(content)
            for _ in range(length):
                bit = int(draw(places) * 8 * len(content))
                changed[bit // 8] ^= 1 << bit % 8
            return bytes(changed)
        case "cut":
            return content[:place]
        case "cut out":
            return content[:place] + content[place + length :]
        case "put in":
            return content[:place] + draw(st.binary(min_size=1, max_size=16)) + content[place:]
        case "write over":
            new = draw(st.binary(min_size=length, max_size=length))
            return content[:place] + new + content[place + length :]
        case "double":
            return content + content
        case _:
            return b""


@given(st.data(), real, st.sampled_from(FILES))
@settings(max_examples=1000)
def test_damage_is_found(data, files, name):
    changed = data.draw(damage(files[name]))
    if changed != files[name]:
        assert_refused(files | {name: changed})


@given(st.data(), real, st.sampled_from([TENSORS, STATE]))
@settings(max_examples=1000)
def test_damage_with_new_sums_is_found_or_harmless(data, files, name):
    assert_refused_or_faithful(summed(files | {name: data.draw(damage(files[name]))}))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("sums", [False, True])
def test_files_of_other_checkpoints_are_found(name, sums):
    for files in REAL:
        for other in REAL:
            if files[name] != other[name]:
                mixed = files | {name: other[name]}
                assert_refused(summed(mixed) if sums and name != SUMS else mixed)


HUGE = [2**31, 2**53, 2**63, 2**64, 10**30, 10**400]
json_values = st.recursive(
    st.sampled_from([None, True, False, "", "ddg", "\n", "\u2028", "../../etc/passwd", "/dev/zero", 0, -1, 1, 7, 0.5])
    | st.sampled_from([1e308, 1e-320, -0.0])
    | st.sampled_from([sign * number + one for number in HUGE for sign in (1, -1) for one in (0, 1)])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def places_in(value, path=()):
    """The paths to everything inside a JSON value."""
    found = [path]
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += places_in(inner, (*path, key))
    return found


def changed_at(value, path, change):
    if not path:
        return change(value)
    key, *rest = path
    copy = value.copy()
    copy[key] = changed_at(copy[key], rest, change)
    return copy


def without(value, key):
    copy = value.copy()
    del copy[key]
    return copy


@given(st.data(), real)
@settings(max_examples=1000)
def test_any_change_of_the_state_is_found_or_taken_as_it_is(data, files):
    state = json.loads(files[STATE])
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places_in(state)))
        if path and data.draw(st.integers(0, 5)) == 0:
            state = changed_at(state, path[:-1], lambda value, key=path[-1]: without(value, key))
        else:
            new = data.draw(json_values)
            state = changed_at(state, path, lambda value, new=new: new)
        if not isinstance(state, dict):
            break
    assert_refused_or_faithful(summed(files | {STATE: json.dumps(state).encode()}))


def with_state(changes, files=REAL[0]):
    state = json.loads(files[STATE])
    config = state["config"] | changes.pop("config", {})
    return summed(files | {STATE: json.dumps(state | {"config": config} | changes).encode()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "expected version 4, got 1; use the release that wrote it"),
        ({"version": True}, "version: expected int, got bool"),
        ({"version": "1\n" * 9999}, "version: expected int, got str"),
        ({"iteration": 10**15, "config": {"epochs": 10**30}}, TENSORS),
        ({"iteration": 10**30, "config": {"epochs": 10**40}}, TENSORS),
        ({"iteration": -1}, "iteration: expected 0 to 8, got -1"),
        ({"iteration": 9}, "iteration: expected 0 to 8, got 9"),
        ({"iteration": 3}, TENSORS),
        ({"config": {"width": 10**9}}, "it holds another network"),
        ({"config": {"width": 10**300}}, "it holds another network"),
        ({"config": {"depth": 10**9}}, "expected a network of depth 1000000000, got 8 layers"),
        ({"config": {"depth": -(10**9)}}, "depth: expected a whole number >= 1"),
        ({"config": {"batch_size": 10**12}}, "batch size: expected 1 to 17, the number of training samples"),
        ({"config": {"modules": 10**9}}, "expected 999999999 cuts, got 2"),
        ({"config": {"modules": 0}}, "modules: expected a whole number >= 1, got 0"),
        ({"config": {"split": "1," * 10**5}}, "split: expected "),
        ({"config": {"seed": -1}}, "seed: expected a whole number >= 0, got -1"),
        ({"config": {"dtype": "float64"}}, "other data than tiny"),
        ({"config": {"dtype": "object"}}, "unknown dtype 'object'"),
        ({"config": {"lr": 10**400}}, "config.lr: expected float, got int"),
        ({"config": {"lr": True}}, "config.lr: expected float, got bool"),
        ({"config": {"drain": 1}}, "config.drain: expected bool, got int"),
        ({"config": {"model": "../mlp"}}, "unknown model '../mlp'"),
        ({"config": {"model": "cnn"}}, "it holds another network"),
        ({"config": {"optimizer": "adam"}}, TENSORS),
        ({"config": {"method": "bp"}}, TENSORS),
        ({"config": {"method": "fr"}}, TENSORS),
        ({"config": {"method": "fdg"}}, TENSORS),
        ({"config": {"method": "dni"}}, TENSORS),
        ({"config": {"method": "dni", "synthesizer_width": 10**9}}, TENSORS),
        ({"config": {"method": "dni", "synthesizer_width": 10**300}}, TENSORS),
        ({"config": {"method": "dni", "synthesizer_width": 10**5}}, TENSORS),
        ({"config": {"shrink": 0.5}}, "shrink: method ddg has no such option"),
        ({"config": {"method": "gpipe", "micro_batches": 0}}, "micro_batches: expected a whole number >= 1, got 0"),
        ({"config": {"more": 1}}, "config: expected the options "),
        ({"config": {"__class__": {}}}, "config: expected the options "),
        ({"network": ["ReLU()"] * 8}, "it holds another network"),
        ({"network": "ReLU()"}, "network: expected list, got str"),
        ({"network": [[]]}, "network: expected str, got list"),
        ({"cuts": [4, 2]}, "cuts: expected increasing layer numbers from 1 to 7, got [4, 2]"),
        ({"cuts": [0, 99]}, "cuts: expected increasing layer numbers from 1 to 7, got [0, "),
        ({"cuts": [2.0, 4]}, "cuts: expected int, got float"),
        ({"cuts": [2] * 10**5}, "expected 2 cuts, got 100000"),
        ({"cuts": [1, 2]}, TENSORS),
        ({"data": None}, "other data than tiny is now"),
        ({"seconds": "soon"}, "seconds: expected float, got str"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_wrong_is_named(changes, message):
    assert_refused(with_state(changes), message)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"null", b"[]", b"7", b'"state"', b"\xff\xfe", b"\x00", b"\xef\xbb\xbf{}", b'{"version": NaN}'),
        *(
            b'{"version": Infinity}',
            b'{"version": 1e999}',
            b'{"version": -1e999}',
            b'{"version": ' + b"9" * 5000 + b"}",
        ),
        *(b"[" * 10**5, b'{"a":' * 10**5, b"[" * 10**6 + b"]" * 10**6, b"\xed\xa0\x80"),
        *(b'{"version": 1, "version": 2}', b"\xef\xbb\xbf", b'{"version": 1}' + b" " * 1000 + b"x"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_state_at_all(text):
    assert_refused(summed(REAL[0] | {STATE: text}))


def test_a_state_of_infinite_seconds():
    text = REAL[0][STATE].replace(b'"seconds": ', b'"seconds": 1e999, "was": ')
    assert_refused(summed(REAL[0] | {STATE: text}), "expected finite numbers, got 1e999")


def test_a_state_that_is_too_large_is_not_read():
    assert_refused(summed(REAL[0] | {STATE: b"[" + b"{}," * (LARGEST_STATE // 3 + 1) + b"{}]"}), STATE, "bytes, got")
    assert_refused(REAL[0] | {SUMS: REAL[0][SUMS] * 100}, SUMS, "bytes, got")


@pytest.mark.parametrize("unit", [b"{}", b"[[[]]]"])
def test_the_worst_state_that_is_read_takes_little(unit, tmp_path):
    text = b"[" + (unit + b",") * ((LARGEST_STATE - 9) // (len(unit) + 1)) + b"0]"
    message = refusal(put(summed(REAL[0] | {STATE: text}), tmp_path), memory=96 << 20)
    assert message.endswith("state: expected dict, got list")


def parts_of(content):
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, payload, *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + payload


TENSOR = "params/1.weight"


def with_header(change, files=REAL[0]):
    header, payload = parts_of(files[TENSORS])
    return summed(files | {TENSORS: joined(changed_at(header, (), change), payload)})


def renamed(header, new):
    return {(new if name == TENSOR else name): entry for name, entry in header.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda h: without(h, TENSOR),
        lambda h: h | {"extra": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}},
        lambda h: renamed(h, "../../../etc/passwd"),
        lambda h: renamed(h, "/etc/passwd"),
        lambda h: renamed(h, "params/../params/1.weight"),
        lambda h: renamed(h, "params/1.weight\x00"),
        lambda h: renamed(h, "a\nb"),
        lambda h: renamed(h, "x" * 10**6),
        lambda h: h | {TENSOR: h[TENSOR] | {"dtype": "F64"}},
        lambda h: h | {TENSOR: h[TENSOR] | {"dtype": "I32"}},
        lambda h: h | {TENSOR: h[TENSOR] | {"dtype": "BF16"}},
        lambda h: h | {TENSOR: h[TENSOR] | {"dtype": "O"}},
        lambda h: h | {TENSOR: h[TENSOR] | {"dtype": float("nan")}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": h[TENSOR]["shape"][::-1]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [48]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [16, 3, 1]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": []}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [2**62, 2**62]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [0, 2**63]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [-1, 3]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [10**30]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": [float("nan")]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"shape": None}},
        lambda h: h | {TENSOR: h[TENSOR] | {"data_offsets": [0, 2**63]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"data_offsets": [2**64 - 1, 2**64 - 1]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"data_offsets": [8, 0]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"data_offsets": [-8, 376]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"data_offsets": [float("inf"), 0]}},
        lambda h: h | {TENSOR: h[TENSOR] | {"data_offsets": h["params/3.weight"]["data_offsets"]}},
        lambda h: h | {name: h[name] | {"data_offsets": [0, 0]} for name in h if name != "__metadata__"},
        lambda h: h | {"durations": h["durations"] | {"shape": [1, *h["durations"]["shape"]]}},
        lambda h: h | {"durations": h["durations"] | {"dtype": "I64"}},
        lambda h: {},
        lambda h: [],
        lambda h: None,
        lambda h: float("nan"),
    ],
)
def test_hostile_headers(change):
    assert_refused(with_header(change))


@pytest.mark.parametrize("length", [0, 1, 7, 2**20, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 9, 2**64 - 1])
def test_headers_of_absurd_length(length):
    header, payload = parts_of(REAL[0][TENSORS])
    assert_refused(summed(REAL[0] | {TENSORS: joined(header, payload, length=length)}))


@pytest.mark.parametrize("text", [b"[" * 10**5, b'{"a":' * 10**5, b"\xff" * 64, b"{}" + b" " * 64, b" " * 64 + b"{}"])
def test_headers_that_are_no_header(text):
    _, payload = parts_of(REAL[0][TENSORS])
    assert_refused(summed(REAL[0] | {TENSORS: joined(text, payload)}))


@pytest.mark.slow
@given(st.data(), real)
@settings(max_examples=500)
def test_any_change_of_the_header_is_found_or_taken_as_it_is(data, files):
    header, payload = parts_of(files[TENSORS])
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places_in(header)))
        numbers = st.sampled_from([-1, 0, 1, 8, len(payload), len(payload) + 1, *HUGE, 0.5, "F64", "F32", "U8", "C64"])
        new = data.draw(numbers | json_values)
        if path and data.draw(st.integers(0, 5)) == 0:
            header = changed_at(header, path[:-1], lambda value, key=path[-1]: without(value, key))
        else:
            header = changed_at(header, path, lambda value, new=new: new)
        if not isinstance(header, dict):
            break
    assert_refused_or_faithful(summed(files | {TENSORS: joined(header, payload)}))


@pytest.mark.slow
@given(st.data(), real)
@settings(max_examples=400)
def test_any_change_of_the_tensors_is_found_or_taken_as_it_is(data, files):
    with TemporaryDirectory() as folder:
        path = Path(folder) / TENSORS
        path.write_bytes(files[TENSORS])
        tensors = load_file(path)
        name = data.draw(st.sampled_from(sorted(tensors)))
        array = tensors[name]
        match data.draw(st.sampled_from(["value", "dtype", "rows", "reshape", "rename", "drop", "exchange"])):
            case "value":
                value = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 0, -1, 1e300, 0.5, 7]))
                with np.errstate(over="ignore"):
                    array.reshape(-1)[: data.draw(st.integers(1, 3))] = value
            case "dtype":
                tensors[name] = array.astype(data.draw(st.sampled_from(["f2", "f4", "f8", "i8", "u1", "?"])))
            case "rows":
                tensors[name] = np.concatenate([array, array[:1]] if array.ndim else [array])
            case "reshape":
                tensors[name] = data.draw(st.sampled_from([array.reshape(-1), array[None], array[..., None], array.T]))
            case "rename":
                tensors[data.draw(st.sampled_from([*tensors, "params", "../x", "errors/9/9"]))] = tensors.pop(name)
            case "drop":
                del tensors[name]
            case _:
                other = data.draw(st.sampled_from(sorted(tensors)))
                tensors[name], tensors[other] = tensors[other], array
        with np.errstate(invalid="ignore"):
            save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
        assert_refused_or_faithful(summed(files | {TENSORS: path.read_bytes()}))


@pytest.mark.parametrize(
    ("table", "value"),
    [("history", np.nan), ("history", 7.5), ("results", np.inf), ("results", -1.0), ("results", 6.0), ("results", 0.5)],
)
def test_wrong_entries_of_the_tables(table, value):
    for column in (-1, 0) if table == "history" else (1,):
        with TemporaryDirectory() as folder:
            path = Path(folder) / TENSORS
            path.write_bytes(REAL[1][TENSORS])
            tensors = load_file(path)
            tensors[table][0, column] = value
            save_file(tensors, path)
            if not (table == "history" and column == -1 and np.isfinite(value)):
                assert_refused(summed(REAL[1] | {TENSORS: path.read_bytes()}), f"{table}: expected ")


def stand_in(path: Path, kind: str) -> None:
    """Something else of this name."""
    content = path.read_bytes()
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link to the file":
        (path.parent / "elsewhere").write_bytes(content)
        path.symlink_to("elsewhere")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "link to nothing":
        path.symlink_to("nothing")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.write(content)
            file.truncate(1 << 40)


KINDS = ["none", "directory", "link to the file", "link to itself", "link to nothing", "device", "pipe", "sparse"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(20)
def test_something_else_in_place_of_a_file(name, kind, tmp_path):
    checkpoint = put(REAL[0], tmp_path)
    stand_in(checkpoint / name, kind)
    message = refusal(checkpoint)
    assert isinstance(message, str)
    assert name in message


@pytest.mark.timeout(20)
def test_something_else_in_place_of_the_checkpoint(tmp_path):
    checkpoint = put(REAL[0], tmp_path)
    shutil.rmtree(checkpoint)
    assert isinstance(refusal(checkpoint), str)
    checkpoint.write_bytes(b"")
    assert isinstance(refusal(checkpoint), str)
    checkpoint.unlink()
    checkpoint.symlink_to("/dev/zero")
    assert isinstance(refusal(checkpoint), str)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("error", [PermissionError, InterruptedError, IsADirectoryError])
def test_files_that_cannot_be_opened(name, error, tmp_path, monkeypatch):
    checkpoint, lstat = put(REAL[0], tmp_path), Path.lstat

    def refuse(path):
        if path.name == name:
            raise error("not for you\nnor for others")
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", refuse)
    assert refusal(checkpoint) == f"checkpoint {checkpoint}: cannot be read: not for you"


def test_reading_leaves_no_file_open(tmp_path):
    checkpoint = put(REAL[0], tmp_path)
    broken = put(summed(REAL[0] | {TENSORS: REAL[0][TENSORS][:-8]}), tmp_path / "broken")
    load(checkpoint, data=TINY)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(10):
        load(checkpoint, data=TINY)
        refusal(broken)
    assert sorted(os.listdir("/proc/self/fd")) == before
