"""`check_config`: every error of a config that shows without a model, before the model is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from culnig.data import DataConfig, load_texts
from culnig.errors import CulnigError, UsageError
from culnig.files import safe_names
from culnig.integrations.tracking import check_tracking
from culnig.models.places import check_place, recommended
from culnig.prompts import PromptPolicy, render
from culnig.run.config import RunConfig
from culnig.run.directory import RunDirectory
from culnig.studies import Study, studies_of


def check_config(config: RunConfig) -> None:
    """Check the studies, their roles, every set of items, the templates, the texts and the place of the model.

    Raises:
        CulnigError: the first thing that is wrong; the message names the setting.
    """
    for name, study in studies_of(config):
        _check_study(name, study, config)
    if config.model.device_map == "fsdp" and (number := _written(config)) is not None:
        raise UsageError(f"test.{number}: the model writes short answers, which model.device_map=fsdp cannot; use auto")
    check_tracking(config.tracking)
    check_place(config.model.name)
    if config.compute.scores_from:
        RunDirectory.open(Path(config.compute.scores_from))
    policy = config.prompts.policy(recommended(config.model.name))
    checked = set()
    for where, data, asked in _sets(config):
        key = data.model_dump_json(include=set(DataConfig.model_fields)), asked
        if key not in checked:
            _check_items(where, data, config, policy.for_writing if asked == "short" else policy)
            checked.add(key)
    if config.guards.text is not None:
        _named("guards.text", load_texts, config.guards.text)


def data_of(settings: BaseModel, where: str) -> Iterator[tuple[str, DataConfig]]:
    """All sets of items in some settings, with the path of each."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        members = value if isinstance(value, dict) else {"": value}
        for key, member in members.items():
            path = ".".join(filter(None, (where, name, str(key))))
            if isinstance(member, DataConfig):
                yield path, member
            elif isinstance(member, BaseModel):
                yield from data_of(member, path)


def data_of_study(config: RunConfig, study: Study) -> dict[str, DataConfig]:
    """The sets of items in a study's own section of the config, by their paths."""
    section = getattr(study, "section", None)
    return dict(data_of(getattr(config, section), section)) if section else {}


def _check_study(name: str, study: Study, config: RunConfig) -> None:
    for role in getattr(study, "needs", ()):
        if config.test_of(role) is None:
            raise UsageError(f"the study {name} needs a test set of the role {role}; add one under `test`")
    if check := getattr(study, "check", None):
        _named(name, check, config)
    if config.model.quantize and getattr(study, "trains_weights", False):
        raise UsageError(
            f"the study {name} trains weights, and those of a quantised model cannot be: unset model.quantize"
        )
    if config.model.device_map == "fsdp" and (
        getattr(study, "trains_weights", False) or getattr(study, "needs_whole_model", False)
    ):
        raise UsageError(f"the study {name} needs the whole model in a process; use model.device_map=auto, not fsdp")


def _written(config: RunConfig) -> int | None:
    """Return the number of the first test set whose answers the model writes."""
    return next((number for number, test in enumerate(config.test) if test.role == "short"), None)


def _sets(config: RunConfig) -> Iterator[tuple[str, DataConfig, str]]:
    """All sets of items that a run loads: where they stand, the set, and the role that decides how they are asked."""
    yield from ((where, data, "") for where, data in data_of(config.identify, "identify"))
    yield from ((f"test.{number}", test, test.role) for number, test in enumerate(config.test))
    for _, study in studies_of(config):
        yield from ((where, data, "") for where, data in data_of_study(config, study).items())


def _check_items(where: str, data: DataConfig, config: RunConfig, policy: PromptPolicy) -> None:
    items = _named(where, data.load, config.seed, config.sources)
    if not items:
        raise UsageError(f"{where}: no items are left of {data.items}")
    _named(where, safe_names, (item.country for item in items))
    for item in items:
        _named(where, render, [item], policy)


def _named(where: str, call: Any, *arguments: Any) -> Any:
    """The value of a call; an error says which setting it is about."""
    try:
        return call(*arguments)
    except CulnigError as error:
        raise type(error)(f"{where}: {error}") from error
