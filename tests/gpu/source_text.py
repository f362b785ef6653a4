"""Real text without a download: Python's own library, and PyTorch's where it is, as GPT-2 sized tokens. A token is a word
with the space before it, a digit, a mark or a run of blanks, if it is among the 50,001 most frequent; else its bytes."""
import collections
import hashlib
import importlib.util
import pathlib
import re
import struct
import sysconfig

TOKENS = re.compile(r" ?[^\W\d_]+|\d|[^\w\s]|\s+|\w")
BYTES = 256
VOCABULARY = 50257  # as many as GPT-2 has
MAGIC, VERSION = 20240520, 1  # llm.c's files of uint16


def read(most_bytes):
    """The sources in the order of their paths, the library's first."""
    roots = [pathlib.Path(sysconfig.get_paths()["stdlib"])]
    if found := importlib.util.find_spec("torch"):
        roots.append(pathlib.Path(found.submodule_search_locations[0]))
    parts, size = [], 0
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if {"test", "tests", "site-packages", "dist-packages"} & set(path.relative_to(root).parts):
                continue
            parts.append(path.read_text(errors="replace"))
            size += len(parts[-1])
            if size >= most_bytes:
                return "".join(parts)
    return "".join(parts)


def tokenise(text):
    words = TOKENS.findall(text)
    frequent = collections.Counter(words).most_common(VOCABULARY - BYTES)
    known = {word: BYTES + i for i, (word, _) in enumerate(sorted(frequent, key=lambda item: (-item[1], item[0])))}
    tokens = []
    for word in words:
        if word in known:
            tokens.append(known[word])
        else:
            tokens.extend(word.encode())
    return tokens


def write(path, tokens):
    """As a file that data.train.tokens reads; the facts that tell it from another one."""
    payload = struct.pack(f"<{len(tokens)}H", *tokens)
    path.write_bytes(struct.pack("<256i", MAGIC, VERSION, len(tokens), *[0] * 253) + payload)
    return {"tokens": len(tokens), "distinct": len(set(tokens)), "sha256": hashlib.sha256(payload).hexdigest()}
