"""Push a neuron set to a folder or to the Hugging Face hub, and pull it from there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from culnig.errors import CulnigError, FetchError, UsageError
from culnig.files import check_writable
from culnig.integrations.repository import Repository, copy_files
from culnig.models import LanguageModel

PREFIXES = ("hf://", "hf:")
"""What an address on the hub begins with; anything else is a folder, so that nothing is uploaded by mistake."""


def hub_id(address: str) -> str | None:
    """Return the repository id of an address on the hub (`hf:owner/name`); None for a folder.

    Raises:
        UsageError: the address begins as one of the hub, but is none.
    """
    prefix = next((p for p in PREFIXES if address.startswith(p)), None)
    if prefix is None:
        return None
    name = address.removeprefix(prefix).strip("/")
    if name.count("/") != 1 or not all(name.split("/")):
        raise UsageError(f"{address}: an address on the hub is hf:owner/name")
    return name


def push(repository: Repository, target: str, *, public: bool = False) -> str:
    """Write a repository to a new folder, or upload it to the hub.

    Args:
        repository: the set and what belongs to it.
        target: a folder that does not exist, or `hf:owner/name`.
        public: whether a new repository on the hub is public; otherwise it is private.

    Returns:
        The folder, or the address of the upload.

    Raises:
        UsageError: the folder exists, or the set does not name its model.
        FetchError: the hub refuses.
    """
    name = hub_id(target)
    if name is not None:
        with tempfile.TemporaryDirectory() as scratch:
            repository.write(Path(scratch))
            return _upload(Path(scratch), name, public)
    folder = Path(target)
    with _new_folder(folder) as staged:
        repository.write(staged)
    return str(folder)


def pull(source: str, out: Path, *, lm: LanguageModel | None = None, revision: str | None = None) -> Repository:
    """Copy a repository into a new folder, after checking every file.

    Args:
        source: a folder, or `hf:owner/name`.
        out: the new folder; the set is its `neurons.json`.
        lm: the model that the set has to belong to; None leaves that check to the commands that use the set.
        revision: commit or branch on the hub.

    Raises:
        UsageError: no such folder, no repository of a neuron set, another model, or `out` exists.
        DataError: a file is missing or damaged.
        FetchError: the hub does not provide it.
    """
    name = hub_id(source)
    if name is None and revision is not None:
        raise UsageError(f"--revision is for an address on the hub; {source} is a folder")
    if name is None and not Path(source).is_dir():
        raise UsageError(f"no folder {source}; an address on the hub is hf:owner/name")
    folder = Path(source) if name is None else _download(name, revision)
    repository = Repository.read(folder)
    if lm is not None:
        repository.check(lm)
    with _new_folder(out) as staged:
        copy_files(folder, repository.record["files"], staged)
        Repository.read(staged)  # what was copied is what was checked
    return repository


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; give it its name if the body succeeds."""
    if folder.exists():
        raise UsageError(f"{folder} exists already; choose a new folder")
    check_writable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        staged = Path(scratch) / "set"
        staged.mkdir()
        yield staged
        shutil.move(staged, folder)


def _upload(folder: Path, name: str, public: bool) -> str:
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(name, private=not public, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Neuron set, by culnig push")
    except Exception as error:  # the hub's client raises errors of several libraries
        raise _explained(name, error, "upload to") from error
    return str(done.commit_url)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision))
    except Exception as error:  # as above
        raise _explained(name, error, "fetch") from error


def _explained(name: str, error: Exception, what: str) -> CulnigError:
    reason = " ".join(str(error).split())[:240]
    return FetchError(f"cannot {what} hf:{name}: {type(error).__name__}: {reason}; a folder works without the hub")
