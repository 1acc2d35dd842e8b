"""Running one command and measuring it."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    """A command that did not succeed, with the end of what it said."""


@dataclass(frozen=True)
class Sample:
    """One measured run."""

    seconds: float
    peak_bytes: int | None = None
    output_bytes: int | None = None


def _complain(command, status, log):
    lines = Path(log).read_text(errors="replace").splitlines()[-15:]
    text = "\n".join("    " + line for line in lines)
    return Failed(f"`{' '.join(map(str, command))}` ended with {status}\n{text}")


def run(command, log, env=None):
    """Runs the command to its end, its output to the file `log`; returns the seconds it took."""
    with open(log, "wb") as output:
        start = time.perf_counter()
        # A session of its own: Ctrl-C reaches the benchmark, which then ends the command.
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True,
        )
        try:
            status = process.wait()
        except BaseException:
            end(process)
            raise
        seconds = time.perf_counter() - start
    if status != 0:
        raise _complain(command, status, log)
    return seconds


def end(process, patience=10):
    """Ends a process: asks, waits, insists."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def peak(command, log, env=None):
    """Runs the command and returns its peak resident memory in bytes, or `None` without /usr/bin/time.

    A child of this interpreter would inherit the interpreter's peak; one of the small `time` does not.
    """
    if not os.access("/usr/bin/time", os.X_OK):
        return None
    figures = Path(f"{log}.peak")
    run(["/usr/bin/time", "--quiet", "--format=%M", f"--output={figures}", *command], log, env)
    return int(figures.read_text().split()[-1]) * 1024


def output(command):
    """What a command prints, or `None` when it is not there or fails."""
    if shutil.which(str(command[0])) is None:
        return None
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None
