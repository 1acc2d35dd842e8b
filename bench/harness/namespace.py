"""Puts the benchmark into mount and process namespaces of its own.

Whatever a peer mounts or starts is gone when the benchmark ends, however it ends: the kernel takes mounts and processes
away with the namespaces.
"""

import ctypes
import os
import signal
import sys
import traceback

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, call):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def enter(body):
    """Runs `body` as the first process of new namespaces; returns its exit code. Signals are passed on to it."""
    blocked = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    # This says where children go, not where this process is.
    _check(_libc.unshare(CLONE_NEWPID), "unshare")
    # A signal that comes before the child can take it must wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child == 0:
        _become_first(body, blocked)
    # Ctrl-C of a terminal reaches both; the child acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    _, status = os.waitpid(child, 0)
    # Further children, those that clean up, belong here again.
    _check(_libc.setns(own, CLONE_NEWPID), "setns")
    os.close(own)
    return os.waitstatus_to_exitcode(status)


def _become_first(body, blocked):
    """The child: never returns."""
    status = 1
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
        _check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount")
        _check(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "mount /proc")

        def interrupt(*_):
            # Once is enough; the next one must not stop the clean-up.
            for number in blocked:
                signal.signal(number, signal.SIG_IGN)
            raise KeyboardInterrupt

        for number in blocked:
            signal.signal(number, interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        status = body()
    except KeyboardInterrupt:
        status = 130
    except Exception:  # Reported here, since nothing above may run twice.
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
