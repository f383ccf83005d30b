"""Includes point down only, never sideways, and each third party has one door (include/headgate/README.md).

usage: check_layers.py ROOT
"""

import re
import sys

from source_text import INCLUDE, headers, report

RANK = {
    "core": 0,
    "kernels": 1, "io": 1, "interop": 1,
    "routing": 2, "experts": 2, "attention": 2, "tokenizer": 2, "sampling": 2,
    "layers": 3,
    "models": 4,
    "analysis": 5,
    "headgate.hpp": 6,
}  # fmt: skip
PLAN = "routing/routing_plan.hpp"  # the one thing that crosses
ALSO = {  # their plan is a plan
    "attention/bilevel_routing_attention.hpp": {"routing/region_router.hpp"},
    "attention/bilevel_causal_attention.hpp": {"routing/region_router.hpp"},
}
DOORS = [  # what is included, who may
    (r"xsimd/.*", r"kernels/simd/arch\.hpp"),
    (r"(unsupported/)?Eigen/.*", r"(kernels|interop)/eigen\.hpp|interop/shared_projection\.hpp"),
    (r"nlohmann/.*", r"io/json\.hpp"),
    (r"(pcre2|utf8proc)\.h", r"tokenizer/.*"),
    (r"fmt/.*", r"(io|analysis)/.*"),
    (r"j?thread|stop_token|pthread\.h|sched\.h", r"core/(thread_pool|available_threads)\.hpp"),
    (r"(CLI|catch2|benchmark)/.*", r"(?!)"),
    (r".*intrin\.h|arm_neon\.h", r"kernels/.*|core/float_modes\.hpp"),
]


def may_include(user, used):
    folder, used_folder = user.split("/")[0], used.split("/")[0]
    if folder == used_folder or RANK[used_folder] < RANK[folder] or used in ALSO.get(user, ()):
        return True
    return used == PLAN and RANK[folder] >= 2


def main():
    faults = []
    for name, text in headers(sys.argv[1]):
        folder = name.split("/")[0]
        if folder not in RANK:
            faults.append(f"{name}: folder {folder} has no place in the layers")
            continue
        for quote, included in INCLUDE.findall(text):
            if quote == '"':
                used = included.removeprefix("headgate/")
                if used == included:
                    faults.append(f'{name}: "{included}" is not named from headgate/')
                elif used.split("/")[0] not in RANK or not may_include(name, used):
                    faults.append(f"{name} may not include {included}")
            else:
                for door, owner in DOORS:
                    if re.fullmatch(door, included) and not re.fullmatch(owner, name):
                        faults.append(f"{name} may not include <{included}>")
    report(faults)


main()
