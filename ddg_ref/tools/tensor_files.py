"""safetensors, or what stands for it where it is not installed: there is no wheel of it for free-threaded Python 3.13.

Training needs none of it; weights and checkpoints are its files.
"""

from typing import Any, NoReturn

from ddg_ref.errors import InputError

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save_file
except ImportError:

    class SafetensorError(Exception):  # type: ignore[no-redef]
        """Never raised."""

    def _missing(*arguments: Any, **options: Any) -> NoReturn:
        raise InputError(
            "safetensors: expected this package, as weights and checkpoints are its files, found none; pip install "
            "safetensors, or take a Python for which there is a wheel (3.14t has one, 3.13t has not)"
        )

    safe_open = save_file = _missing  # type: ignore[misc, assignment]


def expect_installed() -> None:
    """Raise InputError, one line, where files of tensors can be neither written nor read."""
    if SafetensorError.__module__ == __name__:
        save_file({}, "")


__all__ = ["SafetensorError", "expect_installed", "safe_open", "save_file"]
