"""A run's figures in W&B (offline) and MLflow (a local store), and nowhere unless the config says so."""

from __future__ import annotations

import json
import struct
import sys
import time

import pytest
import yaml

from tests.helpers.cli import invoke, use
from tests.helpers.configs import write_config


def with_tracking(folder, reference_dir, **tracking):
    path = write_config(folder, reference_dir)
    settings = yaml.safe_load(path.read_text()) | {"studies": ["culture_general"], "guards": {"text": None}}
    path.write_text(yaml.safe_dump(settings | {"tracking": tracking}))
    return path


def test_numbers_by_their_paths():
    from culnig.integrations.tracking import metrics_of

    results = {"a": {"drop": {"culture": {"difference": -0.1, "p": float("nan")}}, "claim": "x", "many": [1, 2]}}
    results["a"]["tests"] = [{"test": "everyday:test", "b": 0.5, "role": "culture"}]
    assert metrics_of(results, {"score neur": 2}) == {
        "a/drop/culture/difference": -0.1,
        "a/tests/everyday_test/b": 0.5,
        "seconds/score neur": 2.0,
    }


def test_a_missing_package_is_told_before_the_run(tmp_path, reference_dir, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    path = with_tracking(tmp_path, reference_dir, to=["wandb"])
    code, _, err = use(capsys, monkeypatch, "run", path, "--out", tmp_path / "run")
    assert code == 2 and "pip install 'culnig[wandb]'" in err and not (tmp_path / "run" / "scores").exists()


@pytest.mark.slow
def test_nothing_is_imported_unless_it_is_on(tmp_path, reference_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    path = with_tracking(tmp_path, reference_dir)
    assert invoke("run", path, "--out", tmp_path / "run", "--json").exit_code == 0


@pytest.mark.slow
def test_wandb_offline(tmp_path, reference_dir, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = with_tracking(tmp_path, reference_dir, to=["wandb"], wandb_mode="offline")
    results = json.loads(invoke("run", path, "--out", tmp_path / "run", "--json").stdout)
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    drop, name = results["culture_general"]["drop"]["culture"]["difference"], "culture_general/drop/culture/difference"
    end = time.monotonic() + 120
    while name not in summary_of(log) and time.monotonic() < end:
        time.sleep(1)  # a process of W&B's own writes the file; on a busy machine it is behind
    assert float(summary_of(log)[name]) == pytest.approx(drop)


def summary_of(log):
    """Read the figures back from W&B's own file: records in LevelDB's log format, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, block, record, found = log.read_bytes(), 7, 32768, b"", {}
    while place + 7 <= len(data):
        if block - place % block < 7:  # no header fits into the rest of a block
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record = (b"" if kind in (1, 2) else record) + data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or last part
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            for item in parsed.history.item:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


@pytest.mark.slow
def test_mlflow_in_a_local_store(tmp_path, reference_dir, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # later versions want a database or a server
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "store").as_uri()
    path = with_tracking(tmp_path, reference_dir, to=["mlflow"], mlflow_uri=uri, report=True, project="mine")
    results = json.loads(invoke("run", path, "--out", tmp_path / "run", "--json").stdout)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    drop = results["culture_general"]["drop"]["culture"]["difference"]
    assert run.data.metrics["culture_general/drop/culture/difference"] == pytest.approx(drop)
    assert run.data.params["random_controls"] == "2"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"config.json", "report.html"}
