"""Published image files: what is read from them, how they are fetched, and that nothing else gets in."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tracemalloc
from contextlib import contextmanager
from threading import Event
from time import sleep

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import input_error
from runs import SMALL, assert_same_run, finish, run_to
from small_published import (
    ARCHIVE,
    FOLDER,
    PIXELS,
    SMALL_CIFAR,
    Site,
    cifar_files,
    cifar_of,
    gz,
    idx,
    mnist_files,
    mnist_of,
    packed_mnist,
    tar_gz,
    write,
)

from ddg_ref import Config, InputError
from ddg_ref.data import OFFICIAL, download_data, fetch, load_data, mnist, official
from ddg_ref.data.distribution import read_tar
from ddg_ref.runs.checkpoints import resume, save
from ddg_ref.runs.training import Training

# What is published


def test_the_descriptions_are_those_of_the_authors_pages():
    assert tuple(official.DISTRIBUTIONS) == OFFICIAL
    sizes = {
        name: [size for archive in each.archives for size in archive.members.values()]
        for name, each in official.DISTRIBUTIONS.items()
    }
    assert sizes == {
        "cifar10": [10_000 * 3073] * 6,
        "cifar100": [50_000 * 3074, 10_000 * 3074],
        "mnist": [16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000],
    }
    for distribution in official.DISTRIBUTIONS.values():
        members = {member for archive in distribution.archives for member in archive.members}
        assert {*distribution.train, *distribution.test} == members
        assert all(len(archive.md5) == 32 for archive in distribution.archives)
        assert distribution.url.startswith("https://")


def test_nothing_of_it_is_loaded_with_the_package():
    names = ["pooch", "requests", "tqdm", "tarfile", "ddg_ref.data.official"]
    program = f"import sys, ddg_ref; print([name for name in {names} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


# What is read


@pytest.mark.parametrize(("labels", "classes"), [(1, 10), (2, 100)])
def test_a_cifar_image_is_what_its_record_says(tmp_path, labels, classes):
    files = cifar_files(labels, classes)
    content = tar_gz({"readme.html": b"<html>", **files})
    data = cifar_of(content, labels=labels, classes=classes).load(write(tmp_path, {ARCHIVE: content}))
    raw = {name: np.frombuffer(file, np.uint8).reshape(-1, labels + PIXELS) for name, file in files.items()}
    train = np.concatenate([raw[f"{FOLDER}/one.bin"], raw[f"{FOLDER}/two.bin"]])
    test = raw[f"{FOLDER}/three.bin"]
    assert (data.name, data.classes, data.input_shape) == ("cifar10", classes, (32, 32, 3))
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.y_train.dtype == np.int64
    np.testing.assert_array_equal(data.y_train, train[:, labels - 1])
    np.testing.assert_array_equal(data.y_test, test[:, labels - 1])
    for channel in range(3):
        plane = slice(labels + channel * 1024, labels + (channel + 1) * 1024)
        mean, std = train[:, plane].mean(), train[:, plane].std()
        assert data.scaling.mean[channel] == pytest.approx(mean, rel=1e-12)
        assert data.scaling.std[channel] == pytest.approx(std, rel=1e-12)
        for rows, x in ((train, data.x_train), (test, data.x_test)):
            expected = (rows[:, plane].reshape(-1, 32, 32) - mean) / std
            np.testing.assert_allclose(x[..., channel], expected, atol=1e-6)
    assert abs(data.x_train.mean(axis=(0, 1, 2), dtype=np.float64)).max() < 1e-6
    assert abs(data.x_train.std(axis=(0, 1, 2), dtype=np.float64) - 1).max() < 1e-6
    assert data.astype("float64").scaling == data.scaling


def test_an_mnist_image_is_what_its_file_says(tmp_path):
    files = mnist_files()
    packed = packed_mnist(files)
    data = mnist_of(packed).load(write(tmp_path, packed))
    pixels = np.frombuffer(files[mnist.TRAIN[0]], np.uint8, offset=16).reshape(12, 6, 6, 1)
    assert (data.name, data.classes, data.input_shape) == ("mnist", 10, (6, 6, 1))
    assert (len(data.x_train), len(data.x_test)) == (12, 7)
    np.testing.assert_allclose(data.x_train, (pixels - pixels.mean()) / pixels.std(), atol=1e-6)
    np.testing.assert_array_equal(data.y_train, np.arange(12) % 10)
    np.testing.assert_array_equal(data.y_test, np.arange(7))


def test_packed_unpacked_or_the_folder_itself_is_the_same(tmp_path):
    files = cifar_files()
    distribution = cifar_of(SMALL_CIFAR)
    packed = distribution.load(write(tmp_path / "packed", {ARCHIVE: SMALL_CIFAR}))
    unpacked = write(tmp_path / "unpacked", files)
    assert packed.fingerprint == distribution.load(unpacked).fingerprint
    assert packed.fingerprint == distribution.load(unpacked / FOLDER).fingerprint
    files = mnist_files()
    mixed = {name if i % 2 else f"{name}.gz": None for i, name in enumerate(files)}
    packed = packed_mnist(files)
    distribution = mnist_of(packed)
    mixed = {name: (files | packed)[name] for name in mixed}
    data = distribution.load(write(tmp_path / "mixed", mixed))
    assert data.fingerprint == distribution.load(write(tmp_path / "packed-mnist", packed)).fingerprint


def test_official_mnist_sizes_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for names, count in ((mnist.TRAIN, 60_000), (mnist.TEST, 10_000)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write(tmp_path, dict(zip(names, idx(images), strict=True)))
    data = load_data("mnist", str(tmp_path))
    assert (data.x_train.shape, data.x_test.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert abs(float(data.x_train.mean(dtype=np.float64))) < 1e-6


# What is fetched


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site({ARCHIVE: SMALL_CIFAR})
    yield site
    site.close()


@pytest.fixture
def small(site, monkeypatch):
    """The site's small data set under the name cifar10."""
    distribution = cifar_of(SMALL_CIFAR, url=site.url)
    monkeypatch.setitem(official.DISTRIBUTIONS, "cifar10", distribution)
    return distribution


def names_in(directory):
    return sorted(path.name for path in directory.rglob("*")) if directory.exists() else []


@pytest.mark.parametrize("given", [True, False])
def test_files_are_fetched_once_into_the_directory_or_the_cache(given, site, small, tmp_path, monkeypatch):
    monkeypatch.setenv("DDG_REF_CACHE", str(tmp_path / "cache"))
    data_dir = str(tmp_path / "own" / "deep") if given else None
    for _ in range(2):
        download_data("cifar10", data_dir)
    assert site.requests == [ARCHIVE]
    directory = tmp_path / "own" / "deep" if given else tmp_path / "cache" / "cifar10"
    assert names_in(directory) == [ARCHIVE]
    assert load_data("cifar10", data_dir).fingerprint == small.load(directory).fingerprint


def test_all_four_files_of_mnist_are_fetched_but_those_that_are_there(site, tmp_path, monkeypatch):
    files = mnist_files()
    packed = packed_mnist(files)
    site.files |= packed
    monkeypatch.setitem(official.DISTRIBUTIONS, "mnist", mnist_of(packed, url=site.url))
    write(tmp_path, {mnist.TEST[0]: files[mnist.TEST[0]]})
    download_data("mnist", str(tmp_path))
    assert site.requests == [f"{name}.gz" for name in files if name != mnist.TEST[0]]
    assert load_data("mnist", str(tmp_path)).y_train.tolist() == [i % 10 for i in range(12)]


def test_the_bar_shows_on_a_terminal_alone(site, small, tmp_path, monkeypatch, capsys):
    download_data("cifar10", str(tmp_path / "a"))
    assert "%" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download_data("cifar10", str(tmp_path / "b"))
    assert "100%" in capsys.readouterr().err


def test_a_run_that_downloaded_is_resumed_without_a_network(site, small, tmp_path):
    config = Config(
        **SMALL | {"data": "cifar10", "data_dir": str(tmp_path / "data"), "download": True, "augment": True}
    )
    whole = finish(Training(config))
    save(run_to(Training(config), 3), tmp_path / "run")
    assert site.requests == [ARCHIVE]
    (tmp_path / "data" / ARCHIVE).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"data cifar10: expected small-binary\.tar\.gz, or .*, got neither"):
        resume(tmp_path / "run")  # it does not go and fetch them unasked
    (tmp_path / "elsewhere").rename(tmp_path / "data" / ARCHIVE)
    assert_same_run(finish(resume(tmp_path / "run")), whole)
    assert site.requests == [ARCHIVE]


@contextmanager
def no_other_file_in(directory, *names):
    """Whatever happens in the block, the directory afterwards holds these names and no other."""
    yield
    assert names_in(directory) == sorted(names)


def test_a_wrong_checksum(site, small, tmp_path):
    site.files[ARCHIVE] = bytes(len(SMALL_CIFAR))
    with (
        no_other_file_in(tmp_path),
        input_error(
            expected=f"download of {site.url}{ARCHIVE}", got="does not match the known hash", advice="try again"
        ),
    ):
        download_data("cifar10", str(tmp_path))


def test_a_connection_that_breaks_off(site, small, tmp_path):
    site.cut = len(SMALL_CIFAR) // 2
    with (
        no_other_file_in(tmp_path),
        input_error(expected=f"download of {site.url}{ARCHIVE}", got="", advice="or put it into"),
    ):
        download_data("cifar10", str(tmp_path))
    site.cut = None
    download_data("cifar10", str(tmp_path))
    assert names_in(tmp_path) == [ARCHIVE]


def test_a_server_that_sends_more(site, small, tmp_path):
    site.files[ARCHIVE] = SMALL_CIFAR + bytes(10)
    with (
        no_other_file_in(tmp_path),
        input_error(expected=f"expected {len(SMALL_CIFAR)} bytes", got="more", advice="try again"),
    ):
        download_data("cifar10", str(tmp_path))


def test_a_server_without_the_file(site, small, tmp_path):
    site.files.clear()
    with no_other_file_in(tmp_path), input_error(expected="download of", got="404", advice="try again"):
        download_data("cifar10", str(tmp_path))


def test_a_server_that_is_not_there(site, small, tmp_path):
    site.close()
    with no_other_file_in(tmp_path), input_error(expected="download of", got="127.0.0.1", advice=str(tmp_path)):
        download_data("cifar10", str(tmp_path))


def test_a_directory_that_cannot_be_made(site, small, tmp_path):
    write(tmp_path, {"file": b""})
    with input_error(expected="data cifar10", got="Not a directory", advice="check the path"):
        download_data("cifar10", str(tmp_path / "file"))
    assert site.requests == []


def test_without_pooch(site, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with input_error(expected="download: expected the package pooch", got="missing", advice="pip install"):
        download_data("cifar10", str(tmp_path))


def test_ctrl_c_leaves_nothing(site, small, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 4096)
    original, calls = fetch.Limited.write, []

    def write_twice(self, content):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(original(self, content))

    monkeypatch.setattr(fetch.Limited, "write", write_twice)
    with no_other_file_in(tmp_path), pytest.raises(KeyboardInterrupt):
        download_data("cifar10", str(tmp_path))


def test_what_a_killed_process_leaves_is_not_taken_for_the_file(site, small, tmp_path):
    site.cut, site.go_on = len(SMALL_CIFAR) // 2, Event()
    archive = small.archives[0]
    program = f"""
from pathlib import Path
from ddg_ref.data import fetch
from ddg_ref.data.distribution import Archive, Distribution
fetch.CHUNK = 4096
archive = Archive({archive.name!r}, {archive.size}, {archive.md5!r}, {{}})
fetch.fetch(Distribution("cifar10", {site.url!r}, "", [archive], [], [], 10, None), archive, Path({str(tmp_path)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        try:
            while not any(path.stat().st_size for path in tmp_path.iterdir()):  # until a part of it has been written
                assert process.poll() is None
                sleep(0.01)
        finally:
            process.kill()
            site.go_on.set()
    assert len(names_in(tmp_path)) == 1
    assert ARCHIVE not in names_in(tmp_path)
    with pytest.raises(InputError, match="got neither"):
        load_data("cifar10", str(tmp_path))
    site.cut = site.go_on = None
    download_data("cifar10", str(tmp_path))
    assert load_data("cifar10", str(tmp_path)).classes == 10


# What is refused


def test_files_that_are_not_there(small, site, tmp_path):
    for directory in (tmp_path, tmp_path / "none"):
        with input_error(expected=f"expected {ARCHIVE}", got=f"in {directory}, got neither", advice="say --download"):
            load_data("cifar10", str(directory))
    files = cifar_files()
    del files[f"{FOLDER}/two.bin"]
    with input_error(expected=f"{FOLDER}/two.bin unpacked", got="got neither", advice="--data-dir"):
        load_data("cifar10", str(write(tmp_path, files)))
    assert site.requests == []


def test_a_directory_that_is_a_file(small, tmp_path):
    write(tmp_path, {"file": b""})
    with input_error(expected="data cifar10", got="file cannot be read (Not a directory)", advice="check the path"):
        load_data("cifar10", str(tmp_path / "file"))


def test_a_directory_that_may_not_be_read(small, tmp_path):
    private = write(tmp_path / "private", {ARCHIVE: SMALL_CIFAR})
    private.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # whom no permission stops
            os.seteuid(65534)
        with input_error(expected="data cifar10", got="cannot be read (Permission denied)", advice="permissions"):
            load_data("cifar10", str(private))
    finally:
        os.seteuid(user)
        private.chmod(0o700)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SMALL_CIFAR[:-100], f"expected {len(SMALL_CIFAR)} bytes, got {len(SMALL_CIFAR) - 100}"),
        (SMALL_CIFAR + b"x", f"expected {len(SMALL_CIFAR)} bytes, got {len(SMALL_CIFAR) + 1}"),
        (b"", f"expected {len(SMALL_CIFAR)} bytes, got 0"),
        (SMALL_CIFAR[:-1] + b"x", "expected MD5 "),
    ],
    ids=["truncated", "longer", "empty", "changed"],
)
def test_an_archive_that_is_not_the_published_one(content, message, small, tmp_path):
    path = write(tmp_path, {ARCHIVE: content}) / ARCHIVE
    with input_error(expected=f"data cifar10: {path}: {message}", got="", advice="remove it and fetch it again"):
        load_data("cifar10", str(tmp_path))


def test_what_is_there_is_not_replaced_unasked(site, small, tmp_path):
    write(tmp_path, {ARCHIVE: b"mine"})
    download_data("cifar10", str(tmp_path))
    assert (tmp_path / ARCHIVE).read_bytes() == b"mine"
    assert site.requests == []


def test_unpacked_files_of_another_size(small, tmp_path):
    for extra in (-1, 1, 3073):
        files = cifar_files()
        content = files[f"{FOLDER}/two.bin"]
        files[f"{FOLDER}/two.bin"] = (content + content)[: len(content) + extra]
        with input_error(expected=f"two.bin: expected {len(content)} bytes", got=len(content) + extra, advice="remove"):
            load_data("cifar10", str(write(tmp_path, files)))


@pytest.mark.parametrize("name", [ARCHIVE, f"{FOLDER}/two.bin"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file(name, make, small, tmp_path):
    files = cifar_files()
    files.pop(name, None)
    write(tmp_path, files)
    make(tmp_path / name)
    with input_error(expected=f"{name}: expected a file", got="something else", advice="remove it"):
        load_data("cifar10", str(tmp_path))


def damaged(tmp_path, content, **description):
    """The message for an archive that has a right checksum and this content."""
    before = names_in(tmp_path.parent)
    directory = write(tmp_path / "data", {ARCHIVE: content})
    with pytest.raises(InputError) as caught:
        cifar_of(content, **description).load(directory)
    assert set(names_in(tmp_path.parent)) - set(before) <= {"data", ARCHIVE}  # nothing was unpacked
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_labels_out_of_range(tmp_path):
    files = cifar_files(classes=20)
    message = damaged(tmp_path, tar_gz(files))
    assert "one.bin: expected labels 0 to 9, got 1" in message
    assert message.endswith("fetch it again from https://www.cs.toronto.edu/~kriz/cifar.html")


def test_images_of_one_colour(tmp_path):
    files = {name: bytes(len(content)) for name, content in cifar_files().items()}
    assert "expected images that differ" in damaged(tmp_path, tar_gz(files))


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gz(b""), gz(b"no tar" * 1000), SMALL_CIFAR[: len(SMALL_CIFAR) // 2], tar_gz({})],
    ids=["not gzip", "empty", "not tar", "half", "no members"],
)
def test_what_is_no_archive(content, tmp_path):
    assert "remove it and fetch it again" in damaged(tmp_path, content)


def info(kind=tarfile.REGTYPE, size=0, link="", pax=None):
    made = tarfile.TarInfo()
    made.type, made.size, made.linkname, made.pax_headers = kind, size, link, pax or {}
    return made


ONE = f"{FOLDER}/one.bin"
SIZE = 8 * 3073
HOSTILE = {
    "link": info(tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": info(tarfile.LNKTYPE, link=f"{FOLDER}/two.bin"),
    "sized link": info(tarfile.SYMTYPE, size=SIZE, link="/etc/passwd"),
    "directory": info(tarfile.DIRTYPE),
    "device": info(tarfile.CHRTYPE),
    "pipe": info(tarfile.FIFOTYPE),
    "small": bytes(SIZE - 1),
    "large": bytes(SIZE + 1),
    "huge": info(size=10**13),
    "sparse": info(size=SIZE, pax={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(SIZE)}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_member_that_is_not_a_file_of_the_right_size(kind, tmp_path):
    member = HOSTILE[kind]
    if isinstance(member, bytes):
        content = tar_gz({ONE: member})
    else:
        content = tar_gz({f"{FOLDER}/two.bin": cifar_files()[f"{FOLDER}/two.bin"], ONE: member})
    assert f"{ONE}: expected a file of {SIZE} bytes" in damaged(tmp_path, content)


@pytest.mark.parametrize(
    "name", ["../one.bin", f"/{ONE}", f"../{ONE}", f"./../{ONE}", f"{FOLDER}/../one.bin", "one.bin"]
)
def test_a_member_under_another_path_is_not_taken(name, tmp_path):
    """And paths that lead elsewhere lead nowhere."""
    files = cifar_files()
    content = files.pop(ONE)
    assert f"expected {ONE}, got an archive without it" in damaged(tmp_path, tar_gz({name: content, **files}))


def test_members_that_nobody_wants_are_ignored(tmp_path):
    others = {"../../evil": b"evil", "/evil": b"evil", "link": info(tarfile.SYMTYPE, link="/"), "link/evil": b"evil"}
    content = tar_gz(others | cifar_files())
    data = cifar_of(content).load(write(tmp_path / "data", {ARCHIVE: content}))
    assert data.fingerprint == cifar_of(SMALL_CIFAR).load(write(tmp_path / "plain", {ARCHIVE: SMALL_CIFAR})).fingerprint
    assert names_in(tmp_path) == sorted(["data", "plain", ARCHIVE, ARCHIVE])


def peak_memory(action):
    tracemalloc.start()
    try:
        result = action()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


LARGE = 40 << 20


def test_what_unpacks_to_more_is_read_no_further(tmp_path):
    bombs = {
        "member before": tar_gz({"zeros": bytes(LARGE), **cifar_files()}),
        "declared only": tar_gz({"zeros": info(size=10**13)}),
        "no tar": gz(bytes(LARGE)),
        "extended header": gz(pax_bomb(LARGE)),
    }
    for i, (kind, content) in enumerate(bombs.items()):
        (tmp_path / str(i)).mkdir()
        peak, message = peak_memory(lambda i=i, content=content: damaged(tmp_path / str(i), content))
        assert "expected at most" in message or kind in ("declared only", "no tar")
        assert peak < LARGE / 4, kind


def pax_bomb(size):
    header = info(tarfile.XHDTYPE, size=size)
    header.name = "x"
    return header.tobuf(tarfile.USTAR_FORMAT) + bytes(size)


def test_an_idx_file_that_unpacks_to_more(tmp_path):
    packed = packed_mnist(mnist_files())
    name = f"{mnist.TRAIN[0]}.gz"
    packed[name] = gz(mnist_files()[mnist.TRAIN[0]] + bytes(LARGE))
    distribution = mnist_of(packed)
    write(tmp_path, packed)

    def load():
        with input_error(expected=f"{name}: expected {16 + 12 * 36} bytes", got="more", advice="fetch it again"):
            distribution.load(tmp_path)

    assert peak_memory(load)[0] < LARGE / 4


def test_many_members(tmp_path):
    assert "fewer than 100 members" in damaged(tmp_path, tar_gz({str(i): b"" for i in range(150)}))


def test_the_first_member_of_a_name_is_the_one(tmp_path):
    buffer, files = io.BytesIO(), cifar_files()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in [(ONE, files[ONE]), (ONE, bytes(SIZE)), *list(files.items())[1:]]:
            member = info(size=len(content))
            member.name = name
            tar.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    assert read_tar(buffer, {name: len(content) for name, content in files.items()}) == files


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (mnist.TRAIN[0], [2049, 12, 6, 6]),
        (mnist.TRAIN[0], [2051, 11, 6, 6]),
        (mnist.TRAIN[0], [2051, 12, 4, 9]),
        (mnist.TEST[1], [2051, 7]),
        (mnist.TEST[1], [2049, 2**32 - 1]),
    ],
)
def test_idx_files_that_begin_with_something_else(name, header, tmp_path):
    files = mnist_files()
    start = np.array(header, ">u4").tobytes()
    files[name] = start + files[name][len(start) :]
    with input_error(expected="expected a file that begins with", got=tuple(header), advice="fetch it again"):
        mnist_of(packed_mnist(files)).load(write(tmp_path, files))


@given(st.data())
@settings(max_examples=200)
def test_damaged_archives_are_refused_or_give_images(tmp_path_factory, data):
    """Whose checksum is right, as that of a forged one may be."""
    plain = bytearray(gzip.decompress(SMALL_CIFAR))
    starts = [place for place in range(0, len(plain), 512) if plain[place + 257 : place + 262] == b"ustar"]
    match data.draw(st.sampled_from(["header", "flip", "cut"])):
        case "header":
            for _ in range(data.draw(st.integers(1, 4))):
                place = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 511))
                plain[place] = data.draw(st.integers(0, 255))
            content = gz(bytes(plain))
        case "flip":
            changed = bytearray(SMALL_CIFAR)
            changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            content = bytes(changed)
        case "cut":
            content = SMALL_CIFAR[: data.draw(st.integers(0, len(SMALL_CIFAR) - 1))]
    directory = write(tmp_path_factory.mktemp("fuzz"), {ARCHIVE: content})
    shape = message = None
    try:
        shape = cifar_of(content).load(directory).x_train.shape
    except InputError as error:
        message = str(error)
    assert shape == (14, 32, 32, 3) if message is None else "\n" not in message


# Options


@pytest.mark.parametrize("options", [{"download": True}, {"data_dir": "somewhere"}])
def test_other_data_have_no_files(options):
    with input_error(expected=next(iter(options)), got="data digits has no such option", advice="leave it out"):
        Config(**options)


def test_the_command_line_says_in_one_line_what_is_missing(tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "ddg_ref",
        "train",
        "--data",
        "cifar100",
        "--data-dir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == (
        "ddg: data cifar100: expected cifar-100-binary.tar.gz, or cifar-100-binary/train.bin unpacked, in "
        f"{tmp_path}, got neither; say --download to fetch it, or --data-dir with the directory that has it\n"
    )
    assert not (tmp_path / "run").exists()
