"""Write files and folders under a temporary name, and rename them when they are complete."""

from __future__ import annotations

import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from culnig.errors import UsageError, WriteError

_roots: list[Path] = []


@contextmanager
def rooted(root: Path) -> Iterator[None]:
    """Within the block, nothing makes this folder anew once it has been deleted: half of its files would be missing."""
    _roots.append(root)
    try:
        yield
    finally:
        _roots.remove(root)


def check_roots(folder: Path) -> None:
    """Raise an error if a folder lies in one that was deleted while this process works in it.

    Raises:
        WriteError: it does.
    """
    for root in _roots:
        if (root == folder or root in folder.parents) and not root.is_dir():
            raise WriteError(f"{root} was deleted while it was in use; run the same command again")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` if the body succeeds, delete it otherwise.

    The bytes are on the disk before the name is.  What a killed process left behind in the folder is deleted.

    Raises:
        UsageError: `path` is a folder.
        WriteError: the folder cannot be created or written, or the disk is full or fails.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file to write")
    _make_folder(path.parent)
    temporary = _temporary(path)
    try:
        with explained_writing(path):
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling folder; rename it to `path` if the body succeeds, delete it otherwise.

    A folder `path` that exists is replaced.

    Raises:
        WriteError: as for `atomic_path`.
    """
    path = Path(path)
    with scratch_folder(path) as temporary, explained_writing(path):
        yield temporary
        if path.is_dir():
            aside = _temporary(path)
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        temporary.rename(path)


@contextmanager
def scratch_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and delete it at the end.

    Raises:
        WriteError: the folder cannot be made.
    """
    path = Path(path)
    _make_folder(path.parent)
    temporary = _temporary(path)
    try:
        with explained_writing(path):
            temporary.mkdir()
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    """Create a folder, and delete what killed processes of this machine left behind in it."""
    check_roots(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot create the folder {folder}: {error.strerror}; choose another --out") from error
    sweep(folder)


@cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40] or "host"


def _temporary(path: Path) -> Path:
    """Return a new name beside a path that says which process uses it: `.<name>.<host>.<process>-<random>.part`."""
    tail = f".{_host()}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    kept = path.name.encode()[: 250 - len(tail)].decode(errors="ignore")  # names have 255 bytes at most
    return path.with_name(f".{kept}{tail}")


def sweep(folder: Path) -> None:
    """Delete temporary files and folders of processes that are dead; those of other machines are left alone."""
    mine = f".{_host()}."
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.name.startswith(".") and entry.name.endswith(".part") and mine in entry.name):
                continue
            process = entry.name.rpartition(mine)[2].partition("-")[0]
            if process.isdigit() and int(process) != os.getpid() and not _alive(int(process)):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        Path(entry.path).unlink()


def _alive(process: int) -> bool:
    import psutil

    return psutil.pid_exists(process)


_NUMBER = re.compile(r"\b(?:os error|errno) (\d+)", re.IGNORECASE)


@contextmanager
def explained_writing(path: Path | str) -> Iterator[None]:
    """Turn an error of the operating system within the block into one line about the file that was being written.

    Libraries wrap such errors in their own kinds; their messages still hold the system's number.

    Raises:
        WriteError: the system could not write.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and not _beside(error.filename, path):
            raise  # about a file that was being read
        number = error.errno or _number(error)
        reason = os.strerror(number) if number else " ".join(str(error).split())
        raise WriteError(f"cannot write {path}: {reason}; {_advice(number)}") from error
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        raise WriteError(f"cannot write {path}: {os.strerror(number)}; {_advice(number)}") from error


def _beside(filename: Any, path: Path | str) -> bool:
    """Whether a file is, or is beside or below, the one that is being written."""
    return Path(path).parent.absolute() in Path(os.fsdecode(filename)).absolute().parents


def _number(error: BaseException) -> int | None:
    """Return the system's error number that a library's message tells."""
    name = type(error).__name__
    found = _NUMBER.search(str(error))
    if found and (isinstance(error, OSError) or "Safetensor" in name or "Arrow" in name):
        return int(found[1])
    if isinstance(error, RuntimeError) and re.search("PytorchStreamWriter|inline_container|iostream error", str(error)):
        return 5  # torch.save does not tell which error it was
    return None


def _advice(number: int | None) -> str:
    if number in (28, 122):  # no space, quota
        return "make room and run the same command again, or choose another place"
    return "choose another place" if number in (1, 13, 30) else "run the same command again, or choose another place"


def check_writable(path: Path | str) -> None:
    """Raise an error now, not after an hour of work, if `path` cannot be written.

    Raises:
        UsageError: `path` is a folder.
        WriteError: as `atomic_path` would raise at the end.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file to write")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = _temporary(folder / "probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise WriteError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error
    sweep(folder)
