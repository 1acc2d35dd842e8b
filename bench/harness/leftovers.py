"""What peers leave outside of the namespaces and of their folders: control groups, sockets, caches.

What was not there before a benchmark is removed after it.
"""

import os
import shutil
from pathlib import Path

_FOLDERS = ("/run/docker", "/run/containerd", "/run/runc", "/run/buildah", "/run/crun", "/var/lib/containers/cache")


def _groups():
    """The control groups that Docker and buildah make, in any hierarchy, the inner ones last."""
    found = []
    for here, folders, _ in os.walk("/sys/fs/cgroup"):
        if any(part in ("docker", "buildkit", "buildah", "machine.slice") for part in Path(here).parts):
            found.append(here)
        folders.sort()
    return found


def before():
    """What is there already."""
    return set(_groups()) | {path for path in _FOLDERS if os.path.exists(path)}


def remove(kept):
    """Removes what is not in `kept`. Groups that still hold processes, which are not ours, refuse."""
    for group in reversed(_groups()):
        if group not in kept:
            try:
                os.rmdir(group)
            except OSError:
                continue
    for path in _FOLDERS:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
