"""Files that are read again are whole, or as they were."""

import os
import stat
from contextlib import suppress

import numpy as np
import pytest

from ddg_ref.errors import WriteError
from ddg_ref.files import replacing, write_tensors, write_text


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "result.json"
    write_text(path, "old")
    with suppress(KeyError), replacing(path) as unfinished:
        unfinished.write_text("half of the n")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_of_the_block_the_old_file_is_there(tmp_path):
    path = tmp_path / "result.json"
    write_text(path, "old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert unfinished.parent == path.parent, "a rename across file systems is no rename"
    assert path.read_text() == "new"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_mode_is_that_of_any_other_new_file(tmp_path, umask):
    previous = os.umask(umask)
    try:
        write_tensors(tmp_path / "w.safetensors", {"a": np.ones(3)})
        write_text(tmp_path / "t.json", "{}")
        (tmp_path / "plain").touch()
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
    (tmp_path / "real.json").write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_a_device_is_written_into_and_stays_one(tmp_path):
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_text(link, "text")
    assert stat.S_ISCHR(link.stat().st_mode)


@pytest.mark.parametrize("place", ["missing/result.json", "file/result.json", "folder"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError) as info:
        write_text(tmp_path / place, "text")
    assert place in str(info.value)
    assert "\n" not in str(info.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
