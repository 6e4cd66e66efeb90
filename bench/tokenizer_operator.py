"""Whether ONNX Runtime's custom operator for tokenizers gives the same token ids as the genuine tokenizer.

    python bench/tokenizer_operator.py CORPUS...

Run it in an environment that has onnxruntime-extensions, onnxruntime, onnx, tokenizers and dashscope. A corpus is a
folder of texts in UTF-8, whose paragraphs are compared: docs/text-models.md says which. Texts made to be difficult are
compared too. The operator, HfJsonTokenizer, gets the genuine tokenizer.json. Both read special tokens in texts as such,
because the operator cannot do otherwise, and the end-of-text token, which it does not append, is left out. Prints, for
each corpus, the number of texts and of those with other ids, and the first differences of each.
"""

import json
import random
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxruntime_extensions

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the genuine vocabulary
from support.qwen_tokenizer import build_qwen_tokenizer

CHARACTERS = 2000  # most of one text
SHOWN = 3  # differences of each corpus


def main(paths: list[str]) -> None:
    """Compare and print."""
    genuine = build_qwen_tokenizer()
    operator = Operator(genuine.to_str())
    print(f"onnxruntime-extensions {onnxruntime_extensions.__version__}, onnxruntime {onnxruntime.__version__}\n")
    print("| texts | number | with other ids | already in NFC | of these, with other ids |\n|---|---|---|---|---|")
    shown: list[str] = []
    for name, texts in [*((Path(path).name, paragraphs(path)) for path in paths), *adversarial().items()]:
        counts, differences = [0, 0, 0, 0], 0
        for text in texts:
            expected = genuine.encode(text, add_special_tokens=False).ids
            found = operator.ids(text)
            is_other, is_nfc = found != expected, unicodedata.is_normalized("NFC", text)
            counts = [n + more for n, more in zip(counts, (1, is_other, is_nfc, is_other and is_nfc), strict=True)]
            if is_other and (differences := differences + 1) <= SHOWN:
                shown.append(difference(name, text, expected, found))
        print(f"| {name} | {counts[0]:,} | {counts[1]:,} | {counts[2]:,} | {counts[3]:,} |", flush=True)
    print("\n" + "\n".join(shown))


class Operator:
    """HfJsonTokenizer in ONNX Runtime, as Triton's onnxruntime backend would run it.

    Args:
        tokenizer: The content of tokenizer.json.
    """

    def __init__(self, tokenizer: str) -> None:
        config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        node = onnx.helper.make_node(
            "HfJsonTokenizer",
            ["text"],
            ["ids"],
            domain="ai.onnx.contrib",
            tokenizer_config=json.dumps(config),
            tokenizer_vocab=tokenizer,
        )
        text = onnx.helper.make_tensor_value_info("text", onnx.TensorProto.STRING, ["n"])
        ids = onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n", "tokens"])
        opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.onnx.contrib", 1)]
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], "tokenizer", [text], [ids]), opset_imports=opsets, ir_version=9
        )
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def ids(self, text: str) -> list[int] | str:
        """Return the token ids of a text, or the error that the operator gives."""
        try:
            found: list[int] = (
                self._session.run(["ids"], {"text": np.array([text], np.object_)})[0].reshape(-1).tolist()
            )
            return found
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a difference
            return str(error)[:200]


def paragraphs(path: str) -> Iterator[str]:
    """Give the paragraphs of the files below a folder."""
    for file in sorted(each for each in Path(path).rglob("*") if each.is_file()):
        for paragraph in re.split(r"\n\s*\n", file.read_text("utf-8", errors="ignore")):
            if paragraph.strip():
                yield paragraph[:CHARACTERS]


def adversarial() -> dict[str, list[str]]:
    """Return texts that are difficult for a tokenizer, by what is difficult about them."""
    rng = random.Random(0)  # noqa: S311 - no secret
    words = "Crème brûlée Ångström tiếng Việt 한국어 が ガ हिन्दी क़ नमस्ते ประเทศไทย العَرَبِيَّة עִבְרִית ქართული Ελληνικά ёлка й"
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "<|fim_prefix|>"]
    emoji = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "1️⃣", "🧑🏿‍🚀"]
    spaces = [*" \t\n\r\x0b\x1c\u0085\u00a0\u200b\u2028\u3000", "  ", "\r\n", "\n\n", " \n "]
    letters = [chr(code) for code in range(0x80, 0x30000) if unicodedata.category(chr(code))[0] in "LMNPSZ"]

    def mixed(parts: list[str], *, joined: str = "") -> list[str]:
        return [joined.join(rng.choices(parts, k=rng.randint(1, 12))) for _ in range(2000)]

    return {
        "words in NFD": [unicodedata.normalize("NFD", text) for text in mixed(words.split(), joined=" ")],
        "words in NFC": [unicodedata.normalize("NFC", text) for text in mixed(words.split(), joined=" ")],
        "emoji": mixed([*emoji, "a", " "]),
        "white space and line ends": mixed([*spaces, *spaces, "word", "x", "7", "."]),
        "digits": mixed([*"0123456789٣५③Ⅷ½²", "one", " "]),
        "contractions": mixed(["I'm", "DON'T", "it's", "we'LL", "\u017f's", "o'clock", "'S", "\u2019s", " "]),
        "added tokens": mixed([*added, "text", " ", "<|", "|>"]),
        "control characters and NUL": mixed([*map(chr, range(1, 32)), "\x7f", "\0", "a", "b"]),
        "characters of all scripts": mixed(letters),
        "long runs": [each * 500 for each in [*"a1 .\n-=é中", "ab", "日本", "👍", " \n"]],
    }


def difference(name: str, text: str, expected: list[int], found: list[int] | str) -> str:
    """Return a line about a text: where the ids begin to differ, and what is there."""
    if isinstance(found, str):
        return f"- {name}: {text[:60]!r}: {found}"
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    return f"- {name}: {text[:60]!r}: from token {at} on {expected[at : at + 4]}, operator {found[at : at + 4]}"


if __name__ == "__main__":
    main(sys.argv[1:])
