"""make.cpp and use.cpp exchange a RoutingPlan: they link with equal flags and not with different ones.

usage: check_link.py FOLDER COMPILER FLAGS...
"""

import itertools
import pathlib
import subprocess
import sys
import tempfile

FLAGS = {
    "base": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mfma"],
    "dispatch": ["-DHEADGATE_DISPATCH=1"],
}


def main():
    folder, *compiler = sys.argv[1:]
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
            if made != used and (link.returncode == 0 or "undefined reference to `count" not in link.stderr):
                faults.append(f"{made} links with {used}:\n{link.stderr}")
        # The baseline runs on every machine.
        subprocess.run([*compiler, objects["base", "make"], objects["base", "use"], "-o", program], check=True)
        subprocess.run([program], check=True)
    print("\n".join(faults))
    raise SystemExit(1 if faults else 0)


main()
