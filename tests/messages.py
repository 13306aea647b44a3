"""What a message for bad input must be: one line that says what was expected, what came, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ddg_ref.errors import InputError


@contextmanager
def input_error(*, expected: str, got: object, advice: str) -> Iterator[None]:
    """The block must raise an InputError whose message has these three parts, in this order, on one line."""
    with pytest.raises(InputError) as caught:
        yield
    message, place = str(caught.value), 0
    assert "\n" not in message
    for part in (expected, str(got), advice):
        place = message.find(part, place)
        assert place >= 0, f"{part!r} is missing, or out of place, in {message!r}"
        place += len(part)
