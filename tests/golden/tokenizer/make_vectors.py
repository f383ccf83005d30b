#!/usr/bin/env python3
"""Writes vectors.json beside this file: what Hugging Face's `tokenizers` says, for tests/tokenizer/tokenizer_test.cpp.

  make_vectors.py SHARED_DIR [--components]        needs: pip install tokenizers
  make_vectors.py SHARED_DIR --from-gguf NAME OUT  writes OUT, a tokenizer.json with the vocabulary of
                                                   SHARED_DIR/data/tokenizers/ggml-vocab-NAME.gguf (gpt-2, deepseek-llm or
                                                   llama-spm); needs: pip install gguf

SHARED_DIR holds the third-party tokenizers and texts (tests/support/shared_data.hpp); only ids and hashes of them are written.
"""
import argparse
import json
import pathlib
import random
import re
import struct

import tokenizers

HERE = pathlib.Path(__file__).resolve().parent
TALES = HERE.parents[2] / "examples" / "models" / "tales" / "tokenizer.json"

QWEN2_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                 r"|\s+(?!\S)|\s+")
O200K_PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                 r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                 r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_PATTERNS = [r"[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
                     r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+", r"\s+$",
                     r"[\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+"]

KIMI_PATTERN = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
                r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
DEEPSEEK3_PATTERN = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
                     r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# Texts that each of the patterns is tried on, for what they match.
PATTERN_TEXTS = ["", "a\u00b2b \u00bc-c_1 d\u0301", "aAbB\u017f\u212a ss SS st ST", "a\n\nb\r\nc\n", "abc]d-e^[f]{2}{x}a{,}", "x \U0001fa77\u6c49a\u1c89'S",
                 "\u0378\U00010d50\U0001ccd6 \u200d1\u0663", "aaaaabbbb\u2028\u0085\v\f", "(a)(b)\\.*+?|$^ AB aB Ab ab"]
PATTERNS = [QWEN2_PATTERN, O200K_PATTERN, KIMI_PATTERN, DEEPSEEK3_PATTERN, *DEEPSEEK_PATTERNS, r"\b.", r"\B.", r"\w+", r"\W+", r"[\w]+", r"[\W]", r"[^\w]",
            r"[^\W\d]+", r"[\d\W]+", "(?i)k", "(?i:[a-z]+)", r"(?i:[\p{L}]+)", r"(?i:\p{Lu})+", "(?i:[^a])", "a$", "$", "^", "^b", ".", r"(?m:.)", r"a\Z", r"a\z",
            r"\Aa", r"\R", r"\h+", r"[\h]", "[[:alpha:]]+", "[^[:alpha:]]+", "[[:^alpha:]_]+", "[a[bc]]+", "[a-e&&[^c]]+", "[a-w&&[^c-g]z]", "[^a-e&&[^c]]+",
            r"[\w&&[^\d]]+", "[]a]", "[a-]", "[-a]", "[a-c-e]", "[a^]+", r"[\^a]+", "a{,2}b", "a{2,}?", "a{1,2}?", "a{1,2}", "a{2}", "a{,}", "{x}", "a++b", "a?+a",
            "a*+", "a+?", "(?<=a|bc)d", r"(?<=\p{L})b", r"(?<![\w&&[^\d]])b", "(?<!^)a", "(a)(b)", "a(?i)b|c", "(?i)(a|(?-i)b|c)", "(?:a(?i)b|c)d?", r"\x41",
            r"\x{e9}|\u0301", r"\p{^L}", r"\P{^L}", r"\p{lu}", r"\p{Garay}+", r"\p{Han}+|\p{So}", r"\p{Cn}", "]", "}", r"\-|\_|\.", "", "b|", "(?=a)",
            r"[\n-\r]+", r"[\s\S]", r"[^\S\n]+", r"\p{Punct}+", r"[[:punct:]]", "(?mi:.B)"]

SAMPLES = [
    "", " ", "  ", "\n", "\r\n", "\t \n\n  x", "Once upon a time", " Once upon a time, there was a KING.",
    "don't DON'T it's IT'S we'll they've I'm you'd 'ſ", "12345 1,234.5 ٣٤٥ ½ Ⅷ", "Ruffians   lay--in wait!!! (((", "caffè più perché",
    "e\u0301 \u0041\u030a \u1e9b\u0323", "各种语言 한국어 日本語", "👩‍👩‍👧 🇮🇹 🚀", "\ufeffBOM", "a\u0000b", "\u202eabc\u202c \uffff",
    "\u00a0\u3000\u2028\u180e\u0085\u001cx", "int main(void) { return 0; }\n", "<|endoftext|>", "a<|endoftext|>b<|pad|>",
    "<|endoftex", "<|user|> hi <|assistant|>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def fnv1a(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def added(index, content, **flags):
    return dict(id=index, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False,
                special=True) | flags


def byte_alphabet():
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(b) if b in same else chr(next(rest)) for b in range(256)]


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def bpe(vocab, merges, **options):
    return dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocab, merges=merges) | options


def document(model, pre=None, normalizer=None, tokens=(), post=None, decoder=BYTE_LEVEL):
    return dict(version="1.0", truncation=None, padding=None, added_tokens=list(tokens), normalizer=normalizer,
                pre_tokenizer=pre, post_processor=post, decoder=decoder, model=model)


def load(doc):
    return tokenizers.Tokenizer.from_str(json.dumps(doc))


def qwen2(shared):
    folder = shared / "data/tokenizers/qwen2-moe"
    merges = (folder / "merges.txt").read_text(encoding="utf8").split("\n")
    model = bpe(json.loads((folder / "vocab.json").read_text(encoding="utf8")),
                [line for line in merges if line and not line.startswith("#version")])
    tokens = [added(151643, "<|endoftext|>"), added(151644, "<|im_start|>"), added(151645, "<|im_end|>")]
    return document(model, sequence(split(QWEN2_PATTERN), BYTE_LEVEL), {"type": "NFC"}, tokens)


def small_models():
    """Two small BPE models, learnt here by hand: bytes of English words, and words in SentencePiece's manner."""
    alphabet = byte_alphabet()
    words = ["the", "there", "then", "an", "and", "king", "ing", "once", "upon", " the", " and", " king", "  ", "\n\n", "123", "12"]
    vocab = {c: i for i, c in enumerate(alphabet)}
    merges = []
    for word in words:
        text = "".join(alphabet[b] for b in word.encode())
        for size in range(2, len(text) + 1):
            if text[:size] not in vocab:
                vocab[text[:size]] = len(vocab)
                merges.append(f"{text[:size - 1]} {text[size - 1]}")
    pieces = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{b:02X}>": 3 + b for b in range(256)}
    for character in "▁abcdefghijklmnopqrstuvwxyzT.,é":
        pieces[character] = len(pieces)
    pairs = []
    for word in ["▁the", "▁there", "▁a", "▁an", "▁king", "▁once", "▁▁", "on", "ing"]:
        for size in range(2, len(word) + 1):
            if word[:size] not in pieces:
                pieces[word[:size]] = len(pieces)
                pairs.append([word[:size - 1], word[size - 1]])
    few = {k: v for k, v in pieces.items() if not k.startswith("<0x8")}
    return {"bytes": bpe(vocab, merges), "whole": bpe(vocab, merges, ignore_merges=True),
            "words": bpe(pieces, pairs, byte_fallback=True, fuse_unk=True, unk_token="<unk>"),
            "few": bpe(few, pairs, byte_fallback=True, unk_token="<unk>"),
            "unknown": bpe({k: v for k, v in pieces.items() if not k.startswith("<0x")}, pairs, fuse_unk=True, unk_token="<unk>")}


def variants():
    vocab = small_models()["bytes"]["vocab"]
    size = len(vocab)
    words_size = len(small_models()["words"]["vocab"])
    ends = [added(size, "<|endoftext|>"), added(size + 1, "<|user|>", rstrip=True), added(vocab["king"], "king", lstrip=True, special=False),
            added(size + 2, "<|end", special=False), added(size + 3, "Then", normalized=True, special=False, single_word=True)]
    marks = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>"), added(words_size, "<|user|>", special=False, rstrip=True)]
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "B", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"A": {"id": "A", "ids": [size], "tokens": ["a"]},
                                   "B": {"id": "B", "ids": [size + 1, size], "tokens": ["b", "c"]}}}
    gpt2 = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    yield "gpt2 with prefix space", "bytes", dict(pre=gpt2, tokens=ends)
    yield "qwen2, NFC", "bytes", dict(pre=sequence(split(QWEN2_PATTERN), BYTE_LEVEL), normalizer={"type": "NFC"}, tokens=ends)
    yield "o200k, whole words, template", "whole", dict(
        pre=sequence(split(O200K_PATTERN), BYTE_LEVEL), tokens=ends,
        post={"type": "Sequence", "processors": [BYTE_LEVEL, template]})
    yield "deepseek", "bytes", dict(pre=sequence(*map(split, DEEPSEEK_PATTERNS), {"type": "Digits", "individual_digits": True}, BYTE_LEVEL))
    for invert in (False, True):
        for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
            steps = [{"type": "Strip", "strip_left": True, "strip_right": invert}, {"type": "Lowercase"},
                     {"type": "NFKC" if invert else "NFKD"}, {"type": "Replace", "pattern": {"String": "an"}, "content": "é "}]
            yield f"{behavior}, invert {invert}", "bytes", dict(
                pre=sequence(split(r"\w+", behavior, invert), split(" ", behavior, False, "String"), BYTE_LEVEL),
                normalizer={"type": "Sequence", "normalizers": steps}, tokens=ends)
    yield "digits, lookaround, empty matches", "bytes", dict(
        pre=sequence({"type": "Digits", "individual_digits": False}, split(r"(?=\d)|\p{Han}+|(?<=ab)c|"), BYTE_LEVEL),
        normalizer={"type": "NFD"})
    spm = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                            {"type": "ByteFallback"}, {"type": "Fuse"},
                                            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    prepend = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    yield "sentencepiece by normalizer", "words", dict(normalizer={"type": "Sequence", "normalizers": prepend}, tokens=marks, decoder=spm)
    for scheme in ("always", "first", "never"):
        metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": scheme != "never"}
        yield f"metaspace {scheme}", "words", dict(pre=metaspace, tokens=marks, decoder=metaspace)
    for scheme in ("always", "first", "never"):
        metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": scheme == "never"}
        yield f"metaspace {scheme}, the other way", "words", dict(pre=metaspace, tokens=marks, decoder=metaspace)
        metaspace = {"type": "Metaspace", "replacement": "_", "prepend_scheme": scheme, "split": True}
        yield f"metaspace {scheme}, another mark", "few", dict(pre=metaspace, tokens=marks[:3], decoder=metaspace)
        pair = sequence({"type": "WhitespaceSplit"}, metaspace | {"replacement": "▁"})
        yield f"metaspace {scheme} after a split", "words", dict(pre=pair, tokens=marks, decoder=metaspace | {"replacement": "▁"})
    for prefix in (True, False):
        metaspace = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": prefix} | ({} if prefix else {"prepend_scheme": "never"})
        yield f"older metaspace, prefix {prefix}", "words", dict(pre=metaspace, tokens=marks, decoder=metaspace)
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    yield "some bytes missing, no decoder", "few", dict(pre=metaspace, tokens=marks[:3], decoder=None)
    yield "unknown characters", "unknown", dict(pre=metaspace, tokens=marks[:3], decoder=metaspace)


def more_variants():
    """Components that few tokenizers have."""
    vocab = small_models()["bytes"]["vocab"]
    size = len(vocab)
    ends = [added(size, "<|endoftext|>"), added(size + 1, "<|user|>", rstrip=True)]
    for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        yield kind, "bytes", dict(pre=sequence({"type": kind}, BYTE_LEVEL), tokens=ends)
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield f"punctuation {behavior}", "bytes", dict(pre=sequence({"type": "Punctuation", "behavior": behavior}, BYTE_LEVEL))
    yield "a character as delimiter", "bytes", dict(pre=sequence({"type": "CharDelimiterSplit", "delimiter": "k"}, BYTE_LEVEL))
    for kind in ("RobertaProcessing", "BertProcessing"):
        post = {"type": kind, "sep": ["<|user|>", size + 1], "cls": ["<|endoftext|>", size]}
        if kind[0] == "R":
            post |= {"trim_offsets": True, "add_prefix_space": False}
        yield kind, "bytes", dict(pre=BYTE_LEVEL, tokens=ends, post={"type": "Sequence", "processors": [BYTE_LEVEL, post]})
    steps = [{"type": "Replace", "pattern": {"Regex": r"\s+|(?=\d)"}, "content": " $1"}]
    for i, step in enumerate(steps):
        yield f"replace {i}", "bytes", dict(pre=BYTE_LEVEL, normalizer=step)
    yield "bytes by normalizer", "bytes", dict(pre=None, normalizer={"type": "ByteLevel"}, tokens=ends)
    yield "cut between all characters", "bytes", dict(pre=sequence(split("", "Isolated", False, "String"), BYTE_LEVEL))


def cased_letters():
    """The letters that deepseek-llm lists, from where they are listed."""
    header = (HERE.parents[2] / "include/headgate/tokenizer/known_patterns.hpp").read_text(encoding="utf8")
    text = header.split("cased_letters =")[1].split(";")[0]
    return "".join(re.findall(r'"(.*)"', text)).replace("\\\\", "\\")


def from_gguf(path, out):
    import gguf
    fields = gguf.GGUFReader(path).fields

    def strings(key):
        return [bytes(fields[key].parts[i]).decode() for i in fields[key].data]

    def numbers(key):
        return [fields[key].parts[i][0].item() for i in fields[key].data]

    tokens, types = strings("tokenizer.ggml.tokens"), numbers("tokenizer.ggml.token_type")
    vocab = {token: i for i, token in enumerate(tokens) if types[i] != 4}
    extra = [added(i, t, special=types[i] != 4, normalized=types[i] == 4) for i, t in enumerate(tokens)
             if types[i] in (2, 3, 4) and not t.startswith("[PAD")]
    if "tokenizer.ggml.merges" in fields:
        model, decoder = bpe(vocab, strings("tokenizer.ggml.merges")), BYTE_LEVEL
        patterns = [cased_letters() if "Lu" in pattern else pattern for pattern in DEEPSEEK_PATTERNS]
        pre = sequence(*map(split, patterns), {"type": "Digits", "individual_digits": True}, BYTE_LEVEL)
        if "deepseek" not in path.name:
            pre = BYTE_LEVEL | {"use_regex": True}
        doc = document(model, pre, None, extra)
    else:
        scores = numbers("tokenizer.ggml.scores")
        merges = [(-scores[i], vocab[t[:n]], vocab[t[n:]], [t[:n], t[n:]]) for t, i in vocab.items()
                  for n in range(1, len(t)) if t[:n] in vocab and t[n:] in vocab]
        model = bpe(vocab, [m[3] for m in sorted(merges, key=lambda m: m[:3])], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
        prepend = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
        doc = document(model, None, {"type": "Sequence", "normalizers": prepend}, extra, None, None)
    out.write_text(json.dumps(doc, ensure_ascii=False), encoding="utf8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--components", action="store_true", help="only what needs none of the texts")
    parser.add_argument("--from-gguf", nargs=2, metavar=("NAME", "OUT"))
    arguments = parser.parse_args()
    shared = arguments.shared
    if arguments.from_gguf:
        name, out = arguments.from_gguf
        return from_gguf(shared / f"data/tokenizers/ggml-vocab-{name}.gguf", pathlib.Path(out))

    vectors = {"made_with": f"tokenizers {tokenizers.__version__}", "samples": SAMPLES}
    if arguments.components:
        vectors |= {k: v for k, v in json.loads((HERE / "vectors.json").read_text(encoding="utf8")).items() if k not in vectors}
    else:
        add_known(vectors, shared)
    add_components(vectors)
    (HERE / "vectors.json").write_text(json.dumps(vectors, separators=(",", ":")) + "\n", encoding="utf8")


def add_known(vectors, shared):
    known = {"tales": tokenizers.Tokenizer.from_file(str(TALES)), "qwen2-moe": load(qwen2(shared))}
    for name in ("olmoe", "granite"):
        known[name] = tokenizers.Tokenizer.from_file(str(shared / f"data/tokenizers/{name}/tokenizer.json"))

    vectors["known"] = {}
    for name, tokenizer in known.items():
        texts = {}
        for path in sorted((shared / "data/text").glob("*.txt")):
            ids = tokenizer.encode(path.read_bytes().decode("utf8")).ids
            texts[path.name] = {"count": len(ids), "fnv1a": fnv1a(ids)}
        ids = [tokenizer.encode(text).ids for text in SAMPLES]
        vectors["known"][name] = {"texts": texts, "ids": ids}

    tales = known["tales"]
    tales.encode_special_tokens = True
    vectors["tales_plain"] = [tales.encode(text, add_special_tokens=False).ids for text in SAMPLES]
    chance = random.Random(7)
    lists = [[chance.randrange(tales.get_vocab_size()) for _ in range(chance.randrange(12))] for _ in range(20)]
    lists += [[chance.randrange(4, 260) for _ in range(chance.randrange(12))] for _ in range(20)]
    vectors["tales_decoded"] = [{"ids": ids, "text": tales.decode(ids, skip_special_tokens=True)} for ids in lists]


def add_components(vectors):
    models = small_models()
    vectors["models"] = {name: json.dumps(model, ensure_ascii=False, separators=(",", ":")) for name, model in models.items()}
    vectors["variants"] = []
    texts = ["", " ", "the king and there", " Once upon  a time, the kings.\n\n123 1234", "Then an e\u0301 ﬁ É Ⅷ ½ 各种 a🚀b",
             "<|endoftext|>the<|user|>  king  king<|end", "Thenthe Then abc abcab1c", "T.a,\u00a0▁b▁▁ ▁", "<0x41><s>\x80\u200dxyz"]
    for name, model, parts in [*variants(), *more_variants()]:
        doc = document(models[model], **parts)
        tokenizer = load(doc)
        ids = [tokenizer.encode(text).ids for text in texts]
        doc["model"] = None
        text = json.dumps(doc, ensure_ascii=False, separators=(",", ":")).replace('"model":null', '"model":@')
        vectors["variants"].append({"name": name, "model": model, "json": text, "texts": texts, "ids": ids,
                                    "decoded": [tokenizer.decode(i, skip_special_tokens=False) for i in ids]})
    vectors["pattern_texts"] = PATTERN_TEXTS
    vectors["patterns"] = []
    for pattern in PATTERNS:
        splitter = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)
        pieces = [[piece for piece, _ in splitter.pre_tokenize_str(text)] for text in PATTERN_TEXTS]
        vectors["patterns"].append({"pattern": pattern, "pieces": pieces})


if __name__ == "__main__":
    main()
