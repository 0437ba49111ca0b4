"""Run a function in n real processes joined by gloo over a file store, and hand back what each returned.

A fork server that has torch imported already makes a process cost tenths of a second instead of seconds.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "torch.distributed", "torch._dynamo"])  # DDP imports the last one


def run_processes(n: int, function: Callable[..., Any], *args: Any, timeout_s: float = 180) -> list[Any]:
    """Return `function(*args)` of every rank; the function is importable by name, its results are tensors,
    numbers and text in tuples, lists and dicts.

    Raises: RuntimeError with the traceback of the first rank that failed; TimeoutError when one hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        started = [_start(rank, n, str(Path(folder) / "store"), function, args, timeout_s) for rank in range(n)]
        try:
            return _collect([connection for _, connection in started], timeout_s)
        finally:
            for process, _ in started:
                process.kill()
                process.join()


def _start(
    rank: int, n: int, store: str, function: Callable[..., Any], args: tuple[Any, ...], timeout_s: float
) -> tuple[BaseProcess, Connection]:
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_run, args=(rank, n, store, function, args, timeout_s, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def _run(
    rank: int,
    n: int,
    store: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    timeout_s: float,
    out: Connection,
) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=n, timeout=timedelta(seconds=timeout_s)
        )
        answer = (rank, function(*args), None)
    except BaseException:
        answer = (rank, None, traceback.format_exc())
    buffer = io.BytesIO()
    torch.save(answer, buffer)
    out.send_bytes(buffer.getvalue())


def _collect(connections: list[Connection], timeout_s: float) -> list[Any]:
    results: dict[int, Any] = {}
    waiting = list(connections)
    while waiting:
        ready = wait(waiting, timeout_s)
        if not ready:
            raise TimeoutError(
                f"ranks {sorted(set(range(len(connections))) - set(results))} said nothing for {timeout_s} s"
            )
        for connection in ready:
            assert isinstance(connection, Connection)
            waiting.remove(connection)
            rank, result, failure = torch.load(io.BytesIO(connection.recv_bytes()), weights_only=True)
            if failure:
                raise RuntimeError(f"rank {rank} failed:\n{failure}")
            results[rank] = result
    return [results[rank] for rank in range(len(connections))]
