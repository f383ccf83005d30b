"""Writes perplexity.json: what transformers says of a text in llama.cpp's manner, for the demo model in float32.

usage: make_perplexity.py MODEL TEXT

The text is cut into chunks of the context; the first token of each is the model's first token, and tokens n/2 + 1 to
n - 1 of a chunk are counted. Tested with torch 2.15 and transformers 5.24.
"""

import json
import math
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    folder, text_file = sys.argv[1:]
    text = pathlib.Path(text_file).read_bytes()[:6000].decode()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    bos = model.config.bos_token_id
    ids = [bos] + tokenizer(text, add_special_tokens=False)["input_ids"]
    cases = []
    for context in (128, 255):
        losses = []
        for start in range(0, len(ids) - context + 1, context):
            chunk = [bos] + ids[start + 1 : start + context]
            with torch.no_grad():
                logprobs = model(torch.tensor([chunk])).logits[0].double().log_softmax(-1)
            losses += [-logprobs[i, chunk[i + 1]].item() for i in range(context // 2, context - 1)]
        count = len(losses)
        mean = sum(losses) / count
        error = math.sqrt((sum(x * x for x in losses) / count - mean * mean) / (count - 1))
        cases.append({"context": context, "tokens": count, "loss": mean, "loss_error": error})
    out = pathlib.Path(__file__).with_name("perplexity.json")
    out.write_text(json.dumps({"text": text, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
