"""No loop of a kernel stores a vector register to the stack: accumulators stay in registers.

usage: check_spills.py OBJDUMP OBJECTS...   (objects built for x86-64 with optimisation; ymm or zmm code)
"""

import re
import subprocess
import sys

FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+)(?: +(.*))?$")
SPILL = re.compile(r"%[xyz]mm\d+,-?(0x[0-9a-f]+)?\(%r[sb]p[,)]")
KERNEL = re.compile("multiply_(int8_)?panel<|(multiply|score|weigh)_block<")


def functions(listing):
    name, body = None, []
    for line in listing.splitlines():
        if start := FUNCTION.match(line):
            if name:
                yield name, body
            name, body = start.group(1), []
        elif step := INSTRUCTION.match(line):
            body.append((int(step.group(1), 16), step.group(2), step.group(3) or ""))
    if name:
        yield name, body


def loops(body):
    first = body[0][0]
    for address, mnemonic, operands in body:
        if mnemonic.startswith("j") and (target := re.match(r"([0-9a-f]+)\b", operands)):
            if first <= int(target.group(1), 16) <= address:
                yield int(target.group(1), 16), address


def main():
    objdump, *objects = sys.argv[1:]
    command = [objdump, "-d", "-C", "--no-show-raw-insn", *objects]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels, faults = 0, []
    for name, body in functions(listing):
        if not KERNEL.search(name) or not body:
            continue
        kernels += 1
        inside = [step for low, high in loops(body) for step in body if low <= step[0] <= high]
        if not any("fma" in mnemonic or "vdpbf16" in mnemonic for _, mnemonic, _ in inside):
            faults.append(f"{name}: has no loop of multiply-adds")
        stores = {step for step in inside if step[1].startswith("vmov") and SPILL.search(step[2])}
        faults += [f"{name}: {address:x}: {mnemonic} {operands}" for address, mnemonic, operands in sorted(stores)]
    print(f"{kernels} kernels, {len(faults)} faults", *faults, sep="\n")
    raise SystemExit(1 if faults or kernels == 0 else 0)


main()
