"""An object of kernels compiled beyond the program's baseline exports no weak symbol without its instruction set's name.

The linker keeps one copy of a weak symbol, whichever it meets first. Kept from here, a plain std::vector member would run
AVX-512 on a machine without it.
usage: check_weak_symbols.py NM ISA OBJECTS...
"""

import re
import subprocess
import sys


def main():
    nm, isa, *objects = sys.argv[1:]
    listing = subprocess.run([nm, "--defined-only", *objects], capture_output=True, text=True, check=True).stdout
    symbols = re.findall(r"^[0-9a-f]+ ([A-Za-z]) (\S+)$", listing, re.MULTILINE)
    if not any(kind == "T" for kind, _ in symbols):
        raise SystemExit("the object exports nothing at all")
    # v0_1_avx512 is our namespace, xsimd's tags are avx2, fma3<avx2>, avx512f, avx512bw.
    faults = [name for kind, name in symbols if kind in "WVu" and isa not in name and name != "DW.ref.__gxx_personality_v0"]
    print(f"{len(symbols)} symbols, without {isa} in their name: {len(faults)}", *faults, sep="\n")
    raise SystemExit(1 if faults else 0)


main()
