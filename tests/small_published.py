"""Small data sets in the format of published ones, their descriptions, and a server that has them."""

import gzip
import io
import tarfile
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np

from ddg_ref.data import cifar, mnist

FOLDER, ARCHIVE = "small-batches-bin", "small-binary.tar.gz"
PIXELS = 3 * 32 * 32


def gz(content):
    return gzip.compress(content, 1, mtime=0)


def tar_gz(files):
    """Files by name as a .tar.gz; a TarInfo in place of bytes is added as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return gz(buffer.getvalue())


def records(count, labels=1, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 256, (count, labels + PIXELS), dtype=np.uint8)
    numbers[:, :labels] = rng.integers(0, classes, (count, labels))
    return numbers


def cifar_files(labels=1, classes=10):
    """The files of a distribution with two files to train on, 8 and 6 images, and one to test on, 5 images."""
    counts = {"one.bin": 8, "two.bin": 6, "three.bin": 5}
    return {
        f"{FOLDER}/{name}": records(count, labels, classes, seed).tobytes()
        for seed, (name, count) in enumerate(counts.items())
    }


def cifar_of(content, *, labels=1, classes=10, url="http://127.0.0.1:9/"):
    """The description of such a distribution whose archive has the given content."""
    return cifar.cifar(
        "cifar10",
        ARCHIVE,
        len(content),
        md5(content).hexdigest(),
        folder=FOLDER,
        train={"one.bin": 8, "two.bin": 6},
        test={"three.bin": 5},
        labels=labels,
        classes=classes,
        url=url,
    )


def idx(images):
    """Images (N, H, W) and labels 0, 1, ... as the two idx files."""
    header = np.array([2051, *images.shape], ">u4").tobytes()
    labels = np.arange(len(images), dtype=np.uint8) % 10
    return header + images.tobytes(), np.array([2049, len(images)], ">u4").tobytes() + labels.tobytes()


def mnist_files(side=6):
    rng = np.random.default_rng(0)
    names = [*mnist.TRAIN, *mnist.TEST]
    train, test = (rng.integers(0, 256, (count, side, side), dtype=np.uint8) for count in (12, 7))
    return dict(zip(names, [*idx(train), *idx(test)], strict=True))


def mnist_of(packed, side=6, url="http://127.0.0.1:9/"):
    archives = [(name, len(content), md5(content).hexdigest()) for name, content in packed.items()]
    return mnist.mnist("mnist", archives, train=12, test=7, side=side, url=url)


def packed_mnist(files):
    return {f"{name}.gz": gz(content) for name, content in files.items()}


def write(directory, files):
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


SMALL_CIFAR = tar_gz(cifar_files())


class Site:
    """A server of files on this machine, which can be made to misbehave."""

    def __init__(self, files):
        self.files, self.requests = dict(files), []
        self.cut = None  # how many bytes of each file it sends
        self.go_on = None  # an Event that it waits for before it ends
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.removeprefix("/")
                site.requests.append(name)
                if name not in site.files:
                    self.send_error(404)
                    return
                content = site.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: site.cut])
                self.wfile.flush()
                if site.go_on is not None:
                    site.go_on.wait(60)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # callers that hang up are part of these tests
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
