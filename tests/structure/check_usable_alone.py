"""Every router of the README's table routes a token in a file that includes the header of its row and no other, and a
header that has NativeBackend as a default brings its definition.

usage: check_usable_alone.py ROOT COMPILER FLAGS...
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from source_text import headers, report, without_noise

PRELUDE = """
// Four experts, hidden size 2, one token.
[[maybe_unused]] constexpr float numbers[] = {1, 0, 0, 1, 1, 1, -1, 2};
constexpr float hidden[] = {3, 1};
constexpr std::int32_t token_ids[] = {1};

template <class Router>
[[nodiscard]] int route_one(const headgate::Expected<Router>& router) {
  if (!router) return 1;
  typename Router::State state;
  if constexpr (requires { state.reset(1); }) state.reset(1);
  headgate::RoutingPlan plan;
  headgate::Context context;
  const headgate::RouterInput input{.hidden = {hidden, 1, 2}, .token_ids = token_ids};
  return router.value().route(input, state, plan, context).ok() && plan.entries() > 0 ? 0 : 1;
}
"""
STAGED = "headgate::StagedRouter<headgate::{}>::create({{.gate = {{numbers, 4, 2}}}}, headgate::{}, headgate::Keep{{}})"
ROUTERS = {  # a name in the first column: an expression
    "switch_router": "headgate::switch_router<>({.gate = {numbers, 4, 2}})",
    "mixtral_router": "headgate::mixtral_router<>({.gate = {numbers, 4, 2}}, 2)",
    "olmoe_router": "headgate::olmoe_router<>({.gate = {numbers, 4, 2}}, 2)",
    "qwen2_moe_router": "headgate::qwen2_moe_router<>({.gate = {numbers, 4, 2}}, 2)",
    "qwen3_moe_router": "headgate::qwen3_moe_router<>({.gate = {numbers, 4, 2}}, 2)",
    "granite_router": "headgate::granite_router<>({.gate = {numbers, 4, 2}}, 2)",
    "ernie_router": "headgate::ernie_router<>({.gate = {numbers, 4, 2}}, 2)",
    "lfm2_moe_router": "headgate::lfm2_moe_router<>({.gate = {numbers, 4, 2}}, 2)",
    "minimax_m2_router": "headgate::minimax_m2_router<>({.gate = {numbers, 4, 2}}, 2)",
    "sparse_mixer_router": "headgate::sparse_mixer_router<>({.gate = {numbers, 4, 2}}, 0.01f)",
    "deepseek_v2_router": "headgate::deepseek_v2_router<>({.gate = {numbers, 4, 2}}, 2, headgate::Scale{1.0f})",
    "deepseek_v3_router": "headgate::deepseek_v3_router<>({.gate = {numbers, 4, 2}}, 2, 1.0f, {2, 1})",
    "adamoe_router": "headgate::adamoe_router<>({.gate = {numbers, 4, 2}}, 1, 2)",
    "with_null_experts": "headgate::with_null_experts<>({.gate = {numbers, 4, 2}}, 1, headgate::TopK{2}, headgate::Keep{})",
    "GruRouter": "headgate::GruRouter<>::create(cell, {numbers, 2, 2}, {numbers, 4, 2}, headgate::TopK{2}, headgate::Renormalize{})",
    "bilevel_expert_router": "headgate::bilevel_expert_router<>({.gate = {numbers, 4, 2}}, 2, {2, 1})",
    "relu_router": "headgate::relu_router<>({.gate = {numbers, 4, 2}})",
    "BlockFfnRouter": "headgate::Expected<headgate::BlockFfnRouter<>>(headgate::block_ffn_router<>({.gate = {numbers, 4, 2}}, gain, 1e-6f))",
    "block_ffn_router": "headgate::block_ffn_router<>({.gate = {numbers, 4, 2}}, gain, 1e-6f)",
    "PeerRouter": "headgate::PeerRouter<>::create({{numbers, 2, 2}, {numbers, 2, 1}, {numbers, 2, 1}}, {1, 2})",
    "spt_router": "headgate::spt_router<>({.gate = {numbers, 4, 2}}, 2)",
    "factor_llm_router": "headgate::factor_llm_router<>({.gate = {numbers, 4, 2}}, 2)",
    "duo_llm_router": "headgate::duo_llm_router<>({.gate = {numbers, 4, 2}})",
    "GraphOfTokens": "headgate::GraphOfTokens<>::create({.gate = {numbers, 4, 2}}, {2}, {})",
    "HashRouter": "headgate::HashRouter::create({0, 1, 2, 3}, 2, 4, 2)",
    "ExpertChoiceRouter": "headgate::ExpertChoiceRouter<>::create({numbers, 4, 2}, {.capacity_factor = 4.0})",
    "tutel_cosine_router": "headgate::tutel_cosine_router<>({.prototypes = {numbers, 4, 2}, .projector = {numbers, 2, 2}}, 2)",
    "SentenceRouter": "headgate::SentenceRouter<>::create({numbers, 4, 2}, {0, 1, 2, 3}, 4)",
    "phatgoose_router": "headgate::phatgoose_router<>({numbers, 4, 2}, 2)",
    "glider_router": "headgate::glider_router<>({numbers, 4, 2}, 2)",
    "mora_router": "headgate::mora_router<>({numbers, 4, 2}, {.k = 2})",
    "dynmoe_router": "headgate::dynmoe_router<>({.prototypes = {numbers, 4, 2}, .thresholds = thresholds})",
    "longcat_router": "headgate::longcat_router<>({.gate = {numbers, 4, 2}}, 2, 6.0f)",
    "grouped_zero_expert_router": "headgate::grouped_zero_expert_router<>({.gate = {numbers, 4, 2}}, 1, 2, 1.0f, {1, 1})",
    "ProMoeRouter": "headgate::ProMoeRouter<>::create({numbers, 4, 2}, {.null_expert = false})",
    "MoePlusPlusRouter": "headgate::MoePlusPlusRouter<>::create({.first = {}, .last = {numbers, 4, 2}}, {.k = 2})",
    "SoftmaxScore, TopP": STAGED.format("SoftmaxScore, headgate::TopP, headgate::Keep", "TopP{0.5f}"),
}
BEFORE = {  # what an expression needs first
    "GruRouter": """
  constexpr float weights[12] = {1, 2, 3};
  constexpr float bias[6] = {};
  const headgate::RecurrentCell cell =
      headgate::RecurrentCell::create({.weight_ih = weights, .weight_hh = weights, .bias_ih = bias, .bias_hh = bias}, 2, 2).value();""",
    "dynmoe_router": "  constexpr float thresholds[] = {0, 0, 0, 0};",
    "BlockFfnRouter": "  constexpr float gain[] = {1, 1, 1, 1};",
}


STAGES = {"SoftmaxScore, TopP": "routing/staged_router.hpp"}  # what a row of stages is used with


def rows(readme):
    """Names of the first column and the header of the third, in backticks both."""
    table = readme.split("<!-- routers -->", 1)[-1].split("<!-- end of routers -->", 1)[0]
    for first, third in re.findall(r"^\|(.*?)\|.*?\|(.*?)\|$", table, re.MULTILINE):
        included = re.findall(r"`(routing/[\w/]+\.hpp)`", third)
        names = re.findall(r"`(\w+)`", first)
        if included and names:
            yield (names, included)


def program(names, included):
    included = included + tuple(STAGES[name] for name in names if name in STAGES)
    text = "".join(f'#include "headgate/{header}"\n' for header in included) + PRELUDE + "\nint main() {\n"
    text += "".join(BEFORE[name] + "\n" for name in names if name in BEFORE)
    return text + "  return " + " +\n         ".join(f"route_one({ROUTERS[name]})" for name in names) + ";\n}\n"


def main():
    root, *compiler = sys.argv[1:]
    faults = []
    by_headers = {}
    for names, included in rows((pathlib.Path(root) / "README.md").read_text(encoding="utf-8")):
        if ", ".join(names) in ROUTERS:
            names = [", ".join(names)]
        by_headers.setdefault(tuple(included), []).extend(names)
    named = [name for names in by_headers.values() for name in names]
    if len(by_headers) < 10:
        raise SystemExit(f"README.md names headers of routers in {len(by_headers)} rows: is its table another?")
    faults += [f"README.md names {name}, which this check does not know" for name in named if name not in ROUTERS]
    faults += [f"README.md no longer names {name}" for name in ROUTERS if name not in named]
    with tempfile.TemporaryDirectory() as folder:
        out = str(pathlib.Path(folder) / "program")
        for included, names in by_headers.items() if not faults else ():
            text = program(names, included)
            made = subprocess.run([*compiler, "-x", "c++", "-", "-o", out], input=text, capture_output=True, text=True, check=False)  # fmt: skip
            if made.returncode != 0:
                faults.append(f"{', '.join(names)} cannot be used with {' and '.join(included)} alone:\n{made.stderr}")
            elif subprocess.run([out], check=False).returncode != 0:
                faults.append(f"{', '.join(names)}: a router failed")

    for name, text in headers(root):
        if re.search(r"\bBackend = NativeBackend\b", without_noise(text)):
            brought = subprocess.run([*compiler, "-x", "c++", "-M", "-"], input=f'#include "headgate/{name}"\n',
                                     capture_output=True, text=True, check=True).stdout  # fmt: skip
            if "headgate/kernels/native.hpp" not in brought:
                faults.append(f"{name} has NativeBackend as a default and does not bring its definition")
    report(faults)


main()
