"""Several processes on one machine, as torchrun starts them, without the seconds that importing takes in each."""

import contextlib
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from tests.project import Ended
from utils.distributed import run_processes

PATIENCE = 300  # seconds until processes that wait for each other count as hung


def run_together(count: int, folder: Path, task: Callable[..., None], *arguments: Any) -> list[Ended]:
    """`task(*arguments)` in each of `count` processes, as torchrun starts them; `folder` takes what they print."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train", "evaluate", "infer", "tests.processes"])
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun holds it
    folder.mkdir(parents=True, exist_ok=True)
    started = []
    for rank in range(count):
        environment: dict[str, Any] = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
        environment |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        process = context.Process(target=_run, args=(environment, folder, task, arguments), daemon=True)
        process.start()
        started.append(process)
    ended = []
    for rank, process in enumerate(started):
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
        texts = [(folder / f"{rank}.{name}").read_text() for name in ("out", "err")]
        ended.append(Ended(process.exitcode, *texts))
    return ended


def run_script(count: int, folder: Path, script: str, *arguments: str | Path) -> list[Ended]:
    """As `torchrun --nproc_per_node=COUNT SCRIPT.py ARGUMENTS`."""
    return run_together(count, folder, call_main, script, list(map(str, arguments)))


def call_main(script: str, arguments: list[str]) -> None:
    """A script's `main`."""
    sys.argv = [f"{script}.py", *arguments]
    importlib.import_module(script).main()


def _run(environment: dict[str, Any], folder: Path, task: Callable[..., None], arguments: tuple) -> None:
    os.environ |= {name: str(value) for name, value in environment.items()}
    torch.set_num_threads(1)
    rank = environment["RANK"]
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context((folder / f"{rank}.{name}").open("w")) for name in ("out", "err"))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        code = run_processes(lambda: task(*arguments))
    sys.exit(code)
