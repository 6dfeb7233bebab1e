# SPDX-License-Identifier: GPL-2.0
"""Says to which functions the instructions of one operation go, for scripts/bench-profile.

    profile.py FOLDER SYSTEM.MAP LINES MODULE=FILE...

FOLDER/1/counts and 2/counts are what the plugin of profile.c has written in two runs, 1/log and 2/log their consoles: the
second run has more operations. Prints a table of LINES functions, and writes all of them to FOLDER/functions, and how often
each address is executed for one operation to FOLDER/addresses.
"""

import bisect
import collections
import os
import re
import subprocess
import sys

# Functions of the test bus that are those of a real one: what a driver calls to send and to receive.
BUS = re.compile(r"ring_send|ring_put|hv_pkt_iter_\w+|__hv_pkt_iter_next|vmbus_\w+")


def counts(path):
    """How often each address was executed."""
    result = collections.Counter()
    with open(path, encoding="ascii") as file:
        for line in file:
            times, *addresses = line.split()
            for address in addresses:
                result[int(address, 16)] += int(times)
    return result


def notes(path):
    """The number of operations, and where sections of modules lie."""
    operations, sections = 0, {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if found := re.search(r"rlis-profile: operations (\d+)", line):
                operations += int(found[1])
            if found := re.search(r"rlis-profile: section (\S+) (\S+) 0x([0-9a-f]+)", line):
                sections[found[1], found[2]] = int(found[3], 16)
    return operations, sections


def output(*command, text=None):
    """What a command prints."""
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def of_kernel(path):
    """The kernel's functions: (address, name, module)."""
    with open(path, encoding="ascii") as file:
        for line in file:
            address, kind, name = line.split()
            if kind in "tTwW":
                yield int(address, 16), name, "kernel"


def of_module(module, path, sections):
    """The same of a module that was loaded."""
    names = dict(re.findall(r"\[\s*(\d+)\] (\S+)", output("readelf", "-SW", path)))
    for line in output("readelf", "-sW", path).splitlines():
        fields = line.split()
        if len(fields) != 8:
            continue
        _, value, size, kind, _, _, section, name = fields
        start = sections.get((module, names.get(section)))
        # Assembler has functions without a type.
        if start is None or not (kind == "FUNC" or kind == "NOTYPE" and int(size, 0)) or name.startswith("__pfx_"):
            continue
        yield start + int(value, 16), name, module


def readable(names):
    """The names without what Rust adds to them."""
    plain = output("c++filt", "-s", "rust", text="\n".join(names)).split("\n")
    short = (re.sub(r"\[[0-9a-f]+\]|::h[0-9a-f]{16}$", "", name) for name in plain)
    return dict(zip(names, (re.sub(r"\b(\w+::)+(?=\w+::\w)", "", name) for name in short)))


def main():
    """Reads, subtracts, prints, writes."""
    folder, system_map, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
    few, sections = notes(os.path.join(folder, "1", "log"))
    many, again = notes(os.path.join(folder, "2", "log"))
    if many <= few or not sections or sections != again:
        sys.exit(f"{few} and {many} operations, {len(sections)} sections: the two runs cannot be compared")
    before, after = (counts(os.path.join(folder, run, "counts")) for run in ("1", "2"))
    one = {at: (n - before[at]) / (many - few) for at, n in after.items() if n != before[at]}

    symbols = list(of_kernel(system_map))
    for module, path in (argument.split("=", 1) for argument in sys.argv[4:]):
        symbols += of_module(module, path, sections)
    symbols.sort()
    starts = [symbol[0] for symbol in symbols]
    functions, calls, modules = collections.Counter(), {}, collections.Counter()
    for address, times in one.items():
        start, name, module = symbols[bisect.bisect(starts, address) - 1]
        functions[module, name] += times
        part = "hv_loop, as the bus" if module == "hv_loop" and BUS.fullmatch(name) else module
        modules[part] += times
        if address == start:
            calls[module, name] = times

    total = sum(one.values())
    print(f"{total:10.1f} instructions for one operation")
    for module, times in modules.most_common():
        print(f"{times:10.1f} {100 * times / total:5.1f} %  {module}")
    text = readable([name for _, name in functions])
    rows = [
        f"{times:10.1f} {100 * times / total:5.1f} % {calls.get(key, 0):8.2f} calls  {key[0]:10} {text[key[1]]}"
        for key, times in functions.most_common()
    ]
    print("\n".join(["", *rows[:lines]]))
    with open(os.path.join(folder, "functions"), "w", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    with open(os.path.join(folder, "addresses"), "w", encoding="ascii") as file:
        file.writelines(f"{address:x} {times:.3f}\n" for address, times in sorted(one.items()))
    print(f"\nwritten: {folder}/functions, {folder}/addresses")


main()
