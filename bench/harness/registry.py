"""A registry on loopback for the time of a workload: Debian's docker-registry."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from . import process

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Serves from a folder of the benchmark until `stop`."""

    def __init__(self, directory):
        if shutil.which("docker-registry") is None:
            raise process.Failed("docker-registry is not installed (Debian package docker-registry)")
        self.directory = Path(directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        config = self.directory / "registry.yml"
        config.write_text(json.dumps({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }))
        with open(self.directory / "registry.log", "wb") as log:
            self.server = subprocess.Popen(
                ["docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}, start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise process.Failed(f"docker-registry did not start: see {self.directory / 'registry.log'}")
            time.sleep(0.05)

    def _answers(self):
        try:
            return self._get("/v2/")[0] == 200
        except OSError:
            return False

    def _get(self, path, accept=MANIFESTS):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request("GET", path, headers={"Accept": accept})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def layers(self, name, tag="latest"):
        """The URLs of an image's layers."""
        status, body = self._get(f"/v2/{name}/manifests/{tag}")
        if status != 200:
            raise process.Failed(f"{name}:{tag} is not in the registry ({status})")
        return [f"http://{self.host}/v2/{name}/blobs/{layer['digest']}" for layer in json.loads(body)["layers"]]

    def stop(self):
        """Ends the server."""
        process.end(self.server, patience=10)
