# SPDX-License-Identifier: GPL-2.0
"""Makes a table and JSON of what scripts/bench-ring measured.

    hv_ring.py FOLDER LIMIT

FOLDER/results has lines `BUS ROW TENTHS`: tenths of instructions for one packet or interrupt. Ends with 1 if a row's
ratio of rust to c is above LIMIT.
"""

import json
import os
import sys

TEXT = {
    "send_64": "send 64 bytes",
    "send_64_id": "send 64 bytes, with a request id of the requestor",
    "take_id": "look up and free a request id",
    "send_pages": "send a page's number and 64 bytes, with a request id",
    "receive_64": "receive 64 bytes (vmbus_recvpacket)",
    "iterate_64": "receive 64 bytes (hv_pkt_iter, 32 packets a round)",
    "dispatch_isr": "interrupt to callback, in the interrupt",
    "dispatch_batched": "interrupt to callback, through the tasklet",
}


def main():
    """Reads, prints, writes, judges."""
    folder, limit = sys.argv[1], float(sys.argv[2])
    rows = {}
    with open(os.path.join(folder, "results"), encoding="ascii") as file:
        for line in file:
            bus, row, tenths = line.split()
            rows.setdefault(row, {})[bus] = int(tenths) / 10
    missing = [name for name in TEXT if {"c", "rust"} - rows.get(name, {}).keys()]
    if missing:
        sys.exit(f"not measured on both: {', '.join(missing)}")
    width = max(map(len, TEXT.values()))
    print(f"{'instructions, bus':{width}} {'C':>8} {'Rust':>8} {'ratio':>7}")
    for name, what in TEXT.items():
        row = rows[name]
        row["ratio"] = round(row["rust"] / row["c"], 4)
        above = "  above the limit" if row["ratio"] > limit else ""
        print(f"{what:{width}} {row['c']:8.1f} {row['rust']:8.1f} {row['ratio']:7.3f}{above}")
    path = os.path.join(folder, "bus.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump(
            {"unit": "instructions", "limit": limit, "rows": {n: {"what": TEXT[n], **rows[n]} for n in TEXT}},
            file,
            indent=2,
        )
        file.write("\n")
    print(f"written: {path}")
    sys.exit(0 if max(rows[n]["ratio"] for n in TEXT) <= limit else 1)


main()
