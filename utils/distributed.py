"""Several processes of one command, as torchrun starts them; with one process all of this does nothing (docs/scale.md).

The main process has rank 0: it alone prints, logs and keeps the records. All processes must come to these calls in the
same order. Plain values travel between CPUs (gloo), tensors on a GPU over NCCL.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from torch.utils.data import Sampler

from utils.errors import EXIT_OURS, UserError, report, run_script
from utils.startup import work_begins

# The others wait as long as one works alone (a report). Its connection and torchrun show that a process has died.
PATIENCE = timedelta(days=2)
REPORTING = timedelta(seconds=10)  # for the process that has failed first to print why

T = TypeVar("T")


def run_processes(main: Callable[[], None]) -> int:
    """`utils.errors.run_script` for a script that torchrun may have started, one of several processes.

    The first process that fails prints why; none waits for it, and torchrun ends those that still run.
    """
    if not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return run_script(main)
    store, own_rank, count = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=own_rank, world_size=count, timeout=PATIENCE)
    try:
        work_begins()
        with contextlib.nullcontext() if is_main() else _silence():
            main()
        barrier()
    except BaseException as error:
        os._exit(_report_once(error))  # at once: the usual way out would wait for processes that wait for this one
    dist.destroy_process_group()
    return 0


def rank() -> int:
    """The index of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that prints and writes for all."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes are here; files written before it are there after it."""
    if world_size() > 1:
        dist.all_reduce(torch.zeros(1))  # on the CPU; dist.barrier() would take a GPU where there is one


def from_main(find: Callable[[], T]) -> T:
    """What `find` gives in the main process, in all processes; the others do not call it."""
    if world_size() == 1:
        return find()
    found: list[Any] = [find() if is_main() else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def gather(value: T) -> list[T]:
    """The plain values of all processes, by rank, in all of them."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def total(value: Tensor) -> Tensor:
    """The sum over all processes, in all of them, without a graph; with one process the tensor itself."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def any_of(*wishes: bool) -> list[bool]:
    """Whether any process has each of these wishes."""
    return (total(torch.tensor(wishes, dtype=torch.int64)) > 0).tolist()


class WorkQueue(Sampler[int]):
    """The main process's indices, each in exactly one process: the next one to the process that is ready first.

    Iterate once. `taken` is how many all processes have taken, as far as this one knows.
    """

    def __init__(self, indices: Sequence[int]):
        self.indices, self.taken = from_main(lambda: list(indices)), 0
        self.counter = from_main(lambda: "" if world_size() == 1 else f"counter/{_store().add('counters', 1)}")

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken = self.taken + 1 if world_size() == 1 else _store().add(self.counter, 1)
            if self.taken > len(self.indices):
                self.taken = len(self.indices)
                return
            yield self.indices[self.taken - 1]

    def __len__(self) -> int:
        return len(self.indices)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder for all processes; on several machines it is in the current folder, which they share."""
    several_machines = world_size() > 1 and world_size() > int(os.environ["LOCAL_WORLD_SIZE"])
    where = Path.cwd() if several_machines else None
    with contextlib.ExitStack() as stack:
        folder = from_main(lambda: stack.enter_context(tempfile.TemporaryDirectory(prefix=".scratch.", dir=where)))
        yield Path(folder)
        barrier()


def _store() -> Any:
    """Where processes keep what they agree on besides collectives; torchrun holds it."""
    return dist.distributed_c10d._get_default_store()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def _report_once(error: BaseException) -> int:
    """Let one process print why the run ends; returns this one's exit code after that."""
    code = EXIT_OURS
    with contextlib.suppress(dist.DistError):  # torchrun itself may be gone
        if isinstance(error, SystemExit):  # of argparse, which has printed its message in the main process
            code, speaks = error.code if isinstance(error.code, int) else EXIT_OURS, is_main()
        else:
            speaks = _store().add("failures", 1) == 1
            if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
                what = "another process of this run was killed, perhaps for lack of memory (torchrun names it below)"
                remedy = "remove the cause, then run the same command again: what is done is kept"
                error = UserError(f"{what}; {remedy}")
            code = report(error) if speaks else EXIT_OURS
        sys.stdout.flush()
        sys.stderr.flush()
        # torchrun ends all as soon as it sees one end.
        if speaks:
            _store().set("reported", "yes")
        else:
            _store().wait(["reported"], REPORTING)
    return code
