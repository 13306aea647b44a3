"""Two hosts on one machine, with a cable between them, for as long as a `with` block.

Each host is a set of Linux namespaces: it has a network, a name, process numbers and a disk of its own, and an sshd
that lets the other one in. `mpirun` of Open MPI starts ranks on both. None of it has a name on the machine, so any
number of pairs can stand side by side; all of it, keys and disks too, is in memory and ends with the process that has
made it, whatever that dies of.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("alpha", "beta")
DISK = Path("/srv")
ADDRESSES = ("10.7.7.1", "10.7.7.2")
PROGRAMS = {
    "mpirun.openmpi": "openmpi-bin",
    "ip": "iproute2",
    "/usr/sbin/sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
"""What is needed, and the packages of Debian that have it."""

DIVIDED = ("--net", "--uts", "--ipc", "--mount", "--pid", "--fork")

SSH = (
    "ssh -F none -i /run/keys/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o LogLevel=ERROR"
)
PASSED_ON = ("OPENBLAS_CORETYPE", "DDG_REF_CACHE")


def missing() -> str | None:
    """Why there can be no hosts here, None if there can."""
    if not sys.platform.startswith("linux") or os.geteuid():
        return "two hosts on one machine need Linux and root"
    packages = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if packages:
        return f"two hosts on one machine need the packages {' '.join(packages)}"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "two hosts on one machine need TUN devices (/dev/net/tun)"
    divided = subprocess.run(["unshare", *DIVIDED, "true"], capture_output=True, text=True)
    return None if divided.returncode == 0 else f"this machine cannot be divided: {divided.stderr.strip()}"


class Pair:
    """Hosts `NAMES`, up and reachable within the `with` block. `DISK` is a folder of which each host has its own, empty
    at first; all else of the file system is common. `delay` is the cable's, in seconds one way.

    Raises RuntimeError if they do not come up.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self._stack = ExitStack()
        self._jobs: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        with self._stack as stack:
            stack.callback(lambda: [job.communicate() for job in self._jobs])  # they have ended with their hosts
            self._hosts = [self._start("unshare", *DIVIDED, "sh", str(HERE / "host.sh"), name) for name in NAMES]
            self._pids = [int(hear(host)) for host in self._hosts]
            key, other = (str(self._seen(host, Path("/run/keys/key"))) for host in range(2))
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
            for kind in ("", ".pub"):
                shutil.copy(key + kind, other + kind)
            self._cable = self._start(sys.executable, str(HERE / "cable.py"), *map(str, self._pids))
            hear(self._cable)
            for host, address in zip(self._hosts, ADDRESSES, strict=True):
                tell(host, f"{address}/24")
            for host in self._hosts:
                hear(host)
            self.set_delay(self._delay)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def _seen(self, host: int, path: Path) -> Path:
        return Path(f"/proc/{self._pids[host]}/root") / path.relative_to("/")

    def disk(self, host: int) -> Path:
        """The folder `DISK` of that host, seen from the machine. Not to be resolved: it goes through a link to "/"."""
        return self._seen(host, DISK)

    def _start(self, *command: str) -> "subprocess.Popen[str]":
        """A process that ends when its stdin does, at the latest at the end of the block."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(process.communicate)
        return process

    def set_delay(self, seconds: float) -> None:
        """From now on whatever is sent takes so long, one way."""
        tell(self._cable, str(seconds))
        hear(self._cable)

    def cut(self) -> None:
        """From now on nothing arrives at the other side. What was on its way still does."""
        tell(self._cable, "cut")
        hear(self._cable)

    def on(self, host: int, *command: str) -> list[str]:
        """The command line that runs `command` on that host."""
        return ["nsenter", "--target", str(self._pids[host]), "--all", *command]

    def mpirun(self, *command: str, options: Iterable[str] = ()) -> "subprocess.Popen[str]":
        """A job of `command`, one rank on each host, started on the first one with `options` of Open MPI's `mpirun`."""
        ours = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "MPI4PY_MPIABI": "openmpi"}
        ours |= {"TMPDIR": str(DISK), "OPENBLAS_NUM_THREADS": "1"}
        settings = {"plm_rsh_agent": SSH, "orte_tmpdir_base": str(DISK), "btl": "tcp,self"}
        start = ["mpirun.openmpi", "--allow-run-as-root", "-n", "2", "--host", ",".join(ADDRESSES)]
        start += [text for name, value in settings.items() for text in ("--mca", name, value)]
        start += [text for name in (*PASSED_ON, *ours) if name in os.environ | ours for text in ("-x", name)]
        job = subprocess.Popen(
            self.on(0, *start, *options, *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | ours,
        )
        self._jobs.append(job)
        return job

    def processes(self, host: int) -> dict[int, str]:
        """What runs on that host besides what belongs to the host itself: number on this machine -> name."""
        place, found = os.readlink(f"/proc/{self._pids[host]}/ns/pid"), {}
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            try:
                name, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rsplit(") ", 1)
                if os.readlink(f"/proc/{pid}/ns/pid") == place and state[0] != "Z":
                    found[pid] = name
            except OSError:  # it has ended meanwhile
                pass
        return {pid: name for pid, name in found.items() if pid != self._pids[host] and name != "sshd"}


def tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: "subprocess.Popen[str]") -> str:
    """The next line of what it says. Raises RuntimeError if it has ended."""
    stdout: IO[str] | None = process.stdout
    assert stdout is not None
    line = stdout.readline()
    if not line:
        raise RuntimeError(f"expected a host or a cable to come up, got an end of: {process.args!r}")
    return line
