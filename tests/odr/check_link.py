"""make.cpp and use.cpp exchange types of ours (exchange.hpp): they link with equal flags and not with different ones.

usage: check_link.py FOLDER COMPILER FLAGS...
"""

import itertools
import pathlib
import subprocess
import sys
import tempfile

AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl"]
FLAGS = {
    "sse2": [],
    "sse4": ["-msse4.1"],
    "avx": ["-mavx"],
    "avx_fma": ["-mfma"],
    "avx_fma4": ["-mfma4"],
    "avx2_unfused": ["-mavx2"],
    "avx2": ["-mavx2", "-mfma"],
    "avx512f_alone": ["-mavx512f"],
    "avx512f": ["-mavx512f", "-mfma"],
    "avx512": [*AVX512, "-mfma"],
    "avx512_vnni": [*AVX512, "-mfma", "-mavx512vnni"],
    "avx512_bf16": [*AVX512, "-mfma", "-mavx512vnni", "-mavx512bf16"],
    "avx_vnni": ["-mavx2", "-mfma", "-mavxvnni"],
    "sse2_dispatch": ["-DHEADGATE_DISPATCH=1"],
    "avx2_dispatch": ["-DHEADGATE_DISPATCH=1", "-mavx2", "-mfma"],
    "sse2_no_exceptions": ["-fno-exceptions"],
}
EXCHANGED = ["count", "empty", "several", "shared"]


def main():
    folder, *compiler = sys.argv[1:]
    predefined = subprocess.run([*compiler, *FLAGS["avx512f_alone"], "-dM", "-E", "-x", "c++", "/dev/null"],
                                capture_output=True, text=True, check=True).stdout  # fmt: skip
    if "__FMA__" in predefined:  # clang: there is no AVX-512 without fused multiply-adds
        del FLAGS["avx512f_alone"]
    faults = []
    with tempfile.TemporaryDirectory() as out:
        objects = {}
        for (name, flags), unit in itertools.product(FLAGS.items(), ("make", "use")):
            objects[name, unit] = str(pathlib.Path(out) / f"{unit}_{name}.o")
            source = str(pathlib.Path(folder) / f"{unit}.cpp")
            subprocess.run([*compiler, *flags, "-c", source, "-o", objects[name, unit]], check=True)
        for made, used in itertools.product(FLAGS, FLAGS):
            program = str(pathlib.Path(out) / "program")
            link = subprocess.run([*compiler, objects[made, "make"], objects[used, "use"], "-o", program],
                                  capture_output=True, text=True, check=False)  # fmt: skip
            if made == used and link.returncode != 0:
                faults.append(f"{made} with itself does not link:\n{link.stderr}")
            for name in EXCHANGED if made != used else ():
                if f"undefined reference to `{name}" not in link.stderr:
                    faults.append(f"{name} of {used} links with {made}")
            if made == used and f"_{made}" not in pathlib.Path(objects[used, "use"]).read_bytes().decode("latin-1"):
                faults.append(f"the tag of {made} is another")
        # The baseline runs on every machine.
        subprocess.run([*compiler, objects["sse2", "make"], objects["sse2", "use"], "-o", program], check=True)
        subprocess.run([program], check=True)
    print("\n".join(faults))
    raise SystemExit(1 if faults else 0)


main()
