"""Every header has a test file: include/headgate/io/json.hpp -> tests/io/json_test.cpp.

usage: check_mirrors.py ROOT
"""

import pathlib
import sys

from source_text import headers, report

# Headers with nothing of their own to run, or one user through whom they are tested; and where.
ELSEWHERE = {
    "headgate.hpp": "tests/consume/main.cpp",
    "attention/added_projection.hpp": "tests/layers/routed_addition_test.cpp",
    "attention/attention_projections.hpp": "tests/attention/gqa_test.cpp",
    "core/compute.hpp": "tests/models/load_test.cpp",
    "core/config.hpp": "tests/odr/check_link.py",
    "core/types.hpp": "tests/core/matrix_view_test.cpp",
    "experts/experts.hpp": "tests/experts/any_experts_test.cpp",
    "experts/expert_batch.hpp": "tests/experts/glu_experts_test.cpp",
    "experts/glu_layout.hpp": "tests/experts/glu_experts_test.cpp",
    "layers/factored_parts.hpp": "tests/layers/monet_experts_test.cpp",
    "models/quantize_plan.hpp": "tests/models/quantize_test.cpp",
    "routing/product_keys.hpp": "tests/routing/peer_router_test.cpp",
    "routing/query_norm.hpp": "tests/routing/peer_router_test.cpp",
    "tokenizer/character_class.hpp": "tests/tokenizer/pattern_test.cpp",
    "tokenizer/chat_formats.hpp": "tests/tokenizer/chat_format_test.cpp",
    "tokenizer/chat_text.hpp": "tests/tokenizer/chat_format_test.cpp",
    "tokenizer/chat_turn_formats.hpp": "tests/tokenizer/chat_format_test.cpp",
    "tokenizer/class_syntax.hpp": "tests/tokenizer/pattern_syntax_test.cpp",
    "tokenizer/pattern_code.hpp": "tests/tokenizer/pattern_test.cpp",
    "tokenizer/pattern_cursor.hpp": "tests/tokenizer/pattern_syntax_test.cpp",
    "tokenizer/unicode_tables.hpp": "tests/tokenizer/unicode_properties_test.cpp",
}


def main():
    root = pathlib.Path(sys.argv[1])
    faults = []
    for name, _ in headers(root):
        test = ELSEWHERE.get(name, "tests/" + name.removesuffix(".hpp") + "_test.cpp")
        if not (root / test).exists():
            faults.append(f"{name} has no {test}")
    report(faults)


if __name__ == "__main__":
    main()
