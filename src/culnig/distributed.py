"""Several processes on one job, by accelerate and torch.distributed; one process is the plain case.

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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from culnig.errors import CulnigError

if TYPE_CHECKING:
    import torch  # imported where it is used, because the command line answers `--help` without it

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(hours=6)
"""Limit of one collective operation; within training, one process may write a checkpoint while the others wait."""
BEAT = 1.0
"""Seconds between two signs of life."""
SILENT_BEATS = 600
"""A process that gives so many signs of life fewer than expected is taken for dead."""
PATIENCE = 20.0
"""Seconds that a failed process 0 waits at most for the others to read its message."""
GRACE = 2.0
"""Seconds that a failed process has to print its own message before the others end."""


class ProcessFailed(CulnigError):
    """Another process of the job has failed."""


class _Board:
    """What the processes tell each other, in a store of their own connection.

    The store is the one that torchrun, or process 0, keeps under MASTER_ADDR and MASTER_PORT.  No call blocks in it.
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
        """Return when every process has called this as often as this one.

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
        """Meet for the last time; process 0, which may hold the store, leaves last."""
        self.stop_watching()
        self.meet()
        if self.rank == 0:
            self._await("left", 0, self.size - 1)
        else:
            self.store.add("left", 1)

    def _await(self, key: str, mine: int, wanted: int) -> None:
        """Add `mine` to a counter, and return when it has reached `wanted`."""
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
        """Leave the message of a failure; the first one stays."""
        with suppress(RuntimeError):  # the store may have gone with the process that holds it
            self.store.compare_set("failed", "", json.dumps([self.rank, message, code]))

    def linger(self) -> None:
        """Process 0 may hold the store: let the others read there why it ends."""
        patience = time.monotonic() + PATIENCE
        with suppress(RuntimeError):
            while self.rank == 0 and self.store.add("read", 0) < self.size - 1 and time.monotonic() < patience:
                time.sleep(0.1)

    def failure(self) -> ProcessFailed | None:
        """The failure of another process; once it has been read, the store may go."""
        if self._read is None and self.store.check(["failed"]):
            rank, message, code = json.loads(self.store.get("failed"))
            if rank == self.rank:
                return None
            failed = ProcessFailed(f"stopped, because process {rank} failed: {message}")
            failed.exit_code = code
            self._read = failed  # before process 0 is told that it may leave
            self.store.add("read", 1)
        return self._read

    def cause(self) -> ProcessFailed | None:
        """The failure of another process, also where the store has gone with it."""
        try:
            return self.failure()
        except RuntimeError as error:
            return ProcessFailed(f"stopped, because the connection to process 0 broke: {error}")

    def _watch(self) -> None:
        """End this process some time after another one has failed, wherever it is by then."""
        peers = [0] if self.rank else range(1, self.size)
        beats, silent = dict.fromkeys(peers, -1), dict.fromkeys(peers, 0)
        while not self._closed.wait(BEAT):
            try:
                self.store.add(f"beat/{self.rank}", 1)
                for peer in peers:
                    latest = self.store.add(f"beat/{peer}", 0)
                    silent[peer] = silent[peer] + 1 if latest == beats[peer] else 0
                    beats[peer] = latest
            except RuntimeError:  # the store has gone, and with it the process that holds it
                pass
            failure = self.cause()
            if dead := [peer for peer in peers if silent[peer] >= SILENT_BEATS]:
                failure = failure or ProcessFailed(f"stopped, because process {dead[0]} gives no sign of life")
            if failure and not self._closed.wait(2 * GRACE):
                print(f"culnig: {failure}", file=sys.stderr)
                leave(failure.exit_code)


_board: _Board | None = None
"""The connection to the other processes, once there is one."""


@lru_cache(maxsize=1)
def _state() -> Any:
    """accelerate's process state; None where there is a single process."""
    global _board
    if size() <= 1:
        return None
    import torch
    from accelerate import PartialState
    from torch.distributed import PrefixStore, TCPStore

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=COLLECTIVE_TIMEOUT)
    place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps its store when it starts workers again
    store = TCPStore(place, port, is_master=False, timeout=timedelta(minutes=5))
    _board = _Board(PrefixStore(f"culnig/{attempt}", store), rank(), size())
    return state


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


def size() -> int:
    """How many processes there are."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def device() -> torch.device | None:
    """The device of this process; None where there is a single one."""
    state = _state()
    return state.device if state else None


def share(parts: Sequence[T]) -> Sequence[T]:
    """This process's part of some work: every size-th."""
    return parts[rank() :: size()]


def wait() -> None:
    """Let all processes come here; there is no time limit.

    Raises:
        ProcessFailed: another process has failed.
    """
    if _state() is not None and _board is not None:
        _board.meet()


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Add tensors up over all processes, in place."""
    if (state := _state()) is None:
        return
    import torch

    wait()
    for tensor in tensors:
        # NCCL reduces only tensors on a GPU, and the sums of an offloaded layer are on the CPU.
        reduced = tensor.to(state.device)
        torch.distributed.all_reduce(reduced)
        if reduced is not tensor:
            tensor.copy_(reduced)


def gather(values: dict[int, T]) -> dict[int, T]:
    """The union of all processes' dictionaries, on every process."""
    if _state() is None:
        return values
    from accelerate.utils import gather_object

    wait()
    # gather_object takes and gives lists.
    return dict(gather_object(list(values.items())))


def decided_by_main(choice: bool) -> bool:
    """What process 0 has chosen, on every process."""
    if (state := _state()) is None:
        return choice
    import torch

    flag = torch.tensor([choice], dtype=torch.uint8, device=state.device)
    torch.distributed.broadcast(flag, src=0)
    return bool(flag.item())


@contextmanager
def guard() -> Iterator[None]:
    """Tell the other processes of an error that leaves the block, so that they end too."""
    _state()  # only processes that know each other can tell
    try:
        yield
    except BaseException as error:
        # A collective operation breaks with an error of its own where another process has left it.
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
    """Let all processes end together, and close their connections; nothing may be shared after it."""
    global _board
    if _board is not None and (state := _state()) is not None:
        _board.close()
        _board = None
        state.destroy_process_group()
