"""Taking a run folder: one run at a time, and only of its own config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from culnig.errors import CulnigError, UsageError, WriteError
from culnig.files import check_writable, write_text
from culnig.run.directory import RunDirectory
from culnig.writing import rooted

GROWING = ("studies", "seeds", "guards")
"""Settings that may change in a folder that holds a run: they add to what is measured."""


@contextmanager
def claimed(directory: RunDirectory) -> Iterator[None]:
    """Within the block the folder is locked, and its config is that of the run.

    Nothing in the folder changes before the lock is held, so that a second run leaves the first one alone.

    Raises:
        UsageError: the folder cannot be written, is in use, or holds something else.
    """
    from filelock import FileLock, Timeout

    _check_writable(directory)
    lock = FileLock(directory.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{directory.path} is in use by another run; wait for it, or choose another --out") from None
    try:
        _claim(directory)
        with _while_there(directory):
            yield
    finally:
        lock.release()


@contextmanager
def _while_there(directory: RunDirectory) -> Iterator[None]:
    """Within the block, an error is put down to the deletion of the folder if it has been deleted."""
    try:
        with rooted(directory.path):
            yield
    except CulnigError as error:
        if isinstance(error, WriteError) or (directory.path / "config.yaml").exists():
            raise
        raise WriteError(f"{directory.path} was deleted while it was in use; run the same command again") from error


def _check_writable(directory: RunDirectory) -> None:
    """Make the folder, and write into it once: clearer than an error from deep inside a step."""
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot write into {directory.path}: {error.strerror}; choose another --out") from error
    check_writable(directory.path / "config.yaml")


def _claim(directory: RunDirectory) -> None:
    """Write the resolved config, or check that the folder's own is the same."""
    path = directory.path / "config.yaml"
    mine = directory.config.model_dump(mode="json")
    text = yaml.safe_dump(mine, sort_keys=False, allow_unicode=True)
    if not path.exists():
        others = [p for p in directory.path.iterdir() if not p.name.startswith(".")]
        if others:
            raise UsageError(f"{directory.path} holds other files ({others[0].name}, ...); choose an empty --out")
        write_text(path, text)
        return
    theirs = RunDirectory.open(directory.path).config.model_dump(mode="json")
    if different := _at_odds(mine, theirs):
        raise UsageError(
            f"{directory.path} holds a run with other settings ({', '.join(different)}); choose another --out, or delete it"
        )
    if any(mine[key] != theirs[key] for key in GROWING):
        write_text(path, text)  # further studies, seeds or guards of the same run: what is measured stays
        if mine["seeds"] != theirs["seeds"]:  # a seed has sets of its own
            for done in (directory.path / "neurons").glob(".*.done"):
                done.unlink()


def _at_odds(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Settings that a folder's measurements do not have."""
    different = [key for key in mine if key not in (*GROWING, "compute") and mine[key] != theirs[key]]
    if mine["seeds"] < theirs["seeds"]:
        different.append("fewer seeds")
    if theirs["guards"]["text"] not in (None, mine["guards"]["text"]):
        different.append("guards.text")
    return different
