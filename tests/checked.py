"""CuPy without a GPU: arrays that know their device, and streams that know what has happened before what.

`with installed(count)` puts a module in CuPy's place whose arrays are NumPy's, each tagged with a device. It computes
at once, but judges as if each stream went its own way, by vector clocks. It raises a Violation when

- an operation meets an array of another device than the current one, or an array of the host;
- an array leaves its device by anything but the copy functions;
- a stream reads what another has written, or writes what another has read, and no event or wait on the host says that
  this comes later;
- a stream allocates while memory that has been given back to it may still be in use by another stream (CuPy's pool
  would hand it out again).

Libraries choose the kernel of a matrix product by where its operands lie, and another kernel adds in another order. So
here a product with an operand that does not begin where its memory does is off by one unit in the last place.

It counts the host's waits in `waits`, and in `operations` what is asked of a device: kernels, products and copies.
The kernels' texts are such that Python reads them as C does, but for a few words that `Kernel` puts in Python's way.
"""

import operator
import re
import sys
from collections import defaultdict
from contextlib import contextmanager
from importlib import import_module
from threading import RLock, get_ident, local
from types import ModuleType, SimpleNamespace

import numpy as np


class Violation(AssertionError):  # noqa: N818 - what it is
    """What would go wrong on a GPU, sometimes or always."""


def real_gpus():
    try:
        return import_module("cupy").cuda.runtime.getDeviceCount()
    except Exception:  # not installed, no driver, or none
        return 0


REAL = real_gpus()
"""How many GPUs there really are: then tests run on them."""

GPUS = REAL or 3
PLACES = [
    tuple(place if place == "cpu" else f"cuda:{int(place[-1]) % GPUS}" for place in places)
    for places in (
        ("cuda:0",),
        ("cuda:0", "cuda:1"),
        ("cuda:2", "cuda:2", "cuda:1"),
        ("cpu", "cuda:0"),
        ("cuda:1", "cpu", "cpu"),
    )
]
"""Devices of the modules of a network, in turn."""

LOCK = RLock()


class World:
    """All devices: what is current in which thread, and what the host knows to be done."""

    def __init__(self, count):
        self.count, self.waits, self.operations, self.streams = count, 0, 0, 0
        self.done = defaultdict(int)  # stream -> up to which of its operations the host knows that it is done
        self.given_back = defaultdict(int)  # device -> how often its pool was emptied
        self.current = local()
        self.null_streams = [Stream(self, device) for device in range(count)]

    @property
    def devices(self):
        if not hasattr(self.current, "devices"):
            self.current.devices = [0]
            self.current.streams = [[stream] for stream in self.null_streams]
        return self.current.devices

    def stream(self, device=None):
        device = self.devices[-1] if device is None else device
        return self.current.streams[device][-1]

    def give_back(self):
        """The memory of the current device that is in its pool: how often, in `given_back`."""
        self.given_back[self.devices[-1]] += 1

    def wait_for(self, seen):
        self.waits += 1
        for stream, tick in seen.items():
            self.done[stream] = max(self.done[stream], tick)


class Stream:
    def __init__(self, world, device):
        self.world, self.device = world, device
        world.streams += 1
        self.name = world.streams
        self.seen = defaultdict(int)
        self.freed = []

    def __enter__(self):
        if self.world.devices[-1] != self.device:
            raise Violation("a stream of another device than the current one")
        self.world.current.streams[self.device].append(self)
        return self

    def __exit__(self, *error):
        self.world.current.streams[self.device].pop()

    def learn(self, seen):
        for stream, tick in seen.items():
            self.seen[stream] = max(self.seen[stream], tick)

    def knows(self, stamps):
        done = self.world.done
        return all(self.seen.get(stream, 0) >= tick or done[stream] >= tick for stream, tick in stamps.items())

    def tick(self):
        self.seen[self.name] += 1
        return self.seen[self.name]

    def record(self, event):
        with LOCK:
            self.tick()
            event.seen = dict(self.seen)
            return event

    def wait_event(self, event):
        with LOCK:
            self.learn(event.seen)

    def synchronize(self):
        with LOCK:
            self.world.wait_for(self.seen)


class Event:
    def __init__(self, world, timed):
        self.world, self.seen, self.timed = world, {}, timed

    def synchronize(self):
        with LOCK:
            self.world.wait_for(self.seen)


def elapsed(before, after):
    """Milliseconds between two events that both are done: one, as no clock runs here."""
    if not (before.timed and after.timed):
        raise Violation("an event that takes no time was asked for it")
    if any(event.world.done[stream] < tick for event in (before, after) for stream, tick in event.seen.items()):
        raise Violation("an event was asked for its time before it was done")
    return 1.0


class Buffer:
    """Memory on a device, which goes back to the stream that it was allocated in when no array refers to it."""

    def __init__(self, stream, values):
        self.stream, self.device, self.address = stream, stream.device, address(values)
        self.written, self.read = {}, {}

    def __del__(self):
        self.stream.freed.append((self.written, self.read))


METHODS = ("reshape", "copy", "sum", "mean", "max", "min", "argmax", "astype", "swapaxes", "ravel", "all", "transpose")
FUNCTIONS = (
    *("zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "arange", "ascontiguousarray"),
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "exp", "log", "sqrt", "tanh", "matmul", "where"),
    *("stack", "concatenate", "tile", "pad", "flip", "moveaxis", "broadcast_to"),
)
PRODUCTS = (np.matmul, operator.__matmul__)
BINARY = ["add", "sub", "mul", "truediv", "matmul", "pow", "gt", "ge", "lt", "le", "eq", "ne", "and", "or"]


class Checked:
    """An array of a device."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, values, buffer):
        self.values, self.buffer = values, buffer

    def __array__(self, *arguments, **options):
        raise Violation("an array of a device was taken for one of the host")

    def __getattr__(self, name):
        if name in METHODS:
            return lambda *arguments, **options: launch(
                self.buffer.stream.world, getattr(np.ndarray, name), (self, *arguments), options
            )
        if name in ("shape", "ndim", "dtype", "size", "nbytes", "itemsize", "strides", "flags"):
            return getattr(self.values, name)
        raise AttributeError(name)

    def __len__(self):
        return len(self.values)

    @property
    def T(self):  # noqa: N802 - NumPy's name
        return Checked(self.values.T, self.buffer)

    @property
    def device(self):
        return SimpleNamespace(id=self.buffer.device)

    @property
    def data(self):
        return Memory(self)

    def __getitem__(self, place):
        return launch(self.buffer.stream.world, lambda x, *place: x[place], (self, *as_tuple(place)), {})

    def __setitem__(self, place, values):
        def assign(x, values, *place, out):
            out[place] = values
            return out

        launch(self.buffer.stream.world, assign, (self, values, *as_tuple(place)), {"out": self})

    def get(self):
        world, device = self.buffer.stream.world, self.buffer.device
        with LOCK:
            world.devices  # noqa: B018 - this thread may be new
            stream = world.stream(device)
            read(stream, self)
            world.wait_for(stream.seen)
            return self.values.copy()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def item(self):
        return self.get().item()


def as_tuple(place):
    return place if isinstance(place, tuple) else (place,)


def binary(name, *, reflected=False):
    def operate(self, other):
        both = (other, self) if reflected else (self, other)
        return launch(self.buffer.stream.world, getattr(operator, f"__{name}__"), both, {})

    return operate


def in_place(name):
    def operate(self, other):
        def change(x, other, *, out):
            getattr(out, f"__{name}__")(other)
            return out

        launch(self.buffer.stream.world, change, (self, other), {"out": self})
        return self

    return operate


for _name in BINARY:
    setattr(Checked, f"__{_name}__", binary(_name))
for _name in ("add", "sub", "mul", "truediv", "matmul"):
    setattr(Checked, f"__r{_name}__", binary(_name, reflected=True))
    setattr(Checked, f"__i{_name}__", in_place(f"i{_name}"))
Checked.__neg__ = lambda self: launch(self.buffer.stream.world, np.negative, (self,), {})


class Memory:
    def __init__(self, array):
        self.array = array

    def copy_from_device_async(self, source, size):
        """The one way from device to device."""
        world, ours, theirs = self.array.buffer.stream.world, self.array, source.array
        with LOCK:
            stream = world.stream()
            if ours.buffer.device != stream.device:
                raise Violation("the copy is on another device than the current one")
            assert size == ours.nbytes == theirs.nbytes
            read(stream, theirs)
            write(stream, ours)
            ours.values[...] = theirs.values


def address(values):
    return values.__array_interface__["data"][0]


def askew(array):
    """Whether it begins where no allocation of CuPy's could: a product may come out otherwise, by the last bits."""
    return (address(array.values) - array.buffer.address) % 512 != 0


def read(stream, array):
    tick = stream.tick()
    if not stream.knows(array.buffer.written):
        raise Violation("read by a stream that does not wait for the one that writes it")
    array.buffer.read[stream.name] = tick


def write(stream, array):
    stream.world.operations += 1
    tick = stream.tick()
    if not (stream.knows(array.buffer.written) and stream.knows(array.buffer.read)):
        raise Violation("written by a stream that does not wait for the others that use it")
    array.buffer.written = {stream.name: tick}


def allocated(stream, values):
    """A new array. CuPy's pool may give it the memory of any that was allocated in this stream and is freed."""
    stream.tick()
    freed, stream.freed = stream.freed, []
    for written, used in freed:
        if not (stream.knows(written) and stream.knows(used)):
            raise Violation("memory is allocated again that another stream may still use")
    return Checked(values, Buffer(stream, values))


def filled(stream, values):
    """A new array that an operation writes."""
    array = allocated(stream, values)
    write(stream, array)
    return array


def plain(value, stream, arrays):
    """What NumPy is given for `value` in an operation of `stream`; the arrays in it are added to `arrays`."""
    if isinstance(value, Checked):
        if value.buffer.device != stream.device:
            raise Violation(f"device {value.buffer.device}'s array in an operation of device {stream.device}")
        arrays.append(value)
        return value.values
    if isinstance(value, np.ndarray):
        raise Violation("an array of the host in an operation of a device")
    if isinstance(value, list | tuple):
        return type(value)(plain(part, stream, arrays) for part in value)
    return value


def launch(world, function, arguments, options):
    """Do what a function of NumPy does in the current stream of the current device."""
    with LOCK:
        world.devices  # noqa: B018 - this thread may be new
        stream, arrays, out = world.stream(), [], options.get("out")
        given = plain(arguments, stream, arrays)
        named = {name: plain(value, stream, arrays) for name, value in options.items()}
        values = np.asarray(function(*given, **named))
        if function in PRODUCTS and any(map(askew, arrays)):
            values = np.nextafter(values, np.inf, out=values)
        if out is not None:
            for array in arrays:
                if array is not out:
                    read(stream, array)
            write(stream, out)
            return out
        owner = next((array for array in arrays if np.may_share_memory(values, array.values)), None)
        if owner is not None:  # a view
            return Checked(values, owner.buffer)
        for array in arrays:
            read(stream, array)
        return (allocated if function in (np.empty, np.empty_like) else filled)(stream, values)


class Kernel:
    """An ElementwiseKernel whose operation is read as Python."""

    def __init__(self, world, inputs, outputs, operation, name):
        self.world, self.name = world, name
        self.inputs, self.outputs = ([p.split() for p in text.split(",")] for text in (inputs, outputs))
        self.operation = re.sub(r"\b(T|int|bool|ptrdiff_t) (?=\w+ =)", "", operation)
        self.operation = re.sub(r"(\w+) \? (.+) : T\(0\)", r"where(\1, \2, 0)", self.operation)

    def __call__(self, *arguments):
        if self.inputs[0][0] == "raw":
            return self.fill(*arguments)
        assert len(arguments) == len(self.inputs), self.name

        def compute(*values):
            (dtype,) = {value.dtype for value in values if isinstance(value, np.ndarray)}
            names = {"sqrt": np.sqrt}
            for (kind, name), value in zip(self.inputs, values, strict=True):
                names[name] = np.asarray(value, dtype) if kind == "T" else value
            shape = np.broadcast_shapes(*(np.shape(names[name]) for _, name in self.inputs))
            exec(self.operation.replace("; ", "\n"), {}, names)
            return np.stack([np.broadcast_to(np.asarray(names[name], dtype), shape) for _, name in self.outputs])

        results = launch(self.world, compute, arguments, {})
        with LOCK:
            results = [filled(self.world.stream(), values) for values in results.values]
            self.world.operations -= len(results)  # they are one, which has been counted
        return results[0] if len(results) == 1 else tuple(results)

    def fill(self, *arguments):
        """With an input that is taken by index, into an output that is given, which tells how many elements there are;
        all other inputs are whole numbers."""
        *arguments, y = arguments
        assert len(arguments) == len(self.inputs), self.name

        def compute(x, *numbers, out):
            names = {"where": np.where, "i": np.arange(out.size), self.inputs[0][-1]: Raw(x)}
            names |= {name: number for (_, name), number in zip(self.inputs[1:], numbers, strict=True)}
            exec(self.operation.replace("; ", "\n").replace("/", "//"), {}, names)
            out[...] = names[self.outputs[0][-1]].reshape(out.shape)
            return out

        return launch(self.world, compute, arguments, {"out": y})


class Raw:
    """An array of a kernel that takes its elements by index; what is not there may be asked for if it is not used."""

    def __init__(self, values):
        assert values.flags.c_contiguous
        self.values = values

    def __getitem__(self, index):
        return np.take(self.values, index, mode="clip")


class Reduction:
    """A ReductionKernel that sums."""

    def __init__(self, world, inputs, outputs, mapped, reduced, post, identity, name):
        assert (reduced, identity) == ("a + b", "0")
        assert outputs == "T y"
        assert post == "y = a"
        self.world, self.mapped = world, mapped
        self.names = [parameter.split()[1] for parameter in inputs.split(",")]

    def __call__(self, *arguments, axis):
        def compute(*values):
            return eval(self.mapped, {}, dict(zip(self.names, values, strict=True))).sum(axis=axis)

        return launch(self.world, compute, arguments, {})


class CUDARuntimeError(RuntimeError):
    pass


@contextmanager
def installed(count):
    """For the block, a checked CuPy with `count` devices is in CuPy's place; gives its World."""
    world, real = World(count), sys.modules.get("cupy")
    sys.modules["cupy"] = checked_cupy(world)
    try:
        yield world
    finally:
        del sys.modules["cupy"]
        if real is not None:
            sys.modules["cupy"] = real


def checked_cupy(world):
    """The module."""
    count = world.count
    cupy, cuda = ModuleType("cupy"), ModuleType("cupy.cuda")

    class Device:
        def __init__(self, index):
            if index >= count:
                raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
            self.id, self.thread = index, get_ident()

        def __enter__(self):
            if self.thread != get_ident():
                raise Violation("a Device object shared by two threads")
            world.devices.append(self.id)
            return self

        def __exit__(self, *error):
            world.devices.pop()

    def function(name):
        return lambda *arguments, **options: launch(world, getattr(np, name), arguments, options)

    for name in FUNCTIONS:
        setattr(cupy, name, function(name))

    def asarray(x):
        if isinstance(x, Checked):
            return launch(world, np.asarray, (x,), {})
        with LOCK:
            world.devices  # noqa: B018
            return filled(world.stream(), np.array(x))

    def array_split(x, count):
        parts = np.array_split(np.arange(len(x)), count)
        return [x[part[0] : part[-1] + 1] if len(part) else x[:0] for part in parts]

    cupy.array_split = array_split
    as_strided = np.lib.stride_tricks.as_strided
    cupy.asarray, cupy.asnumpy = asarray, lambda x: x.get()
    cupy.lib = SimpleNamespace(
        stride_tricks=SimpleNamespace(as_strided=lambda x, *rest: launch(world, as_strided, (x, *rest), {}))
    )
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=world.give_back)
    cupy.get_default_pinned_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
    cupy.ElementwiseKernel = lambda *texts: Kernel(world, *texts)
    cupy.ReductionKernel = lambda *texts: Reduction(world, *texts)
    cuda.Device = Device
    cuda.Stream = lambda non_blocking: Stream(world, world.devices[-1])
    cuda.Event = lambda disable_timing=False: Event(world, timed=not disable_timing)
    cuda.get_elapsed_time = elapsed
    cuda.get_current_stream = lambda: (world.devices, world.stream())[1]
    cuda.runtime = SimpleNamespace(getDeviceCount=lambda: count, CUDARuntimeError=CUDARuntimeError)
    cuda.runtime.getDeviceProperties = lambda index: {"name": b"a checked GPU"}
    cuda.runtime.runtimeGetVersion, cupy.__version__ = lambda: 0, "checked"
    cupy.cuda = cuda
    return cupy
