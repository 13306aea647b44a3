"""What keeps a cell's accident from the cells after it. `make grade` sees it at work."""

import os
import threading

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from notebooks.exercises import kernel


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """IPython with the extension, but for the limit of memory, which would hold for the tests as well."""
    monkeypatch.setattr(kernel, "_limit_memory", lambda: None)
    monkeypatch.setattr(kernel, "GRACE", 0.01)
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    kernel.load_ipython_extension(shell)
    return shell


def test_a_builtin_hidden_by_a_value_is_uncovered_and_a_function_stays(shell):
    shell.run_cell("sum = 0\nlist = [1]\ndef max(x):\n    return x\nother = 1")
    assert not {"sum", "list"} & shell.user_ns.keys()
    assert {"max", "other"} <= shell.user_ns.keys()


def test_reset_does_nothing(shell, capsys):
    shell.run_cell("x = 1")
    shell.run_cell("%reset -f")
    assert shell.user_ns["x"] == 1
    assert "the cells after this one need" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["import os\nos.chdir('/')", "import os\nos.rmdir(os.getcwd())"])
def test_the_working_directory_is_there_again(shell, code, tmp_path):
    shell.run_cell(code)
    assert os.getcwd() == str(tmp_path)
    assert tmp_path.exists()


def test_what_is_left_running_is_reported_and_what_has_ended_is_not(shell):
    end = threading.Event()
    shell.user_ns["end"] = end
    shell.run_cell("import threading\nthreading.Thread(target=end.wait, name='mine').start()")
    end.set()
    (payload,) = shell.payload_manager.read_payload()
    assert payload["source"] == kernel.LEFT_RUNNING
    assert "thread mine" in payload["text"]  # beside processes that the tests themselves may have
    shell.payload_manager.clear_payload()
    shell.run_cell("brief = threading.Thread(target=int)\nbrief.start()\nbrief.join()")
    assert not any("thread" in payload["text"] for payload in shell.payload_manager.read_payload())
