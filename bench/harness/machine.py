"""What the figures were measured on."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from . import process


def describe(scratch):
    """Pairs of a name and a value."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE)
    file_system = process.output(["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(scratch)])
    cgroup = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    return [
        ("processor", f"{cpu.group(1) if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores"),
        ("memory", f"{int(memory.group(1)) / 2**20:.0f} GiB" if memory else "?"),
        ("system", f"{system.group(1) if system else '?'}, Linux {platform.release()}, cgroup {cgroup}"),
        ("file system", f"{file_system or '?'}, {_write_speed(scratch):.0f} MB/s for 512 MiB written and synced"),
        ("load at the start", f"{os.getloadavg()[0]:.2f}"),
        ("floor", f"{_floor() * 1e3:.1f} ms to start and reap `true` from this harness, in every figure"),
    ]


def _write_speed(scratch):
    block, blocks = os.urandom(1 << 20), 512
    path = Path(scratch) / "write-speed"
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return blocks * len(block) / 1e6 / seconds


def _floor():
    took = []
    for _ in range(20):
        start = time.perf_counter()
        subprocess.run(["true"], stdin=subprocess.DEVNULL, start_new_session=True, check=True)
        took.append(time.perf_counter() - start)
    return sorted(took)[len(took) // 2]
