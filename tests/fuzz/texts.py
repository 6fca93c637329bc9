"""Texts that break readers, and mutations of bytes and texts."""

from __future__ import annotations

import random

from hypothesis import strategies as st

ODD = (
    "", " ", "\t", "\n", "\r\n", "\x00", "a\x00b", "\ufeff", "\u200b", "\u200d", "\u202e\u05e9\u05dc\u05d5\u05dd",
    "\u0627\u0644\u0633\u0644\u0627\u0645", "e\u0301\u0302\u0303" * 20, "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2028", "\u2029",
    "\x1b[31mred", "\x07", "\x85", "nan", "NaN", "inf", "-inf", "1e999", "null", "None", "true", "0", "-1", "1.5", "9" * 5000,
    "=1+1", "@SUM(A1)", "+1", "-1+1", "<script>alert(1)</script>", "</script>", "&lt;", "{{7*7}}", "{% raw %}", "{country}", "{0}",
    "{}", "{question", "%s", "%n", "../../etc/passwd", "/etc/passwd", "C:\\x", "CON", "nul", "..", ".", "a/b", "a\\b", "x" * 300,
    "'", '"', '""', "`", "$(id)", "; rm", "--help", "-h", "\\", "\\ud800", "w1", "w2 w3", "South Korea", "us", "Iran",
)  # fmt: skip
"""Texts that some reader once took for something else."""
HALVES = ("\ud800", "a\udfffb")
"""Halves of surrogate pairs: Python's texts can hold them, no file in UTF-8 can."""

text = st.one_of(
    st.sampled_from(ODD), st.text(max_size=20), st.text(st.characters(categories=("Cf", "Mn", "Cc", "Lo")), max_size=8)
)
number = st.one_of(
    st.integers(-3, 12), st.integers(), st.floats(), st.sampled_from((10**40, -(10**25), 1e308, float("nan")))
)
value = st.recursive(
    st.one_of(st.none(), st.booleans(), number, text),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(text, inner, max_size=4)),
    max_leaves=8,
)
"""Anything that JSON can hold."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change some bytes: flip, cut, insert, repeat, overwrite with extremes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not changed:
            return bytes(rng.randbytes(rng.randrange(20)))
        place = rng.randrange(len(changed))
        kind = rng.randrange(7)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place] = rng.choice((0, 0xFF, 0x7F, 0x80, 0x22, 0x7B, 0x5B, 0x0A, rng.randrange(256)))
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            del changed[place : place + rng.randrange(1, 40)]
        elif kind == 4:
            changed[place:place] = rng.choice(ODD).encode("utf-8", "surrogatepass")
        elif kind == 5:
            changed[place:place] = changed[place : place + rng.randrange(1, 60)]
        else:
            size = rng.choice((1, 2, 4, 8))
            changed[place : place + size] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * size
    return bytes(changed)


def mutated_text(content: str, rng: random.Random) -> str:
    """Change a text by its lines and words: swap, repeat, delete, replace by odd values."""
    lines = content.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(place, lines[rng.randrange(len(lines))])
        elif kind == 2:
            head, colon, _tail = lines[place].partition(":")
            lines[place] = f"{head}{colon} {rng.choice(ODD)}"
        elif kind == 3:
            lines[place] = " " * rng.randrange(6) + lines[place]
        elif kind == 4:
            lines[place] = rng.choice(("&a [*a]", "- *b", "<<: *x", "!!python/object:os.system", "? [a]", "key: !!binary x", "a: 2001-99-99",
                                       "a: 0b", "a: 1_0", "[" * 3000, "{a: " * 500, "- - - -", "%YAML 9", "---", "...", "\tx: 1"))  # fmt: skip
        else:
            words = lines[place].split(" ")
            words[rng.randrange(len(words))] = rng.choice(ODD)
            lines[place] = " ".join(words)
    return "\n".join(lines)
