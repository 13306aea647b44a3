"""Checkpoints: all that a run needs to go on as if it had never stopped, bit for bit.

A checkpoint is a directory of three files: `tensors.safetensors`, `state.json`, and `SHA256SUMS` over both (which
`sha256sum -c` understands). It is written beside the others under another name, flushed to the disk, and renamed: a
directory with a checkpoint's name is whole, whenever the process was killed. The last two are kept.

What is in flight at iteration t follows from the method's schedule alone: its actions say which micro-batches have gone
forward and not back, which error gradients have been given and not taken, and how many steps a module had made at each
forward pass (`standing.py`). A checkpoint stores the micro-batches' input, the weights that their forward
pass used unless they are replayed with others, the error gradients, and what the synthesizers know; the caches are
computed anew, which gives the same bits. So the names, shapes and dtypes of all tensors are known before the file is
opened (`tensors.py`), and whatever differs is refused. Nothing is unpickled, and nothing is allocated on a file's word.
"""

from ddg_ref.runs.checkpoints.reading import list_checkpoints, load, resume, run_of, stored_config
from ddg_ref.runs.checkpoints.state import CHANGEABLE
from ddg_ref.runs.checkpoints.writing import room, save, save_or_rescue

__all__ = [
    "CHANGEABLE",
    "list_checkpoints",
    "load",
    "resume",
    "room",
    "run_of",
    "save",
    "save_or_rescue",
    "stored_config",
]
