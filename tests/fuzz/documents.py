"""Documents: configs, descriptions of data sets, templates, neuron sets, scores, results, GGUF files, model folders."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.boundary import Tally, culnig
from tests.fuzz.rows import DESCRIBED
from tests.fuzz.texts import ODD, mutated, mutated_text, text, value

REFERENCE = Path(__file__).parents[1] / "files" / "reference"
TEMPLATE = """mcf:
  option: "{label}. {option}"
  wordings:
    - {id: one, text: "w1 {question} {options}", control: "w1 {options}", prefix: "w5"}
cf:
  wordings:
    - {id: two, text: "w1 {question} {country}", control: "w2", join: " "}
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
settings = st.dictionaries(
    st.sampled_from(
        ("name", "seed", "model", "prompts", "identify", "test", "scoring", "blocks", "studies", "compute", "base")
    )
    | text,
    value,
    max_size=4,
)
neuron_rows = st.lists(
    st.fixed_dictionaries(
        {
            "module_name": st.just("mlp.gate_proj") | text,
            "layer_idx": st.integers(-2, 9),
            "neuron_idx": st.integers(-2, 99),
        },
        optional={"attribute_score": value, "expert_idx": value, "more": value},
    )
    | value,
    max_size=5,
)
neuron_files = st.fixed_dictionaries(
    {"top_neurons": neuron_rows | value},
    optional={
        "model_name": value,
        "dataset_ids": value,
        "provenance": value,
        "expert_widths": value,
        "checksum": value,
    },
)
result_rows = st.lists(
    st.dictionaries(st.sampled_from(("id", "correct", "p_gold", "country", "gold")), text | st.integers(-2, 3)),
    max_size=4,
)


@dataclass
class Material:
    """Good files to start from, made once."""

    folder: Path
    scores: Path
    neurons: Path
    results: Path
    other: Path
    shard: Path
    gguf: Path
    config: str
    items: Path


def make(folder: Path) -> Material:
    """Make the good files with the tiny model."""
    from tests.helpers.configs import write_config, write_items

    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(folder, REFERENCE)
    items = Path(write_items(folder / "few.jsonl", "few", count=8))
    found = Material(
        folder, *(folder / n for n in ("s.safetensors", "n.json", "a.parquet", "b.parquet", "1.safetensors", "tiny.gguf")),
        config.read_text(), items,
    )  # fmt: skip
    model = ("--model", REFERENCE, "--formulation", "cf", "--items", items)
    _good("score", *model, "--out", found.scores)
    _good("score", *model, "--out", found.shard, "--shard", "1/2")
    _good(
        "select", "general", "--neur", found.scores, "--no-ctrl", "--no-crc", "--t-attn", "0.01", "--out", found.neurons
    )
    _good("eval", *model, "--out", found.results)
    _good("eval", *model, "--neurons", found.neurons, "--op", "suppress", "--out", found.other)
    _write_gguf(found.gguf)
    return found


def _good(*args: Any) -> None:
    case = culnig(*args)
    assert case.code == 0, f"{args}: {case.err}{case.trace}"


def _write_gguf(path: Path) -> None:
    """A small GGUF file with a header of all kinds of values; it lacks what makes a model."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"w{i}" for i in range(8)])
    writer.add_token_scores([0.0] * 8)
    writer.add_tensor("token_embd.weight", np.zeros((8, 16), np.float32))
    writer.add_tensor("output_norm.weight", np.ones(16, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def config_file(value: Any, material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A run's config: generated, or a good one with changed lines, or an override."""
    path = folder / "config.yaml"
    kind = rng.randrange(4)
    args: list[Any] = ["paper-check", path]
    if kind == 0:
        path.write_text(json.dumps(value))  # JSON is YAML
    elif kind == 1:
        path.write_bytes(mutated(material.config.encode(), rng))
    elif kind == 2 or not value:
        path.write_text(mutated_text(material.config, rng))
    else:
        path.write_text(material.config)
        args += ["--set", f"{rng.choice(list(value))}={rng.choice(ODD)}"]
    tally.add("YAML config", culnig(*_plain(args)), path.read_bytes()[-400:])


def _plain(args: list[Any]) -> list[str]:
    """Arguments as a shell can pass them: without NUL, and with halves of surrogate pairs only as it decodes bytes."""
    return [str(each).replace("\x00", "") for each in args]


def described(material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A description of a user's data set with changed lines or bytes, or a YAML bomb."""
    (folder / "good.csv").write_text("q,a,b,gold,c\nw1,w2,w3,w2,Iran\nw4,w5,w6,w6,Spain\n")
    good = DESCRIBED.format(file="good.csv")
    path = folder / "mine.yaml"
    if rng.random() < 0.02:
        path.write_text(good + BOMB)
    elif rng.random() < 0.5:
        path.write_text(mutated_text(good, rng))
    else:
        path.write_bytes(mutated(good.encode(), rng))
    tally.add("YAML user benchmark", culnig("data", "check", path), path.read_bytes()[:400])


def template(material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A prompt template with changed lines or bytes."""
    path = folder / f"t{rng.randrange(10**9)}.yaml"
    path.write_bytes(mutated_text(TEMPLATE, rng).encode() if rng.random() < 0.6 else mutated(TEMPLATE.encode(), rng))
    args = [
        "data",
        "show",
        str(material.items),
        "-n",
        "1",
        "--template",
        str(path),
        "--formulation",
        rng.choice(("mcf", "cf")),
    ]
    tally.add("template", culnig(*args), path.read_bytes())
    path.unlink()


def neuron_file(value: Any, material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A neuron set: generated without a checksum, or a good one with changed bytes, which must be refused."""
    path, out = folder / "n.json", folder / "r.json"
    out.unlink(missing_ok=True)
    changed = rng.random() < 0.5
    path.write_bytes(mutated(material.neurons.read_bytes(), rng) if changed else json.dumps(value).encode())
    case = culnig("select", "random", "--like", path, "--scores", material.scores, "--out", out)
    tally.add("neuron file", case, path.read_bytes()[:300])
    if changed and case.code == 0 and _differs(path, material.neurons):
        tally.drop("neuron file", f"a damaged file was used: {path.read_bytes()[:200]!r}")
    if case.code and out.exists():
        tally.drop("neuron file", "refused, and yet an output")


def _differs(path: Path, good: Path) -> bool:
    """Whether a file that was changed has another value than the good one."""
    try:
        return json.loads(path.read_bytes()) != json.loads(good.read_bytes())
    except ValueError:
        return True


def score_file(material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A score file with changed bytes: with its checksum, which must refuse it, or as of version 0.1, without."""
    path, out = folder / "s.safetensors", folder / "r.json"
    out.unlink(missing_ok=True)
    old = rng.random() < 0.5
    source = material.shard if rng.random() < 0.3 else material.scores
    content = mutated(without_seal(source.read_bytes()) if old else source.read_bytes(), rng)
    path.write_bytes(content)
    if source is material.shard:
        case = culnig("merge", path, "--out", out)
    else:
        case = culnig("select", "general", "--neur", path, "--no-ctrl", "--no-crc", "--out", out)
    tally.add("score file, 0.1" if old else "score file", case, content[:200])
    if not old and case.code == 0 and content != source.read_bytes():
        tally.drop("score file", "a damaged file was used")
    if case.code and out.exists():
        tally.drop("score file", "refused, and yet an output")


def without_seal(content: bytes) -> bytes:
    """A safetensors file as an earlier version wrote it: the header without the fields of the seal."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    meta = json.loads(header["__metadata__"]["culnig"])
    header["__metadata__"] = {"culnig": json.dumps({k: v for k, v in meta.items() if k not in ("checksum", "sealed")})}
    made = json.dumps(header).encode()
    made += b" " * (-len(made) % 8)
    return len(made).to_bytes(8, "little") + made + content[8 + size :]


def result_file(rows: Any, material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A result file with changed bytes, which must be refused, or generated rows without a checksum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "e.parquet"
    if rng.random() < 0.6:
        content = mutated(material.results.read_bytes(), rng)
        path.write_bytes(content)
        damaged = content != material.results.read_bytes()
    else:
        damaged = False
        strings = [{key: str(value) for key, value in row.items()} for row in rows]
        made = pa.Table.from_pylist(strings) if strings else pa.table({"id": pa.array([], pa.string())})
        pq.write_table(made.replace_schema_metadata({b"culnig": rng.choice(ODD).encode() or b"{}"}), path)
    case = culnig("stats", material.other, path)
    tally.add("result file", case, path.read_bytes()[:100])
    if damaged and case.code == 0:
        tally.drop("result file", "a damaged file was used")


def gguf_file(material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A GGUF file whose header has changed bytes."""
    path = folder / f"g{rng.randrange(10**9)}.gguf"
    good = material.gguf.read_bytes()
    head = mutated(good[:700], rng)
    path.write_bytes(head + good[700:] if rng.random() < 0.8 else mutated(good, rng))
    tally.add("GGUF header", culnig("models", "inspect", path), path.read_bytes()[:120])
    path.unlink()


def model_folder(material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A model's folder in which one file has changed bytes."""
    place = folder / f"m{rng.randrange(10**9)}"
    shutil.copytree(REFERENCE, place, ignore=shutil.ignore_patterns("items.json", "*.npz"))
    names = sorted(p.name for p in place.iterdir() if p.is_file())
    name = rng.choice([n for n in names if n.endswith((".json", ".safetensors"))])
    content = (place / name).read_bytes()
    head = mutated(content[:4000], rng) + content[4000:]
    (place / name).write_bytes(
        mutated_text(content.decode(), rng).encode() if name.endswith(".json") and rng.random() < 0.5 else head
    )
    tally.add("model folder", culnig("models", "inspect", place), f"{name}: {(place / name).read_bytes()[:150]!r}")
    shutil.rmtree(place)
