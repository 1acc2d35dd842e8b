"""Workloads with a registry on loopback: images that travel, and a cache that a second machine shares."""

import secrets
import shutil
from pathlib import Path
from statistics import median

from . import context, process, tool
from .registry import Registry
from .workload import Row

SIZE = 500 << 20
LAYERS = 4


def _dockerfile(lab, text):
    path = lab.folder() / "Dockerfile"
    path.write_text(text)
    return path


def _large(lab, registry):
    """Puts an image of 500 MB in four layers, gzip, into the registry; returns its name there."""
    source = lab.folder()
    for layer in range(LAYERS):
        context.real_files(source / f"layer-{layer}" / "data", SIZE // LAYERS)
        (source / f"layer-{layer}" / "nonce").write_text(secrets.token_hex(6))
    copies = "".join(f"COPY layer-{layer} /layer-{layer}/\n" for layer in range(LAYERS))
    dockerfile = _dockerfile(lab, f"FROM {tool.BASE}\n{copies}")
    archive = lab.folder() / "large.tar"
    lab.builder.build(source, dockerfile)
    process.run(lab.builder.export_command(source, dockerfile, "gzip", archive), lab.builder.log)
    name = f"{registry.host}/bench/large"
    process.run(
        ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci-archive:{archive}", f"docker://{name}:latest"],
        lab.builder.log,
    )
    archive.unlink()
    tool.remove(source)
    return name


def _floors(lab, registry, row):
    """Its download alone, all layers at once, and its decompression alone, one core."""
    urls = registry.layers("bench/large")
    here = lab.folder()
    files = [here / f"{number}.gz" for number in range(len(urls))]
    download = ["curl", "--silent", "--fail", "--parallel"]
    for url, file in zip(urls, files):
        download += [url, "--output", file]
    floors = {
        "its download alone (curl)": download,
        "its decompression alone (gzip -dc, one core)": ["sh", "-c", 'cat "$@" | gzip -dc >/dev/null', "sh", *files],
    }
    told = []
    for what, command in floors.items():
        times = [process.run(command, lab.builder.log) for _ in range(lab.count)]
        told.append(f"{what} {median(times):.2f} s ({min(times):.2f} s)")
    lab.note(f"{row.title}: {', '.join(told)}.")
    tool.remove(here)


def _with_registry(workload):
    def run(lab):
        for program in ("skopeo", "curl"):
            if shutil.which(program) is None:
                lab.note(f"{workload.__name__}: left out, {program} is not installed.")
                return
        registry = Registry(lab.folder())
        try:
            workload(lab, registry)
        finally:
            registry.stop()

    return run


def _travel(lab, registry):
    name = _large(lab, registry)
    pull = Row("pull and unpack of 500 MB in 4 gzip layers", "1.3 × the slower of the two alone")
    push = Row("push of 500 MB of which one small layer is new", "0.15 s")
    save = Row("save of the 500 MB that were pulled", "disk speed")
    _floors(lab, registry, pull)
    dest = lab.folder() / "saved.tar"
    for repetition in range(min(lab.count, 5)):
        for each in lab.turn(repetition):
            lab.attempt(each, lambda each=each: each.forget(name))
            lab.time(pull, each, each.pull_command(name))
    for repetition in range(min(lab.count, 5)):
        for each in lab.turn(repetition):
            dest.unlink(missing_ok=True)
            lab.time(save, each, each.save_command(name, dest), output=dest)
    dest.unlink(missing_ok=True)
    for repetition in range(lab.count):
        for each in lab.turn(repetition):
            source = lab.folder()
            (source / "nonce").write_text(secrets.token_hex(6))
            dockerfile = _dockerfile(lab, f"FROM {name}\nCOPY nonce /nonce\n")
            if lab.attempt(each, lambda each=each, source=source, file=dockerfile: each.build(source, file)):
                target = f"{registry.host}/bench/large:new-{secrets.token_hex(3)}"
                lab.attempt(each, lambda each=each, target=target: process.run(each.tag_command(target), each.log, each.env))
                lab.time(push, each, each.push_command(target))
    lab.builder.forget(name)
    lab.peak(pull, lab.builder.pull_command(name))


def _shared(lab, registry):
    """A second machine with nothing but a cache in a registry. builder alone: Docker 20.10 and buildah 1.28 have no
    such cache."""
    source = lab.folder()
    text = context.multi_stage(source)
    base = f"{registry.host}/bench/base"
    process.run(lab.builder.tag_command(base, tool.BASE), lab.builder.log)
    process.run(lab.builder.push_command(base), lab.builder.log)
    dockerfile = _dockerfile(lab, text.replace(tool.BASE, base))
    cache = f"type=registry,ref={registry.host}/bench/cache:latest"
    row = Row("a cold machine, everything in a registry's cache, `-o type=cacheonly`", "0.3 s")
    process.run(lab.builder.build_command(source, dockerfile, "--cache-to", f"{cache},mode=max"), lab.builder.log)
    for _ in range(lab.count):
        tool.remove(Path(lab.builder.root))
        lab.time(row, lab.builder, lab.builder.build_command(source, dockerfile, "--cache-from", cache, "-o", "type=cacheonly"))


def _named(name, function):
    function.__name__ = name
    return function


WORKLOADS = {
    "travel": _with_registry(_named("travel", _travel)),
    "shared": _with_registry(_named("shared", _shared)),
}
