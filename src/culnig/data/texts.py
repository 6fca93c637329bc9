"""Plain text: running text for perplexity, and the same sentences in several languages; embedded, or the user's files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from culnig.errors import DataError, UsageError
from culnig.files import require_file

EMBEDDED = "plain"
SENTENCES = "sentences"


def load_texts(source: str | Path = EMBEDDED) -> list[str]:
    """Return paragraphs of running text.

    Args:
        source: "plain", or a UTF-8 text file whose paragraphs are separated by blank lines.  "plain" is 40 short
            paragraphs of plain English without cultural content, written for this project.

    Raises:
        UsageError: the file does not exist.
        DataError: the file is not UTF-8, or has no text in it.
    """
    if str(source) == EMBEDDED:
        text = (resources.files("culnig.data") / "plain_text.txt").read_text(encoding="utf-8")
    else:
        path = require_file(source, "a text file (or `plain`, the embedded sample)")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            blocks[-1].append(line.strip())
        elif blocks[-1]:
            blocks.append([])
    paragraphs = [" ".join(block) for block in blocks if block]
    if not paragraphs:
        raise DataError(f"{source}: no text in it")
    return paragraphs


def load_languages(source: str | Path = SENTENCES) -> dict[str, list[str]]:
    """Texts in several languages: language -> its texts.

    Args:
        source: "sentences", eight plain sentences in six languages, written for this project; or a folder of UTF-8 files
            `<language>.txt`, whose paragraphs are set apart by blank lines.

    Raises:
        UsageError: no such folder, or fewer than two languages in it.
        DataError: a file that is not UTF-8, or has nothing in it.
    """
    if str(source) == SENTENCES:
        import yaml

        return yaml.safe_load((resources.files("culnig.data") / "sentences.yaml").read_text(encoding="utf-8"))
    files = sorted(Path(source).glob("*.txt"))
    if len(files) < 2:
        raise UsageError(f"{source}: {len(files)} files <language>.txt; a folder with two languages at least is needed")
    return {path.stem: load_texts(path) for path in files}
