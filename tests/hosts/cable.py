"""A cable between two hosts: what leaves one arrives at the other, in order, after a delay.

    cable.py HOST HOST

The hosts are process ids: each process's network gets a device called `wire`, which lives as long as this program.
Lines on stdin say what the cable does from then on: a number of seconds is the delay one way, `cut` lets nothing
through any more. The program ends with its stdin, so it never outlives whoever has started it.

Not every kernel can delay packets by itself (`tc qdisc ... netem`); all that have TUN devices can let a program do it.
"""

import fcntl
import os
import select
import struct
import subprocess
import sys
from collections import deque
from contextlib import suppress
from math import inf
from time import monotonic

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
LONGEST_PACKET = 65536


def plug_in(host: str) -> int:
    """A device of this program's, moved to the network of process `host`; returns the end to read and write."""
    end = os.open("/dev/net/tun", os.O_RDWR)
    named = fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", b"", IFF_TUN | IFF_NO_PI))
    device = named[:16].rstrip(b"\0").decode()  # the kernel has chosen a name that is free
    subprocess.run(["ip", "link", "set", device, "netns", host, "name", "wire"], check=True)
    return end


def main() -> None:
    one, other = ends = [plug_in(host) for host in sys.argv[1:]]
    opposite = {one: other, other: one}
    delay, on_its_way = 0.0, deque[tuple[float, int, bytes]]()
    print("plugged in", flush=True)
    while True:
        wait = max(0.0, on_its_way[0][0] - monotonic()) if on_its_way else None
        for ready in select.select([0, *ends], [], [], wait)[0]:
            if ready in opposite:
                packet = os.read(ready, LONGEST_PACKET)
                if delay < inf:
                    on_its_way.append((monotonic() + delay, opposite[ready], packet))
            else:
                said = os.read(0, 80).decode()
                if not said:
                    return
                delay = inf if said == "cut\n" else float(said)
                print("done", flush=True)
        while on_its_way and on_its_way[0][0] <= monotonic():
            _, end, packet = on_its_way.popleft()
            with suppress(OSError):  # to a device that is down: lost, as on any network
                os.write(end, packet)


main()
