"""Run one job in several processes, by accelerate and torch.distributed; a single process is the simple case.

`accelerate launch -m culnig ...` and `torchrun -m culnig ...` start the processes; nothing else is needed.

Processes meet in a key-value store before each collective operation.  Waiting there has no time limit, so one process
may work for hours while the others wait.  A process that fails leaves its message in the store, and the others end.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from culnig.errors import CulnigError

if TYPE_CHECKING:
    import torch  # imported where it is used, because the command line answers `--help` without it

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(hours=6)
"""Limit of one collective operation.  In training, one process may write a checkpoint while the others wait."""
BEAT = 1.0
"""Seconds between two signs of life."""
SILENT_BEATS = 600
"""A process counts as dead when it has given this many signs of life fewer than expected."""
PATIENCE = 20.0
"""Longest time in seconds that a failed process 0 waits for the others to read its message."""
GRACE = 2.0
"""Seconds in which a failed process can print its own message before the others end."""


class ProcessFailed(CulnigError):
    """Another process of the job has failed."""


class _Board:
    """Messages between the processes, in a store with its own connection.

    The store is the one that torchrun, or process 0, keeps under MASTER_ADDR and MASTER_PORT.  No call to it blocks.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store = store
        self.rank = rank
        self.size = size
        self._meetings = 0
        self._read: ProcessFailed | None = None
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="culnig-processes", daemon=True)
        self._watcher.start()
        # A thread that still runs while the interpreter ends can abort the process.
        atexit.register(self.stop_watching)

    def meet(self) -> None:
        """Return when every process has made as many calls of this method as this process.

        Raises:
            ProcessFailed: another process has failed.
        """
        self._meetings += 1
        self._await(f"met/{self._meetings}", 1, self.size)

    def stop_watching(self) -> None:
        """End the thread that looks for failures."""
        self._closed.set()
        self._watcher.join(timeout=10)

    def close(self) -> None:
        """Meet for the last time; process 0 leaves last, because it may hold the store."""
        self.stop_watching()
        self.meet()
        if self.rank == 0:
            self._await("left", 0, self.size - 1)
        else:
            self.store.add("left", 1)

    def _await(self, key: str, mine: int, wanted: int) -> None:
        """Add `mine` to a counter, and return when the counter has reached `wanted`."""
        pause = 0.001
        here = self.store.add(key, mine)
        while here < wanted:
            if failure := self.failure():
                time.sleep(GRACE)
                raise failure
            time.sleep(pause)
            pause = min(0.2, 1.5 * pause)
            here = self.store.add(key, 0)

    def tell(self, message: str, code: int) -> None:
        """Write the message of a failure; only the first one is kept."""
        with suppress(RuntimeError):  # the store may have ended with the process that holds it
            self.store.compare_set("failed", "", json.dumps([self.rank, message, code]))

    def linger(self) -> None:
        """Let the other processes read why process 0 ends, because it may hold the store."""
        patience = time.monotonic() + PATIENCE
        with suppress(RuntimeError):
            while self.rank == 0 and self.store.add("read", 0) < self.size - 1 and time.monotonic() < patience:
                time.sleep(0.1)

    def failure(self) -> ProcessFailed | None:
        """Return the failure of another process, or None; once every process has read it, the store may end."""
        if self._read is None and self.store.check(["failed"]):
            rank, message, code = json.loads(self.store.get("failed"))
            if rank == self.rank:
                return None
            failed = ProcessFailed(f"stopped, because process {rank} failed: {message}")
            failed.exit_code = code
            self._read = failed  # set before process 0 learns that it may leave
            self.store.add("read", 1)
        return self._read

    def cause(self) -> ProcessFailed | None:
        """Return the failure of another process, or None; a broken connection to the store is also a failure."""
        try:
            return self.failure()
        except RuntimeError as error:
            return ProcessFailed(f"stopped, because the connection to process 0 broke: {error}")

    def _watch(self) -> None:
        """End this process soon after another one has failed, whatever it is doing."""
        peers = [0] if self.rank else range(1, self.size)
        beats, silent = dict.fromkeys(peers, -1), dict.fromkeys(peers, 0)
        while not self._closed.wait(BEAT):
            try:
                self.store.add(f"beat/{self.rank}", 1)
                for peer in peers:
                    latest = self.store.add(f"beat/{peer}", 0)
                    silent[peer] = silent[peer] + 1 if latest == beats[peer] else 0
                    beats[peer] = latest
            except RuntimeError:  # the store has ended with the process that holds it
                pass
            failure = self.cause()
            if dead := [peer for peer in peers if silent[peer] >= SILENT_BEATS]:
                failure = failure or ProcessFailed(f"stopped, because process {dead[0]} gives no sign of life")
            if failure and not self._closed.wait(2 * GRACE):
                print(f"culnig: {failure}", file=sys.stderr)
                leave(failure.exit_code)


_board: _Board | None = None
"""The connection to the other processes; None before it is made and after it is closed."""


@lru_cache(maxsize=1)
def _state() -> Any:
    """Return accelerate's process state; None for a single process."""
    global _board
    if size() <= 1:
        return None
    import torch
    from accelerate import PartialState
    from torch.distributed import PrefixStore, TCPStore

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=COLLECTIVE_TIMEOUT)
    place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps its store when it restarts the workers
    store = TCPStore(place, port, is_master=False, timeout=timedelta(minutes=5))
    _board = _Board(PrefixStore(f"culnig/{attempt}", store), rank(), size())
    return state


def rank() -> int:
    """Return this process's number, from 0."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


def size() -> int:
    """Return the number of processes."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


def is_main() -> bool:
    """Return whether this is the process that writes."""
    return rank() == 0


def device() -> torch.device | None:
    """Return the device of this process; None for a single process."""
    state = _state()
    return state.device if state else None


def share(parts: Sequence[T]) -> Sequence[T]:
    """Return this process's share of some work: every size-th part."""
    return parts[rank() :: size()]


def wait() -> None:
    """Wait until all processes are here; there is no time limit.

    Raises:
        ProcessFailed: another process has failed.
    """
    if _state() is not None and _board is not None:
        _board.meet()


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Add up tensors over all processes, in place."""
    if (state := _state()) is None:
        return
    import torch

    wait()
    for tensor in tensors:
        # NCCL reduces only tensors on a GPU, but the sums of an offloaded layer are on the CPU.
        reduced = tensor.to(state.device)
        torch.distributed.all_reduce(reduced)
        if reduced is not tensor:
            tensor.copy_(reduced)


def gather(values: dict[int, T]) -> dict[int, T]:
    """Return the union of all processes' dictionaries, on every process."""
    if _state() is None:
        return values
    from accelerate.utils import gather_object

    wait()
    # gather_object takes and returns lists.
    return dict(gather_object(list(values.items())))


def decided_by_main(choice: bool) -> bool:
    """Return the choice of process 0, on every process."""
    if (state := _state()) is None:
        return choice
    import torch

    flag = torch.tensor([choice], dtype=torch.uint8, device=state.device)
    torch.distributed.broadcast(flag, src=0)
    return bool(flag.item())


def from_main(make: Callable[[], T]) -> T:
    """Return what process 0 makes, on every process; the others do not call `make`."""
    if _state() is None:
        return make()
    from accelerate.utils import broadcast_object_list

    made: list[Any] = [make() if is_main() else None]
    wait()
    return broadcast_object_list(made)[0]


@contextmanager
def guard() -> Iterator[None]:
    """Report an error that leaves the block to the other processes, so that they end too."""
    _state()  # a process can report only if it is connected to the others
    try:
        yield
    except BaseException as error:
        # A collective operation raises its own error when another process has left it.
        if _board is not None and isinstance(error, RuntimeError) and (failure := _board.cause()):
            raise failure from error
        code = getattr(error, "exit_code", getattr(error, "code", 1))
        failed = code not in (0, None) and not isinstance(error, ProcessFailed)  # SystemExit(0) is no failure
        if _board is not None and failed:
            _board.tell(" ".join(f"{error}".split()) or type(error).__name__, code if isinstance(code, int) else 1)
        raise


def leave(code: int) -> NoReturn:
    """End this process with an exit code, without waiting for other processes or for their connections."""
    sys.stdout.flush()
    sys.stderr.flush()
    if size() > 1:
        if _board is not None:
            _board.linger()
        os._exit(code)
    sys.exit(code)


def finish() -> None:
    """Let all processes end together, and close their connections; no collective call may follow."""
    global _board
    if _board is not None and (state := _state()) is not None:
        _board.close()
        _board = None
        state.destroy_process_group()
