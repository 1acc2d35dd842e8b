"""The command line."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from . import lab as laboratory
from . import leftovers, machine, namespace, process, report, tool, travel, workload

PROJECT = Path(__file__).resolve().parents[2]
WORKLOADS = workload.WORKLOADS | travel.WORKLOADS


def arguments():
    """What was asked for."""
    names = ", ".join(WORKLOADS)
    parser = argparse.ArgumentParser(prog="bench/run", description="Compares builder with Docker and buildah.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{names}; all but copy-big without any")
    parser.add_argument("-n", "--repetitions", type=int, default=5, help="runs of each (5; the warm rebuild four times as many)")
    parser.add_argument("--big", action="store_true", help="with copy-big: 100,000 files")
    parser.add_argument("--tools", help=f"peers to compare with, of {', '.join(tool.PEERS)}; an empty list for none (BuildKit,buildah)")
    parser.add_argument("--patience", type=float, default=120, metavar="SECONDS", help="a peer that used this much in a workload sits out its rest (120)")
    parser.add_argument("--builder", type=Path, default=PROJECT / "target/release/builder", help="the binary")
    parser.add_argument("--dir", type=Path, default=PROJECT / "target/bench", help="where stores and contexts go; its file system is what is measured")
    parser.add_argument("--write", action="store_true", help="put the table into docs/BENCHMARKS.md")
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {unknown[0]}; there are {names}")
    chosen.workloads = chosen.workloads or [name for name in WORKLOADS if name != "copy-big"]
    if chosen.big and "copy-big" not in chosen.workloads:
        chosen.workloads.append("copy-big")
    peers = ["BuildKit", "buildah"] if chosen.tools is None else [name for name in chosen.tools.split(",") if name]
    unknown = [name for name in peers if name not in tool.PEERS]
    if unknown:
        parser.error(f"no tool {unknown[0]}; there are {', '.join(tool.PEERS)}")
    chosen.tools = peers
    if chosen.repetitions < 1:
        parser.error("at least one repetition")
    return chosen


def measure(chosen, scratch, runtime):
    """Runs all workloads and reports. Everything here happens in namespaces of its own."""
    described = machine.describe(scratch)
    if os.getloadavg()[0] > 0.7:
        print("The machine is not quiet: trust minimums and ratios, not medians.", file=sys.stderr)
    base = Path(scratch) / "base.tar"
    process.run([PROJECT / "testdata/base/busybox.sh", base], Path(scratch) / "log")
    tools, absent = [tool.Builder(scratch, runtime, chosen.builder.resolve())], []
    try:
        for name in chosen.tools:
            kind = tool.PEERS[name]
            reason = kind.missing()
            if reason:
                absent.append((name, reason))
                continue
            each = kind(scratch, runtime)
            try:
                each.start()
            except process.Failed as failure:
                absent.append((name, str(failure)))
                each.stop()
                continue
            tools.append(each)
        for name, reason in absent:
            print(f"{name}: {reason}", file=sys.stderr)
        place = laboratory.Lab(tools, scratch, chosen.repetitions, chosen.patience)
        for name in chosen.workloads:
            place.begin(name, base)
            WORKLOADS[name](place)
        text = report.markdown(place, described, absent)
        print(text)
        if chosen.write:
            report.write(PROJECT / "docs/BENCHMARKS.md", text)
        if chosen.json:
            chosen.json.write_text(report.raw(place, described))
    finally:
        for each in tools:
            each.stop()
    return 0


def main():
    """Prepares, measures, cleans up."""
    chosen = arguments()
    if os.geteuid() != 0:
        print("bench/run: stores, overlays and dockerd need root; run it with sudo", file=sys.stderr)
        return 1
    if not os.access(chosen.builder, os.X_OK):
        print(f"bench/run: {chosen.builder} is missing; `make build` makes it", file=sys.stderr)
        return 1
    chosen.dir.mkdir(parents=True, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix="run-", dir=chosen.dir.resolve())
    present = leftovers.before()
    # For sockets, whose paths must be short.
    runtime = tempfile.mkdtemp(prefix="bench-", dir="/tmp")
    try:
        return namespace.enter(lambda: measure(chosen, scratch, runtime))
    finally:
        # The namespaces are gone, and with them every mount below these and every process that wrote there.
        tool.remove(scratch)
        shutil.rmtree(runtime, ignore_errors=True)
        leftovers.remove(present)
