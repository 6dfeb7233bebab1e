# SPDX-License-Identifier: GPL-2.0
"""Makes a table, JSON and an SVG chart of what scripts/bench measured.

    report.py FOLDER LIMIT

FOLDER/results has lines `DRIVER ROW TENTHS`: tenths of instructions for one read; and, for ten thousand reads,
`DRIVER ROW.signals N`, signals to the host, `ROW.needless`, those that the host had no use for, and `ROW.interrupts`,
interrupts of the host. Ends with 1 if a row's ratio of rust to c is above LIMIT.
"""

import json
import os
import re
import sys

TEXT = {
    "read_4k_qd1": "4 KiB read, one at a time, 1 CPU",
    "read_4k_qd32": "4 KiB read, 32 at a time, 1 CPU",
    "read_256k_qd1": "256 KiB read, one at a time, 1 CPU",
    "read_256k_qd8": "256 KiB read, 8 at a time, 1 CPU",
}


# What is counted beside instructions, and the width of its column for the C driver.
KINDS = {"signals": 10, "needless": 11, "interrupts": 13}


def describe(row):
    """The row's name for people."""
    match = re.fullmatch(r"read_4k_qd32_cpus(\d+)_channels(\d+)", row)
    if match:
        return f"4 KiB read, 32 at a time on each of {match[1]} CPU(s), {match[2]} channel(s)"
    return TEXT.get(row, row)


def load(path):
    """Rows in the order in which they were measured: name, instructions by driver; and what is counted beside them, by row,
    kind and driver."""
    rows, beside = {}, {}
    with open(path, encoding="ascii") as file:
        for line in file:
            driver, row, value = line.split()
            name, _, kind = row.partition(".")
            if kind:
                beside.setdefault(name, {}).setdefault(kind, {})[driver] = int(value) / 10000
            else:
                rows.setdefault(name, {})[driver] = int(value) / 10
    return {name: row for name, row in rows.items() if {"c", "rust"} <= row.keys()}, beside


def scaling(rows, driver):
    """IOPS of N CPUs relative to one, if each executed as many instructions in a second."""
    one = rows.get("read_4k_qd32_cpus1_channels1", {}).get(driver)
    out = {}
    for name, row in rows.items():
        match = re.fullmatch(r"read_4k_qd32_cpus(\d+)_channels(\d+)", name)
        if match and one:
            out[f"{match[1]} CPUs, {match[2]} channels"] = round(int(match[1]) * one / row[driver], 2)
    return out


def svg(rows):
    """Bars: instructions of our driver relative to the C driver's."""
    width, left, bar = 760, 400, 22
    height = 60 + bar * 2 * len(rows)
    top = max(max(row["rust"] / row["c"] for row in rows.values()), 1.0) * 1.1
    scale = (width - left - 70) / top
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="14">Instructions for one read, relative to the C driver</text>',
    ]
    y = 36
    for name, row in rows.items():
        for driver, colour in (("c", "#9aa5b1"), ("rust", "#b7410e")):
            length = row[driver] / row["c"] * scale
            out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 4}" fill="{colour}"/>')
            out.append(f'<text x="{left + length + 5:.1f}" y="{y + 13}">{row[driver]:.0f}</text>')
            y += bar - 2
        out.append(f'<text x="{left - 8}" y="{y - bar + 6}" text-anchor="end">{describe(name)}</text>')
        y += 4
    x = left + scale
    out.append(f'<line x1="{x:.1f}" y1="30" x2="{x:.1f}" y2="{y}" stroke="black" stroke-dasharray="3 3"/>')
    out.append(f'<text x="{left}" y="{y + 16}">grey: C driver, rust: ours; numbers are instructions</text></svg>')
    return "\n".join(out) + "\n"


def main():
    """Reads, writes, prints, judges."""
    folder, limit = sys.argv[1], float(sys.argv[2])
    rows, beside = load(os.path.join(folder, "results"))
    if not rows:
        sys.exit("nothing was measured")
    width = max(len(describe(name)) for name in rows)
    print(f"{'instructions for one':{width}} {'C':>10} {'Rust':>10} {'ratio':>7}")
    worst = 0.0
    for name, row in rows.items():
        ratio = row["rust"] / row["c"]
        worst = max(worst, ratio)
        print(f"{describe(name):{width}} {row['c']:10.1f} {row['rust']:10.1f} {ratio:7.3f}{'  above the limit' if ratio > limit else ''}")
    print(f"{'for one read':{width}} {'signals C':>10} {'Rust':>7} {'needless C':>11} {'Rust':>7} {'interrupts C':>13} {'Rust':>7}")
    for name in rows:
        line = f"{describe(name):{width}}"
        for kind, column in KINDS.items():
            line += f" {beside[name][kind]['c']:{column}.4f} {beside[name][kind]['rust']:7.4f}"
        print(line)
    scales = {driver: scaling(rows, driver) for driver in ("c", "rust")}
    for setup, factor in scales["c"].items():
        print(f"IOPS of {setup} relative to one CPU: C {factor:.2f}, Rust {scales['rust'][setup]:.2f}")
    result = {
        "unit": "instructions per read",
        "limit": limit,
        "rows": {
            name: {"what": describe(name), **row, "ratio": round(row["rust"] / row["c"], 4), **beside[name]}
            for name, row in rows.items()
        },
        "scaling": scales,
    }
    with open(os.path.join(folder, "storage.json"), "w", encoding="ascii") as file:
        json.dump(result, file, indent=2)
        file.write("\n")
    with open(os.path.join(folder, "storage.svg"), "w", encoding="ascii") as file:
        file.write(svg(rows))
    print(f"written: {folder}/storage.json, {folder}/storage.svg")
    sys.exit(0 if worst <= limit else 1)


main()
