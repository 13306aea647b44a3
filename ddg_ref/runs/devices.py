"""The devices of a run, from their names."""

from re import fullmatch

from ddg_ref.device import Cpu, Device
from ddg_ref.errors import InputError
from ddg_ref.gpu.cuda import Cuda


def device_names(text: str, modules: int) -> list[str]:
    """The names in `text`. Raises InputError unless there is one for all modules, or one for each."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not fullmatch(r"cpu|cuda:[0-9]{1,3}", name):
            raise InputError(f"device: expected cpu or cuda:0, cuda:1, ..., got {name!r}; change it")
    if len(names) not in (1, modules):
        raise InputError(
            f"device: expected one for all or one for each of {modules} modules, got {len(names)} ({text}); change it"
        )
    return names


def make_device(name: str) -> Device:
    """A device of that name, for one module. Raises InputError if there is no such GPU."""
    return Cpu() if name == "cpu" else Cuda(int(name.removeprefix("cuda:")))
