"""A check that finds nothing on a tree full of faults is no check.

Makes a small tree, runs CHECK on it and compares the headers it names with those that have a fault.
usage: check_planted.py CHECK.py
"""

import pathlib
import subprocess
import sys
import tempfile

PLANTED = {
    "check_layers": {
        "core/up.hpp": '#include "headgate/layers/moe_layer.hpp"',
        "experts/sideways.hpp": '#include "headgate/routing/router.hpp"',
        "kernels/plan.hpp": '#include "headgate/routing/routing_plan.hpp"',
        "routing/simd.hpp": "#include <xsimd/xsimd.hpp>",
        "routing/format.hpp": "#include <fmt/core.h>",
        "models/json.hpp": "#include <nlohmann/json.hpp>",
        "models/pattern.hpp": "#include <pcre2.h>",
        "layers/thread.hpp": "#include <thread>",
        "layers/relative.hpp": '#include "moe_layer.hpp"',
        "helpers/any.hpp": "",
    },
    "check_mirrors": {"core/untested.hpp": ""},
    "check_shared": {
        "models/decoder.hpp": "struct Decoder { TopKSoftmax router; };",
        "models/session.hpp": '#include "headgate/attention/gqa.hpp"',
        "models/load.hpp": 'bool is_scaled(const char* family) { return family == "granitemoe"; }',
        "models/packer.hpp": "int gru = 0;",
        "layers/decoder_block.hpp": "struct ShortConvolution;",
        "models/families.hpp": '#include "headgate/models/unheard_of.hpp"',
    },
    "check_words": {
        "core/a.hpp": "void f() { std::abort(); }",
        "core/b.hpp": "int f(const char* s) { return atoi(s); }",
        "core/c.hpp": "void f() { std::cout << 1; }",
        "core/d.hpp": 'auto f() { return getenv("A"); }',
        "core/e.hpp": "#include <regex>",
        "core/f.hpp": "void f(int i) { assert(i); }",
        "core/g.hpp": "void f() { exit(1); }",
        "core/h.hpp": 'void f() { printf("x"); }',
        "core/j.hpp": "int f(int* i) { return __atomic_fetch_add(i, 1, __ATOMIC_RELAXED); }",
        "core/i.hpp": "void f() { const char c = '\"'; ::signal(2, 0); /* \" */ }",
    },
}
SOUND = {
    "core/sound.hpp": '#include <span>\nstatic_assert(true, "abort(");  // exit(1) and std::cout are words here\nint n = 10\'000;',
    "models/blueprint.hpp": "// a mixtral with softmax\nint first = 0;  // of a window, or gqa",
    "experts/sound.hpp": '#include "headgate/routing/routing_plan.hpp"\n#include "headgate/core/types.hpp"',
}


def main():
    check = pathlib.Path(sys.argv[1])
    faults = PLANTED[check.stem]
    with tempfile.TemporaryDirectory() as root:
        for name, text in {**SOUND, **faults}.items():
            path = pathlib.Path(root) / "include" / "headgate" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        for name in SOUND:
            test = pathlib.Path(root) / "tests" / name.replace(".hpp", "_test.cpp")
            test.parent.mkdir(parents=True, exist_ok=True)
            test.touch()
        result = subprocess.run([sys.executable, str(check), root], capture_output=True, text=True, check=False)
    print(result.stdout, result.stderr)
    missed = [name for name in faults if name not in result.stdout]
    invented = [name for name in SOUND if name in result.stdout]
    if result.returncode != 1 or missed or invented:
        raise SystemExit(f"exit code {result.returncode}, missed {missed}, wrongly named {invented}")


main()
