"""What all models share knows no kind: a family, a router or a mixer is named in its own header and part alone.

Comments may name them, code and strings may not. A family of one's own stays short: examples/07_your_family.cpp.
usage: check_shared.py ROOT
"""

import pathlib
import re
import sys

from source_text import headers, report

SHARED = [
    "attention/any_mixer.hpp", "attention/mixer.hpp", "attention/sequence_state.hpp", "layers/decoder_block.hpp",
    "layers/linear.hpp", "layers/norm.hpp",
    *(f"models/{name}.hpp" for name in (
        "blueprint", "build_model", "decoder", "description", "embedding", "find_weights", "load",
        "memory_plan", "model_config", "packer", "part", "rope_list", "routing_rule", "scoped_hook", "scratch_count",
        "session", "session_options", "weight_count", "weight_rows", "weight_use")),
]  # fmt: skip
KINDS = {
    "family": r"mixtral|olmoe|qwen|granite|deepseek|glm|phi_?moe|gpt_?oss|llama|lfm2|mellum|ernie|headgate_?moe|gemma",
    "router": r"soft_?max|sigmoid|sparse_?mixer|(?<![a-z])gru(?![a-z])|null_?expert|balanc|grouped_?top|region|top_?k_",
    "mixer": r"gqa|grouped_?query|kvcache|kv_cache\.hpp|mla(?![a-z])|latent|convol|(?<![a-z])fir(?!st)|bi_?level"
             r"|window|sliding|recurr|delta_?net|mamba|sinks",
}  # fmt: skip
COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
FAMILIES = "models/families.hpp"
EXAMPLE = "examples/07_your_family.cpp"
MOST_LINES = 80


def faults_of(name, text):
    code = COMMENT.sub(lambda match: match.group(1) or "\n" * match.group().count("\n"), text)
    for kind, words in KINDS.items():
        for match in re.finditer(words, code, re.IGNORECASE):
            line = code.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: {match.group()} is of one {kind}, and this header is everybody's"


def main():
    root = pathlib.Path(sys.argv[1])
    tree = dict(headers(root))
    faults = []
    for name in SHARED:
        faults += faults_of(name, tree[name]) if name in tree else [f"{name} is not there"]
    for stem in re.findall(r"headgate/models/(\w+)\.hpp", tree.get(FAMILIES, "")):
        if not re.search(KINDS["family"], stem):
            faults.append(f"{FAMILIES}: {stem} is not among the families of this check")
    example = root / EXAMPLE
    lines = len(example.read_text(encoding="utf-8").splitlines()) if example.exists() else MOST_LINES
    if lines >= MOST_LINES:
        faults.append(f"{EXAMPLE}: {lines} lines, fewer than {MOST_LINES} are enough for a family")
    report(faults)


main()
