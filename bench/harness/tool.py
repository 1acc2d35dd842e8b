"""How each builder is driven.

All get the same base image under the same name, the network of the host (so that none pays for a network of its own),
plain progress into a file, and a tag for the result.
"""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from . import process

BASE = "localhost/bench-base"
RESULT = "localhost/bench-result"


class Tool:
    """One builder. `fresh` gives it an empty store with the base image in it."""

    name = ""
    remembers_exports = False
    compressions = ()

    def __init__(self, directory, runtime):
        self.directory = Path(directory) / self.name
        self.directory.mkdir()
        self.runtime = Path(runtime) / self.name
        self.runtime.mkdir()
        self.log = self.directory / "log"
        self.env = None

    @staticmethod
    def missing():
        """Why this tool cannot be measured here, or `None`."""

    def version(self):
        """One line that names the version."""

    def start(self):
        """Starts what has to run in the background."""

    def stop(self):
        """Stops it."""

    def fresh(self, base):
        """Empties the store and imports the base image."""

    def build_command(self, context, dockerfile):
        """The command that builds."""

    def export_command(self, context, dockerfile, compression, dest):
        """The command that writes the image, which is built already, to an archive."""

    def forget(self, name):
        """Removes an image and whatever was unpacked for it, if it is there."""

    def pull_command(self, name):
        """The command that gets an image from the registry of the benchmark."""

    def tag_command(self, name, image=RESULT):
        """The command that gives an image another name."""

    def push_command(self, name):
        """The command that sends an image to the registry of the benchmark."""

    def save_command(self, name, dest):
        """The command that writes an image to a Docker archive."""

    def build(self, context, dockerfile):
        """Builds; returns the seconds."""
        return process.run(self.build_command(context, dockerfile), self.log, self.env)


class Builder(Tool):
    """The one under test."""

    name = "builder"
    remembers_exports = True
    compressions = ("uncompressed", "gzip", "zstd")

    def __init__(self, directory, runtime, binary):
        super().__init__(directory, runtime)
        self.binary = binary
        self.root = self.directory / "store"

    def version(self):
        return (process.output([self.binary, "version"]) or "?").splitlines()[0].removeprefix("builder ")

    def _command(self, *arguments):
        return [self.binary, "--root", self.root, *arguments]

    def fresh(self, base):
        remove(self.root)
        process.run(self._command("import", base, BASE), self.log)

    def build_command(self, context, dockerfile, *more):
        return self._command(
            "build", "--progress=plain", "--network=host", "-t", RESULT, "-f", dockerfile, *more, context
        )

    def export_command(self, context, dockerfile, compression, dest):
        return self.build_command(context, dockerfile, "-o", f"type=oci,dest={dest},compression={compression}")

    def forget(self, name):
        remove(self.root)

    def pull_command(self, name):
        return self._command("pull", "--quiet", name)

    def tag_command(self, name, image=RESULT):
        return self._command("tag", image, name)

    def push_command(self, name):
        return self._command("push", "--quiet", name)

    def save_command(self, name, dest):
        return self._command("save", "-o", dest, name)


class Docker(Tool):
    """dockerd with BuildKit, from the Debian package docker.io, on a data root of its own."""

    name = "BuildKit"
    compressions = ("uncompressed",)
    buildkit = "1"

    def __init__(self, directory, runtime):
        super().__init__(directory, runtime)
        self.socket = f"unix://{self.runtime}/docker.sock"
        self.env = {
            **os.environ,
            "DOCKER_BUILDKIT": self.buildkit,
            "DOCKER_HOST": self.socket,
            "DOCKER_CONFIG": str(self.runtime),
        }
        self.daemon = None
        # The client of the same package: a newer one, earlier in PATH, may lack the plugin that builds.
        self.client = "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else "docker"

    @staticmethod
    def missing():
        if shutil.which("dockerd") is None or shutil.which("docker") is None:
            return "not installed (Debian package docker.io)"
        return None

    def version(self):
        return f"{_version('dockerd')} of Docker, {_version('runc')} of runc"

    def start(self):
        with open(self.directory / "dockerd.log", "wb") as log:
            self.daemon = subprocess.Popen(
                [
                    "dockerd", "--host", self.socket, "--data-root", self.directory / "data",
                    "--exec-root", self.runtime / "exec", "--pidfile", self.runtime / "pid",
                    "--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
                    "--storage-driver=overlay2",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while subprocess.run([self.client, "info"], env=self.env, capture_output=True, check=False).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                lines = (self.directory / "dockerd.log").read_text(errors="replace").splitlines()[-5:]
                raise process.Failed("dockerd did not start\n" + "\n".join("    " + line for line in lines))
            time.sleep(0.1)

    def stop(self):
        if self.daemon:
            process.end(self.daemon, patience=30)

    def _docker(self, *arguments):
        return process.run([self.client, *arguments], self.log, self.env)

    def fresh(self, base):
        self._docker("system", "prune", "--all", "--force")
        self._docker("builder", "prune", "--all", "--force")
        self._docker("import", base, BASE)

    def build_command(self, context, dockerfile):
        progress = ["--progress=plain"] if self.buildkit == "1" else []
        return [self.client, "build", *progress, "--network=host", "-t", RESULT, "-f", dockerfile, context]

    def export_command(self, context, dockerfile, compression, dest):
        return [self.client, "save", "-o", dest, RESULT]

    def forget(self, name):
        self._docker("system", "prune", "--all", "--force")

    def pull_command(self, name):
        return [self.client, "pull", "--quiet", name]

    def tag_command(self, name, image=RESULT):
        return [self.client, "tag", image, name]

    def push_command(self, name):
        return [self.client, "push", "--quiet", name]

    def save_command(self, name, dest):
        return [self.client, "save", "-o", dest, name]


class ClassicDocker(Docker):
    """The same daemon with its builder of old."""

    name = "classic"
    buildkit = "0"


class Buildah(Tool):
    """buildah from its Debian package, with namespaces as the others (`oci`, by runc), and with layers kept."""

    name = "buildah"
    compressions = ("uncompressed", "gzip", "zstd")

    @staticmethod
    def missing():
        if shutil.which("buildah") is None:
            return "not installed (Debian package buildah)"
        return "needs runc (Debian package runc)" if shutil.which("runc") is None else None

    def version(self):
        return f"{_version('buildah')}, {_version('runc')} of runc"

    def _command(self, *arguments):
        return [
            "buildah", "--root", self.directory / "storage", "--runroot", self.directory / "run",
            "--storage-driver", "overlay", *arguments,
        ]

    def fresh(self, base):
        process.run(self._command("rm", "--all"), self.log)
        process.run(self._command("rmi", "--all", "--force"), self.log)
        process.run(self._command("from", "--name", "bench", "scratch"), self.log)
        process.run(self._command("add", "--quiet", "bench", base), self.log)
        process.run(self._command("commit", "--quiet", "--rm", "bench", BASE), self.log)

    def build_command(self, context, dockerfile):
        return self._command(
            "bud", "--layers", "--isolation=oci", "--runtime=runc", "--network=host", "--pull-never",
            "-t", RESULT, "-f", dockerfile, context,
        )

    def export_command(self, context, dockerfile, compression, dest):
        if compression == "uncompressed":
            # buildah compresses every layer of an OCI archive, and none of Docker's.
            return self._command("push", "--quiet", RESULT, f"docker-archive:{dest}:{RESULT}:latest")
        return self._command("push", "--quiet", f"--compression-format={compression}", RESULT, f"oci-archive:{dest}:bench")

    def forget(self, name):
        process.run(self._command("rmi", "--all", "--force"), self.log)

    def pull_command(self, name):
        return self._command("pull", "--quiet", "--tls-verify=false", name)

    def tag_command(self, name, image=RESULT):
        return self._command("tag", image, name)

    def push_command(self, name):
        return self._command("push", "--quiet", "--tls-verify=false", name, f"docker://{name}")

    def save_command(self, name, dest):
        return self._command("push", "--quiet", name, f"docker-archive:{dest}:{name}:latest")


def _version(program):
    found = re.search(r"version ([^\s,]+)", process.output([program, "--version"]) or "")
    return found.group(1) if found else "?"


PEERS = {tool.name: tool for tool in (Docker, ClassicDocker, Buildah)}


def remove(path):
    """Removes a tree, which may be large, but never what is mounted in it. Something of a tool may still be flushing to
    it in the background."""
    for _ in range(10):
        if not Path(path).exists():
            return
        subprocess.run(["rm", "-rf", "--one-file-system", str(path)], stderr=subprocess.DEVNULL, check=False)
    if Path(path).exists():
        raise process.Failed(f"{path} can't be removed")
