"""The manifest of a run: what was run, on what, with what; nothing of the environment that could be a secret."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Mapping
from typing import Any

from culnig.attribution import Scores
from culnig.files import sha256_json, write_json
from culnig.run.directory import RunDirectory
from culnig.studies import TestConfig
from culnig.versions import versions


def write_manifest(run: RunDirectory, seconds: Mapping[str, float]) -> None:
    """Write manifest.json; `seconds` are those of the steps done now, which join those of earlier executions."""
    write_json(run.path / "manifest.json", manifest_of(run, seconds))


def manifest_of(run: RunDirectory, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what manifest.json holds, of a run whose `neur` is scored; an unfinished run lacks some of the data."""
    path = run.path / "manifest.json"
    earlier = run.manifest if path.exists() else {}
    neur = run.scores("neur").meta
    scored = [part for part in run.scored if run.scores_path(part).is_file()]
    return {
        "format": 1,
        "finished": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "config_hash": sha256_json(run.config.model_dump(mode="json")),
        "model": {key: neur[key] for key in ("model", "model_hash", "revision", "dtype")}
        | {"trust_remote_code": run.config.model.trust_remote_code},
        "prompts": neur["prompts"],
        "seed": run.config.seed,
        "data": {part: _data_entry(run.scores(part).meta) for part in scored}
        | _means_entries(run)
        | {run.test_names[t.label]: _test_entry(run, t) for t in run.config.test}
        | _text_entry(run),
        "machine": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "seconds": {**earlier.get("seconds", {}), **{k: round(v, 1) for k, v in seconds.items()}},
    }


def _data_entry(meta: dict[str, Any]) -> dict[str, Any]:
    entry = {"data_hash": meta["data_hash"], "items": meta["num_items"], "prompts": meta["num_prompts"]}
    return entry | ({"rows": meta["rows"]} if meta.get("rows") else {})


def _means_entries(run: RunDirectory) -> dict[str, Any]:
    """What the means were measured on that replace values."""
    paths = {part: run.means_path(part) for part in run.parts}
    return {f"means-{part}": _data_entry(Scores.load(path).meta) for part, path in paths.items() if path.is_file()}


def _test_entry(run: RunDirectory, test: TestConfig) -> dict[str, Any]:
    path = run.result_path(test, "none")
    meta = run.result_on(test, "none").meta if path.exists() else {}
    entry = {"items": test.items, "role": test.role, "data_hash": meta.get("data_hash")}
    return entry | ({"rows": meta["rows"]} if meta.get("rows") else {})


def _text_entry(run: RunDirectory) -> dict[str, Any]:
    result = run.text("none")
    return {"plain-text": {"items": result.meta["text"], "data_hash": result.meta["data_hash"]}} if result else {}
