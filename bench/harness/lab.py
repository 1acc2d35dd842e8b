"""Where workloads are measured: the tools, their turns, and the samples."""

import os
import sys
import tempfile
from pathlib import Path

from . import process


class Lab:
    """Runs commands of tools in turns and keeps what they took."""

    def __init__(self, tools, scratch, count, patience):
        self.tools = tools
        self.builder = tools[0]
        self.count = count
        self.samples = {}
        self.peaks = {}
        self.notes = []
        self._scratch = Path(scratch)
        self._patience = patience
        self._spent = {}
        self._out = set()

    def begin(self, name, base):
        """Starts a workload: every tool has an empty store and takes part again."""
        print(f"{name}", file=sys.stderr, flush=True)
        self._spent = dict.fromkeys(self.tools, 0.0)
        self._out = set()
        for each in self.tools:
            self.attempt(each, lambda each=each: each.fresh(base))

    def folder(self):
        """A new empty folder."""
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def turn(self, repetition=0):
        """The tools in the order of this repetition: A B C, B C A, ... A peer that has used up its time sits out."""
        at = repetition % len(self.tools)
        order = self.tools[at:] + self.tools[:at]
        return [
            each for each in order
            if each not in self._out and (each is self.builder or self._spent[each] < self._patience)
        ]

    def attempt(self, each, action):
        """Does something of a tool. One that fails takes no further part in the workload, and the report says why."""
        if each in self._out:
            return False
        try:
            action()
        except process.Failed as failure:
            self._out.add(each)
            self.note(f"{each.name} failed: {failure}")
            return False
        return True

    def note(self, text):
        """Something that the report must say."""
        print(f"  {text}", file=sys.stderr, flush=True)
        if text not in self.notes:
            self.notes.append(text)

    def add(self, row, each, sample):
        """Keeps a sample."""
        self.samples.setdefault(row, {}).setdefault(each.name, []).append(sample)
        print(f"  {row.title:<62} {each.name:<10} {sample.seconds * 1e3:>10.1f} ms", file=sys.stderr, flush=True)

    def time(self, row, each, command, output=None):
        """Runs a command of a tool and keeps how long it took."""
        # What was written before is not this tool's to wait for.
        os.sync()

        def measure():
            seconds = process.run(command, each.log, each.env)
            self._spent[each] += seconds
            size = output.stat().st_size if output else None
            self.add(row, each, process.Sample(seconds, output_bytes=size))

        self.attempt(each, measure)

    def peak(self, row, command):
        """Runs a command of builder's once more and keeps its peak memory."""

        def measure():
            size = process.peak(command, self.builder.log, self.builder.env)
            if size is not None:
                self.peaks[row] = size

        self.attempt(self.builder, measure)
