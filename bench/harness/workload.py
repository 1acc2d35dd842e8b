"""The workloads: what is built, how often, and what part of it is timed."""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from . import context, process, tool


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    aim: str = ""
    steps: int = 0


def _nonce():
    return secrets.token_hex(6)


def _dockerfile(lab, text):
    path = lab.folder() / "Dockerfile"
    path.write_text(text)
    return path


def warm(lab):
    """A rebuild where nothing changed."""
    row = Row("warm rebuild, 10 instructions in 2 stages, nothing changed", "8 ms")
    source = lab.folder()
    dockerfile = _dockerfile(lab, context.multi_stage(source))
    for each in lab.turn():
        lab.attempt(each, lambda each=each: each.build(source, dockerfile))
    for repetition in range(lab.count * 4):
        for each in lab.turn(repetition):
            lab.time(row, each, each.build_command(source, dockerfile))
    lab.peak(row, lab.builder.build_command(source, dockerfile))


def _cold(lab, row, text):
    source = lab.folder()
    for repetition in range(lab.count):
        dockerfile = _dockerfile(lab, text(_nonce()))
        for each in lab.turn(repetition):
            lab.time(row, each, each.build_command(source, dockerfile))
    lab.peak(row, lab.builder.build_command(source, _dockerfile(lab, text(_nonce()))))


def runs(lab):
    """Fifty steps that do nothing: the price of a step."""
    row = Row("50 × `RUN true`, cold", "3 ms a step", steps=50)
    _cold(lab, row, lambda nonce: context.commands(50, nonce))


def parallel(lab):
    """Sixteen stages that wait for a second."""
    row = Row("16 stages of `RUN sleep 1` and one that copies from each, cold", "1.1 s")
    _cold(lab, row, lambda nonce: context.sleepers(16, nonce))


def _copy(lab, files, aims, most):
    name = f"`COPY . .` of {files:,} small files"
    rows = [Row(f"{name}: {what}", aim) for what, aim in zip(("cold", "nothing changed", "one file changed"), aims)]
    dockerfile = _dockerfile(lab, "FROM localhost/bench-base\nWORKDIR /src\nCOPY . .\n")

    def round_(measure):
        source = lab.folder()
        context.small_files(source, files, _nonce())
        measure(rows[0], source)
        measure(rows[1], source)
        context.change_one(source, files, _nonce())
        measure(rows[2], source)
        tool.remove(source)

    for repetition in range(min(lab.count, most)):
        # The same tools in all three rows.
        tools = lab.turn(repetition)

        def timed(row, source, tools=tools):
            for each in tools:
                lab.time(row, each, each.build_command(source, dockerfile))

        round_(timed)
    round_(lambda row, source: lab.peak(row, lab.builder.build_command(source, dockerfile)))


def copy(lab):
    """A context of many small files."""
    _copy(lab, 20_000, ("1.0 s", "0.06 s", "0.25 s"), most=lab.count)


def copy_big(lab):
    """A context of five times as many."""
    _copy(lab, 100_000, ("5 s", "0.3 s", "1.25 s"), most=3)


def export(lab):
    """A layer of 1 GiB as an archive. The image is there; what is timed is the command that writes the archive."""
    source = lab.folder()
    context.real_files(source / "data", 1 << 30)
    dockerfile = _dockerfile(lab, "FROM localhost/bench-base\nCOPY . /data/\n")
    dest = lab.folder() / "image.tar"
    aims = {"uncompressed": "3.2 s", "gzip": "4.5 s", "zstd": "3.5 s"}
    rows = {kind: Row(f"1 GiB layer to an OCI archive, {kind}", aim) for kind, aim in aims.items()}

    def prepare(each):
        # A new layer, since a builder may remember the archive of one that it has written.
        (source / "nonce").write_text(_nonce())
        each.build(source, dockerfile)

    for each in lab.turn():
        lab.attempt(each, lambda each=each: prepare(each))
    for repetition in range(min(lab.count, 3)):
        for kind, row in rows.items():
            for each in lab.turn(repetition):
                if kind not in each.compressions:
                    continue
                if each.remembers_exports:
                    lab.attempt(each, lambda each=each: prepare(each))
                dest.unlink(missing_ok=True)
                lab.time(row, each, each.export_command(source, dockerfile, kind, dest), output=dest)
    for kind, row in rows.items():
        if lab.attempt(lab.builder, lambda: prepare(lab.builder)):
            dest.unlink(missing_ok=True)
            lab.peak(row, lab.builder.export_command(source, dockerfile, kind, dest))
    dest.unlink(missing_ok=True)


def inner(lab):
    """The parser and the scheduler alone, by the examples of their crates, which print `name  12.3 ms` lines."""
    aims = {"parse": "50 ms", "schedule": "200 ms"}
    titles = {"parse": "parse a 10,000-line Dockerfile", "schedule": "schedule a 10,000-vertex graph of no-ops"}
    for name, title in titles.items():
        program = Path(lab.builder.binary).parent / "examples" / f"{name}_bench"
        if not os.access(program, os.X_OK):
            lab.note(f"{title}: left out, {name}_bench is not built (`make bench` builds it).")
            continue
        for _ in range(lab.count):
            if not lab.attempt(lab.builder, lambda program=program: process.run([program], lab.builder.log)):
                break
            for label, figure in re.findall(r"^(\S[^\n]*?)\s+([\d.]+) ms", lab.builder.log.read_text(), re.MULTILINE):
                lab.add(Row(f"{title}: {label}", aims[name]), lab.builder, process.Sample(float(figure) / 1e3))


WORKLOADS = {
    "warm": warm, "runs": runs, "parallel": parallel, "copy": copy, "copy-big": copy_big, "export": export, "inner": inner,
}
