"""core and routing need the standard library alone: with Scalar as the backend they compile, link and route where there is
no xsimd, and a program that names no backend fails to compile there.

usage: check_standard_library_alone.py ROOT COMPILER FLAGS...
"""

import pathlib
import subprocess
import sys
import tempfile

from source_text import headers


def folders_of(compiler):
    """Where the compiler looks for <...>."""
    shown = subprocess.run([*compiler, "-x", "c++", "-E", "-v", "/dev/null"], capture_output=True, text=True, check=True).stderr
    lines = shown.split("#include <...> search starts here:\n")[1].split("End of search list")[0].splitlines()
    return [pathlib.Path(line.split(" (framework")[0].strip()) for line in lines if line.startswith(" ")]


def main():
    root, *compiler = sys.argv[1:]
    compiler = [flag for flag in compiler if not flag.startswith(("-I", "-idirafter", "-isystem"))]
    names = [name for name, _ in headers(root) if name.startswith(("core/", "routing/"))] + ["kernels/scalar.hpp"]
    text = "".join(f'#include "headgate/{name}"\n' for name in names)
    use = """
int main() {
  const float gate[] = {1, 0, 0, 1};
  const auto router = headgate::mixtral_router<BACKEND>({.gate = {gate, 2, 2}}, 1).value();
  headgate::NoState state;
  headgate::RoutingPlan plan;
  headgate::Context context;
  return router.route({.hidden = {gate, 1, 2}}, state, plan, context).ok() && plan.experts()[0] == 0 ? 0 : 1;
}
"""
    with tempfile.TemporaryDirectory() as out:
        include = [f"-I{root}/include"]
        for i, folder in enumerate(folders_of(compiler)):
            if (folder / "xsimd").exists():  # the same folder without it
                twin = pathlib.Path(out) / str(i)
                twin.mkdir()
                for entry in folder.iterdir():
                    if entry.name != "xsimd":
                        (twin / entry.name).symlink_to(entry)
                folder = twin
            include += ["-isystem", str(folder)]
        command = [*compiler, "-nostdinc", "-nostdinc++", *include, "-x", "c++", "-"]
        made = [*command, "-o", f"{out}/program"]
        subprocess.run(made, input=text + use.replace("BACKEND", "headgate::Scalar"), text=True, check=True)
        subprocess.run([f"{out}/program"], check=True)
        native = subprocess.run([*command, "-fsyntax-only"], input=text + use.replace("BACKEND", ""), text=True,
                                capture_output=True, check=False)  # fmt: skip
        if native.returncode == 0 or "NativeBackend" not in native.stderr:
            raise SystemExit(f"without xsimd there is a NativeBackend, or the compiler does not name it:\n{native.stderr}")


main()
