"""Images are (height, width, channels): what to say to whoever gives something else."""

from __future__ import annotations

from ddg_ref.arrays import Shape
from ddg_ref.errors import InputError


def check_images(
    where: object, input_shape: Shape, channels: int | None = None, *, otherwise: str = ""
) -> tuple[int, int, int]:
    """Height, width and channels of a sample. Raises InputError if it is no image, or has not so many channels."""
    if len(input_shape) == 3 and channels in (None, input_shape[2]):
        h, w, c = input_shape
        return h, w, c
    wanted = "channels" if channels is None else channels
    raise InputError(
        f"{where}: expected images (height, width, {wanted}), got {input_shape}; "
        f"reshape the data{_how(input_shape, channels)}{otherwise}"
    )


def _how(input_shape: Shape, channels: int | None) -> str:
    if len(input_shape) == 2 and channels in (None, 1):
        return ": x[..., None] has one channel"
    if len(input_shape) == 3 and channels == input_shape[0]:
        return ": x.transpose(0, 2, 3, 1) has the channels last"
    return ""
