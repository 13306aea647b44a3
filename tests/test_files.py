"""Files that we write are whole, or as they were, and are known again; nobody else's is ever replaced."""

import json
import os
import stat
from contextlib import suppress

import numpy as np
import pytest
from matplotlib.figure import Figure

from ddg_ref.errors import InputError, WriteError
from ddg_ref.tools.files import (
    is_ours,
    read_json,
    replacing,
    try_room,
    write_figure,
    write_json,
    write_tensors,
    write_text,
)

OLD, NEW = "Made by `python -m theory report`: old", "Made by `python -m theory report`: new"
WRITERS = {
    "t.json": lambda path: write_json(path, {"a": 1}),
    "compact.json": lambda path: write_json(path, {"a": list(range(9999))}, indent=None),
    "w.safetensors": lambda path: write_tensors(path, {f"{i}.weight": np.ones(3) for i in range(99)}),
    "f.png": lambda path: write_figure(path, Figure()),
    "t.md": lambda path: write_text(path, NEW),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_we_write_is_known_again_and_replaced(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    assert is_ours(path)
    before = path.read_bytes()
    WRITERS[name](path)
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) * 3 // 4])  # cut, as by a full disk
    assert is_ours(path)


FOREIGN = {
    "text": b"ddg_ref wrote this",
    "json": b'{"run": "ddg_ref"}',
    "late": b" " * 5000 + b'"written_by": "ddg_ref"',
    "another": b'{"written_by": "ddg_refined"}',
    "png": b"\x89PNG\r\n\x1a\n tEXtSoftware\0Matplotlib",
    "null": b"\0",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("name", WRITERS)
def test_what_we_did_not_write_is_not_replaced(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert not is_ours(path)
    with pytest.raises(WriteError, match=rf"^{path} is in the way: ddg_ref did not write it; move it away or name "):
        WRITERS[name](path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_file_may_be_replaced_and_other_kinds_are_not_ours(tmp_path):
    path = tmp_path / "t.md"
    path.touch()
    write_text(path, NEW)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").mkdir()
    assert [is_ours(tmp_path / name) for name in ("t.md", "link", "folder")] == [True, False, False]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "report.md"
    write_text(path, OLD)
    with suppress(KeyError), replacing(path) as unfinished:
        unfinished.write_text(NEW[:20])
        raise KeyError
    assert path.read_text() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_of_the_block_the_old_file_is_there(tmp_path):
    path = tmp_path / "report.md"
    write_text(path, OLD)
    with replacing(path) as unfinished:
        unfinished.write_text(NEW)
        assert path.read_text() == OLD
        assert unfinished.parent == path.parent, "a rename across file systems is no rename"
    assert path.read_text() == NEW


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_mode_is_that_of_any_other_new_file(tmp_path, umask):
    previous = os.umask(umask)
    try:
        for name, write in WRITERS.items():
            write(tmp_path / name)
    finally:
        os.umask(previous)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


def test_a_file_that_cannot_be_written_says_why(tmp_path):
    path = tmp_path / "nowhere" / "t.json"
    with pytest.raises(WriteError) as caught:
        write_text(path, "{}")
    assert str(caught.value) == f"{path} cannot be written (No such file or directory); make room or name another place"


def test_a_link_is_followed_and_stays(tmp_path):
    write_text(tmp_path / "real.md", OLD)
    link = tmp_path / "link.md"
    link.symlink_to("real.md")
    write_text(link, NEW)
    assert link.is_symlink()
    assert (tmp_path / "real.md").read_text() == NEW


def test_a_device_is_written_into_and_stays_one(tmp_path):
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_text(link, NEW)
    assert stat.S_ISCHR(link.stat().st_mode)


@pytest.mark.parametrize("place", ["missing/result.md", "file/result.md", "folder"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError) as info:
        write_text(tmp_path / place, NEW)
    assert place in str(info.value)
    assert "\n" not in str(info.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"a": 1}', b'{"written_by": "me"}', b"\xff\xfe", b"[" * 10**5, b'{"written_by": ']
)
def test_what_is_no_file_of_ours_is_read_as_one_line(content, tmp_path):
    path = tmp_path / "scale.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as info:
        read_json(path)
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)


def test_what_was_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"scale": "laptop"})
    assert read_json(tmp_path / "a.json") == {"written_by": "ddg_ref", "kind": "a.json", "scale": "laptop"}
    assert json.loads((tmp_path / "a.json").read_text())["scale"] == "laptop"


def test_room_is_tried_and_given_back(tmp_path):
    try_room(tmp_path, 1 << 20)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WriteError, match=r"has no room for \d+ bytes \(.*\); make room or name another place$"):
        try_room(tmp_path, 1 << 60)
    assert list(tmp_path.iterdir()) == []
