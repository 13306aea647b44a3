"""Where files are kept that a later run may use again."""

from os import environ
from pathlib import Path


def cache_directory() -> Path:
    """$DDG_REF_CACHE, or else the user's cache directory for this package; it need not be there yet."""
    given = environ.get("DDG_REF_CACHE")
    if given:
        return Path(given)
    from platformdirs import user_cache_path  # where one is given, nobody has to wait for it or to have it

    return user_cache_path("ddg_ref", appauthor=False)
