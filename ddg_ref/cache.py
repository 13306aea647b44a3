"""Where files are kept that a later run may use again."""

from os import environ
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """$DDG_REF_CACHE, or else the user's cache directory for this package; it need not be there yet."""
    return Path(environ.get("DDG_REF_CACHE") or user_cache_path("ddg_ref", appauthor=False))
