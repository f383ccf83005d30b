#!/usr/bin/env python3
"""Compares headgate's tokens with those of Hugging Face's `tokenizers`, on random texts of mixed scripts, emoji, combining
marks, controls and white space, and on every text of SHARED_DIR/data/text.

  compare_random.py SHARED_DIR [--texts 10000] [--seed 1] [--only NAME]     compares; exit code 1 where something differs
  compare_random.py SHARED_DIR --write                                      writes random.json beside this file, for
                                                                            tests/tokenizer/tokenizer_test.cpp

The tokenizers are the demo model's and those of SHARED_DIR/data/tokenizers; a GGUF vocabulary is compared with the
tokenizer.json that make_vectors.py makes of it, read as that file and as GGUF. The program is encode_texts.cpp, which this
script compiles ($CXX). Needs: pip install tokenizers gguf; a compiler, PCRE2 and utf8proc.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import tokenizers

import make_vectors

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]

RANGES = [(0x20, 0x7E), (0x20, 0x7E), (0x30, 0x39), (0x61, 0x7A), (0x41, 0x5A), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF),
          (0x400, 0x52F), (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0xE01, 0xE5B), (0x1100, 0x11FF),
          (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
          (0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0xFFF0, 0xFFFF),
          (0x10300, 0x1034F), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF)]
CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0), 0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x2028, 0x2029, 0x202E, 0x2060, 0xFEFF, 0xFFFD]
SPACES = [" ", " ", " ", "  ", "\n", "\r\n", "\t", "\n\n", " \n", "\u00a0", "\u3000", "\u2003", "   "]
PARTS = ["👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "❤️", "1️⃣", "e\u0301", "a\u0308\u0323", "\u1112\u1161\u11ab", "क्षि", "ﷺ", "İ", "ß", "ſ", "'s", "'LL", "'Re", "don't", "▁", "▁▁",
         "<0x41>", "...", "!!!", "=>", "://", "3.14", "1,000", "٣٤٥", "Ⅷ", "½"]


def random_text(chance, specials):
    text = ""
    script = chance.choice(RANGES)
    for _ in range(chance.choice([1, 2, 3, 5, 8, 13, 30, 80])):
        kind = chance.randrange(20)
        if kind < 3:
            script = chance.choice(RANGES)
        if kind < 11:
            text += "".join(chr(chance.randint(*script)) for _ in range(chance.choice([1, 2, 3, 5, 8])))
        elif kind < 15:
            text += chance.choice(SPACES)
        elif kind == 15:
            text += chr(chance.choice(CONTROLS))
        elif kind == 16:
            text += chr(chance.randint(0x300, 0x36F)) * chance.choice([1, 2, 5])
        elif kind == 17:
            text += chance.choice(PARTS)
        elif kind == 18:
            text += chr(chance.choice([chance.randrange(0xD800), chance.randrange(0xE000, 0x20000)]))
        elif specials and chance.randrange(4) == 0:
            text += chance.choice(specials)
        else:
            text += chance.choice("aA1 .") * chance.choice([2, 3, 7, 40])
    return text


def known(shared, folder):
    """Name, what headgate reads, and the tokenizer.json of each."""
    yield "tales", [make_vectors.TALES], make_vectors.TALES
    for name in ("olmoe", "granite"):
        path = shared / f"data/tokenizers/{name}/tokenizer.json"
        yield name, [path], path
    path = folder / "qwen2-moe.json"
    path.write_text(json.dumps(make_vectors.qwen2(shared), ensure_ascii=False), encoding="utf8")
    yield "qwen2-moe", [path], path
    for name in ("gpt-2", "deepseek-llm", "llama-spm", "phi-3"):
        gguf, path = shared / f"data/tokenizers/ggml-vocab-{name}.gguf", folder / f"{name}.json"
        make_vectors.from_gguf(gguf, path)
        yield name, [path, gguf], path


def specials_of(tokenizer):
    return [token.content for token in tokenizer.get_added_tokens_decoder().values()][:50]


def headgate(program, model, texts):
    stdin = b"".join(b"%d\n%s" % (len(text.encode()), text.encode()) for text in texts)
    lines = subprocess.run([program, model], input=stdin, stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")[:-1]
    assert len(lines) == len(texts)
    return [line if line.startswith("!") else [int(id) for id in line.split()] for line in lines]


def compare(name, model, reference, texts, program):
    wrong = refused = 0
    for text, ids in zip(texts, headgate(program, model, texts)):
        expected = reference.encode(text, add_special_tokens=False).ids
        if isinstance(ids, str):
            # What the reference drops without a word is refused.
            if "no token for the" in ids and reference.decode(expected, skip_special_tokens=False) != text:
                refused += 1
                continue
        if ids != expected:
            wrong += 1
            if wrong <= 5:
                print(f"{name}: {text[:200]!r}\n  headgate  {str(ids)[:300]}\n  reference {str(expected)[:300]}")
    print(f"{name} ({model.name}): {len(texts)} texts, {wrong} differ, {refused} refused for characters without a token", flush=True)
    return wrong


def write(shared):
    """Some hundred short texts, which the demo model's tokenizer and the small ones of make_vectors.py encode."""
    chance = random.Random(3)
    tales = tokenizers.Tokenizer.from_file(str(make_vectors.TALES))
    texts = [random_text(chance, specials_of(tales)) for _ in range(2000)]
    texts = [text for text in texts if len(text.encode()) < 48][:300]
    vectors = {"made_with": f"tokenizers {tokenizers.__version__}", "texts": texts, "tales": [tales.encode(text, add_special_tokens=False).ids for text in texts]}
    (HERE / "random.json").write_text(json.dumps(vectors, separators=(",", ":")) + "\n", encoding="utf8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--texts", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the tokenizer of this name")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        return write(arguments.shared)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = folder / "encode_texts"
        subprocess.run([*os.environ.get("CXX", "c++").split(), "-std=c++20", "-O2", "-DNDEBUG", f"-I{ROOT}/include", HERE / "encode_texts.cpp", "-o", program,
                        "-lpcre2-8", "-lutf8proc"], check=True)
        long_texts = [path.read_bytes().decode("utf8") for path in sorted((arguments.shared / "data/text").glob("*.txt"))]
        for name, models, path in known(arguments.shared, folder):
            if arguments.only not in (None, name):
                continue
            reference = tokenizers.Tokenizer.from_file(str(path))
            chance = random.Random(arguments.seed)
            specials = [] if name == "phi-3" else specials_of(reference)  # its tokenizer.json does not know that they strip
            texts = [random_text(chance, specials) for _ in range(arguments.texts)] + long_texts
            for model in models:
                wrong += compare(name, model, reference, texts, program)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
