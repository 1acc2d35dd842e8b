"""Samples as a Markdown table."""

import json
from pathlib import Path
from statistics import median

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def _time(seconds):
    if seconds < 0.1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _cell(row, samples, own):
    if not samples:
        return "–"
    times = [sample.seconds for sample in samples]
    text = f"{_time(median(times))} ({_time(min(times))})"
    if row.steps:
        text += f", {median(times) / row.steps * 1e3:.1f} ms a step"
    if samples[0].output_bytes:
        text += f", {samples[0].output_bytes / 1e6:.0f} MB"
    if own and samples is not own:
        text += f", **×{median(times) / median(sample.seconds for sample in own):.1f}**"
    return text + f" [{len(times)}]"


def table(lab):
    """The table of all rows measured."""
    names = [each.name for each in lab.tools]
    lines = [
        f"| workload | aim | {' | '.join(names)} | peak memory of builder |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    for row, by_tool in lab.samples.items():
        own = by_tool.get(names[0])
        cells = [_cell(row, by_tool.get(name), own) for name in names]
        peak = f"{lab.peaks[row] / 1e6:.0f} MB" if row in lab.peaks else "–"
        lines.append(f"| {row.title} | {row.aim} | {' | '.join(cells)} | {peak} |")
    return "\n".join(lines)


def markdown(lab, machine, absent):
    """The whole report."""
    versions = [(each.name, each.version()) for each in lab.tools]
    parts = ["\n".join(f"- {name}: {value}" for name, value in [*machine, *versions])]
    parts.append("Median (minimum) [number of runs]; **×** says how many times as long as builder, by medians.")
    parts.append(table(lab))
    notes = [f"{name}: {reason}" for name, reason in absent] + lab.notes
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def write(path, text):
    """Puts the report between the markers of a file; adds them where they are missing."""
    path = Path(path)
    old = path.read_text() if path.exists() else "# Benchmarks\n"
    block = f"{BEGIN}\n{text}{END}"
    if BEGIN in old and END in old:
        new = old[: old.index(BEGIN)] + block + old[old.index(END) + len(END) :]
    else:
        new = old.rstrip("\n") + f"\n\n{block}\n"
    path.write_text(new)


def raw(lab, machine):
    """All samples as JSON."""
    return json.dumps({
        "machine": dict(machine),
        "versions": {each.name: each.version() for each in lab.tools},
        "rows": [
            {
                "workload": row.title,
                "peak_bytes": lab.peaks.get(row),
                "seconds": {name: [sample.seconds for sample in samples] for name, samples in by_tool.items()},
                "output_bytes": {name: samples[0].output_bytes for name, samples in by_tool.items()},
            }
            for row, by_tool in lab.samples.items()
        ],
    }, indent=2)
