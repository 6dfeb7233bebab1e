# SPDX-License-Identifier: GPL-2.0
"""Makes a table and JSON of what scripts/bench-net or scripts/bench-balloon measured.

    rows.py net|balloon FOLDER LIMIT

FOLDER/results has lines `DRIVER ROW TENTHS`: tenths of instructions for one frame or page, without those of the test bus's
host, which ROW.host has, and `DRIVER ROW.signals N`: signals to the host for a hundred of them. Ends with 1 if a row's ratio
of rust to c is above LIMIT, or if the C driver lacks a row.
"""

import json
import os
import sys

NET = {
    "tx_64_alone": "send 64 bytes, one at a time",
    "tx_64": "send 64 bytes, 64 at a time",
    "tx_64_burst8": "send 64 bytes, announced in runs of 8 (xmit_more)",
    "tx_64_clone": "send 64 bytes, clones as TCP's",
    "tx_1514": "send 1514 bytes",
    "lso_64k": "send 60 KiB of TCP in one go",
    "rx_64": "receive 64 bytes, a packet each",
    "rx_64_ranges32": "receive 64 bytes, 32 in a packet",
    "rx_1514": "receive 1514 bytes, a packet each",
    "rx_1514_ranges32": "receive 1514 bytes, 32 in a packet",
    "rx_64_socket": "receive 64 bytes, a packet each, through a UDP socket",
    "rx_9000": "receive 9014 bytes, 8 in a packet",
    "rsc_64k": "receive 64 KiB of TCP, coalesced from 43 pieces",
    "xdp_drop": "XDP_DROP, 64 bytes, 32 in a packet",
    "xdp_tx": "XDP_TX, 64 bytes, 32 in a packet",
    "xdp_redirect_in": "redirected by XDP from another card, 64 bytes",
    "attach": "from the offer to the interface",
}
BALLOON = {
    "blocks_up": "give 64 MiB, as blocks of 2 MiB",
    "blocks_down": "take them back",
    "pages_up": "give 16 MiB, where no page has a free neighbour",
    "pages_down": "take them back, in single pages",
}


def load(path):
    """The figures by row and driver."""
    rows = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            driver, row, value = line.split()
            name, _, kind = row.partition(".")
            scale = 100 if kind == "signals" else 10
            rows.setdefault(name, {}).setdefault(driver, {})[kind or "instructions"] = int(value) / scale
    return rows


def main():
    """Reads, prints, writes, judges."""
    kind, folder, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
    text, unit = {"net": (NET, "instructions for one"), "balloon": (BALLOON, "instructions for a page")}[kind]
    rows = load(os.path.join(folder, "results"))
    missing = [name for name in text if "c" not in rows.get(name, {})]
    if missing:
        sys.exit(f"not measured with the C driver: {', '.join(missing)}")
    width = max(map(len, text.values()))
    print(f"{unit:{width}} {'C':>10} {'Rust':>10} {'ratio':>7} {'signals C':>10} {'Rust':>6}")
    worst = 0.0
    for name, what in text.items():
        row = rows[name]
        c, ours = row["c"], row.get("rust")
        line = f"{what:{width}} {c['instructions']:10.1f}"
        if ours:
            row["ratio"] = round(ours["instructions"] / c["instructions"], 4)
            worst = max(worst, row["ratio"])
            above = "  above the limit" if row["ratio"] > limit else ""
            line += f" {ours['instructions']:10.1f} {row['ratio']:7.3f} {c['signals']:10.2f} {ours['signals']:6.2f}{above}"
        else:
            line += f" {'-':>10} {'-':>7} {c['signals']:10.2f} {'-':>6}"
        print(line)
    path = os.path.join(folder, f"{kind}.json")
    with open(path, "w", encoding="ascii") as file:
        result = {"unit": "instructions", "limit": limit, "rows": {n: {"what": text[n], **rows[n]} for n in text}}
        json.dump(result, file, indent=2)
        file.write("\n")
    print(f"written: {path}")
    sys.exit(0 if worst <= limit else 1)


main()
