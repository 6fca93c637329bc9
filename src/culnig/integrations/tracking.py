"""Send a finished run's figures to Weights & Biases or MLflow, if its config turns that on; nothing is sent otherwise."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from culnig.errors import CulnigError
from culnig.integrations.extras import needed
from culnig.settings import Settings

WHO = "the setting `tracking.to`"
Tracker = Literal["wandb", "mlflow"]


class TrackingConfig(Settings):
    """Trackers that get the figures of a finished run."""

    to: list[Tracker] = Field([], description="wandb, mlflow: nothing is sent or written unless named here")
    project: str = Field("culnig", description="project (wandb) or experiment (mlflow)")
    wandb_mode: Literal["online", "offline"] = Field("online", description="offline: files in the run's folder")
    mlflow_uri: str | None = Field(None, description="server, database or folder; null is MLflow's own default")
    report: bool = Field(False, description="send report.html, too")


def check_tracking(settings: TrackingConfig) -> None:
    """Import what is needed, before the run takes its time.

    Raises:
        UsageError: a package is not installed.
    """
    for name in settings.to:
        needed(name, name, WHO)


def metrics_of(results: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return every number of a run's results.json by its path, and the seconds of its steps.

    Lists of numbers are left out: rows of tables have names only in the run's folder.  NaN is left out, too.
    """
    found = {"/".join(path): value for path, value in _numbers(results, ())}
    return found | {f"seconds/{_safe(name)}": float(value) for name, value in seconds.items()}


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, (*path, _safe(str(key))))
    elif isinstance(value, list):
        for row in value:
            if isinstance(row, Mapping) and (
                name := next((row[k] for k in ("name", "test", "what") if k in row), None)
            ):
                yield from _numbers({k: v for k, v in row.items() if not isinstance(v, str)}, (*path, _safe(str(name))))
    elif isinstance(value, bool) or (isinstance(value, int | float) and value == value and abs(value) != float("inf")):
        yield path, float(value)


def _safe(name: str) -> str:
    """Return a name that both trackers take."""
    return re.sub(r"[^A-Za-z0-9_\-. ]+", "_", name).strip() or "_"


def track(
    settings: TrackingConfig, folder: Path, *, name: str, config: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Send the figures to every tracker that is named.

    Args:
        settings: the run's section `tracking`.
        folder: the run's folder, with report.html.
        name: name of the run.
        config: its settings, as JSON values.
        metrics: what `metrics_of` returns.

    Raises:
        CulnigError: a tracker refuses; the run itself is finished.
    """
    for tracker in settings.to:
        try:
            {"wandb": _wandb, "mlflow": _mlflow}[tracker](settings, folder, name, config, metrics)
        except CulnigError:
            raise
        except Exception as error:  # the trackers raise errors of several libraries
            reason = " ".join(str(error).split())[:240]
            raise CulnigError(
                f"the run is finished, but {tracker} did not take its figures: {type(error).__name__}: {reason};"
                " run the same command again to send them, or leave tracking.to out"
            ) from error


def _wandb(
    settings: TrackingConfig, folder: Path, name: str, config: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    wandb = needed("wandb", "wandb", WHO)
    mode = "offline" if os.environ.get("WANDB_MODE") == "offline" else settings.wandb_mode
    quiet = wandb.Settings(silent=True)
    run = wandb.init(
        project=settings.project, name=name, config=dict(config), dir=str(folder), mode=mode, settings=quiet
    )
    run.summary.update(dict(metrics))
    run.log(dict(metrics))
    if settings.report:
        run.log({"report": wandb.Html((folder / "report.html").read_text(encoding="utf-8"), inject=False)})
    run.finish()


def _mlflow(
    settings: TrackingConfig, folder: Path, name: str, config: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    mlflow = needed("mlflow", "mlflow", WHO)
    if settings.mlflow_uri is not None:
        mlflow.set_tracking_uri(settings.mlflow_uri)
    mlflow.set_experiment(settings.project)
    with mlflow.start_run(run_name=name):
        mlflow.log_dict(dict(config), "config.json")
        flat = {key: value for key, value in _flat(config, "") if len(value) <= 500}
        for start in range(0, len(flat), 100):  # MLflow takes so many at once
            mlflow.log_params(dict(list(flat.items())[start : start + 100]))
        mlflow.log_metrics(dict(metrics))
        if settings.report:
            mlflow.log_artifact(str(folder / "report.html"))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, str(value)
