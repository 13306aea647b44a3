"""A run directory stands for one run: none, an unfinished or a finished one, whenever its process was killed."""

import shutil
from pathlib import Path

import pytest
from runs import finish, run_to, small_training

from ddg_ref.errors import InputError
from ddg_ref.runs import rundir
from ddg_ref.runs.checkpoints import list_checkpoints, save


def test_run_json_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    """Else a run killed while it is being written could never be resumed."""
    training = finish(small_training())
    save(training, tmp_path)
    write = Path.write_text

    def killed(path, text, **options):
        write(path, text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        rundir.save(training.result(), tmp_path)
    monkeypatch.undo()
    assert rundir.reopen(tmp_path) == tmp_path
    rundir.save(training.result(), tmp_path)
    with pytest.raises(InputError, match="is finished"):
        rundir.reopen(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_overwrites_a_finished_one_can_be_resumed(tmp_path):
    rundir.save(finish(small_training()).result(), tmp_path)
    rundir.claim(tmp_path, overwrite=True)
    save(run_to(small_training(), 3), tmp_path)
    assert rundir.reopen(tmp_path) == tmp_path


def test_an_unfinished_run_is_not_overwritten_unasked(tmp_path):
    checkpoint = save(run_to(small_training(), 3), tmp_path)
    with pytest.raises(InputError, match="holds an unfinished run; go on with --resume, or say --overwrite"):
        rundir.claim(tmp_path)
    assert list_checkpoints(tmp_path) == [checkpoint]
    rundir.claim(tmp_path, overwrite=True)
    assert list(tmp_path.rglob("*")) == [tmp_path / "checkpoints"]  # whose folder that is nobody knows


def test_a_run_killed_before_its_first_checkpoint_was_whole_can_be_begun_again(tmp_path):
    checkpoint = save(run_to(small_training(), 3), tmp_path)
    shutil.move(checkpoint, checkpoint.with_name(f".{checkpoint.name}.tmp"))
    assert rundir.claim(tmp_path) == tmp_path
