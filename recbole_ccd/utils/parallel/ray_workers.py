"""Tasks done by Ray: on the cores of this machine, or on the machines of a cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import torch

from recbole_ccd.utils.errors import ConfigError, RunError
from recbole_ccd.utils.malloc import keep_freed_memory
from recbole_ccd.utils.parallel.cluster import connect, ray_module
from recbole_ccd.utils.parallel.workers import Done, Sequential, Shared, Task, Workers, nothing
from recbole_ccd.utils.seeding import deterministic

RETRIES = 3
"""How often a task is begun again whose worker was lost."""

# between two looks at whether somebody wants the run to end
_SECONDS = 0.2


class RayWorkers(Workers):
    """Workers of a Ray cluster, see :mod:`recbole_ccd.utils.parallel.cluster`.

    A task whose worker is lost is begun again by another one. Results are those of :class:`Sequential` bit
    for bit on machines of the same kind: a worker computes as this process does, with as many threads.
    """

    def __init__(self, at_once: int | None = None, on_gpu: bool = False) -> None:
        """Begins nothing yet.

        Args:
            at_once: tasks at a time; None for one per core of this machine, or as many as the cluster takes.
            on_gpu: whether each task needs a GPU to itself.
        """
        self._wanted, self._on_gpu = at_once, on_gpu
        self._begun_here: list[bool] = []

    def __enter__(self) -> RayWorkers:
        """Connects to the cluster of ``RAY_ADDRESS``, or begins workers here, unless that has been done.

        Raises:
            ConfigError: If Ray is not installed, or there is no GPU in the cluster where tasks need one.
            RunError: If the cluster cannot be reached or used.
        """
        ray = ray_module()
        begins = not ray.is_initialized()
        if begins:
            connect(ray, self._wanted or _cores())
        self._begun_here.append(begins)
        try:
            self._check_room()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the cluster, which ends it where it was begun here."""
        if self._begun_here.pop():
            ray_module().shutdown()

    @property
    def at_once(self) -> int:
        """As many as wanted; without a wish as many as there is room for."""
        return self._wanted or self._room()

    def _needs(self) -> dict[str, float]:
        """The resources that a task asks Ray for."""
        # a GPU is there to compute; of the CPU's cores a task takes one
        return {"num_cpus": 1, "num_gpus": 1 if self._on_gpu else 0}

    def _room(self) -> int:
        there = ray_module().cluster_resources()
        return int(there.get("GPU" if self._on_gpu else "CPU", 0))

    def _check_room(self) -> None:
        if not self._room():
            raise ConfigError(
                f"parallel: ray finds no {'GPU' if self._on_gpu else 'CPU'} in its cluster, and each task "
                "needs one; set use_gpu to False, or leave parallel out"
            )

    def each(
        self,
        do: Callable[[Shared, Task], Done],
        shared: Shared,
        tasks: Sequence[Task],
        at: Callable[[int], None] = nothing,
        waiting: Callable[[], None] = nothing,
    ) -> Generator[tuple[int, Done], None, None]:
        """Gives tasks to workers, and what comes back to the caller; a single task is done here."""
        if len(tasks) < 2:
            yield from Sequential().each(do, shared, tasks, at, waiting)
            return
        with self:
            ray = ray_module()
            work = ray.remote(max_retries=RETRIES, **self._needs())(_work)
            common = ray.put((do, shared))
            left = deque(enumerate(tasks))
            running: dict[Any, int] = {}
            try:
                while left or running:
                    while left and len(running) < self.at_once:
                        place, task = left.popleft()
                        running[work.remote(_arithmetic(), common, task)] = place
                    finished, _ = ray.wait(list(running), timeout=_SECONDS)
                    waiting()
                    for reference in finished:
                        place = running.pop(reference)
                        yield place, self._result(ray, reference, partial(at, place))
            finally:
                for reference in running:
                    ray.cancel(reference, force=True)

    def _result(self, ray: Any, reference: Any, failed: Callable[[], None]) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            failed()
            # what went wrong in the task, as if it had been done here
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except ray.exceptions.RayError as error:
            failed()
            raise RunError(
                f"Ray lost the worker of a task {RETRIES + 1} times ({type(error).__name__}); see to memory "
                "and machines, or lower parallel_workers, and go on with --resume"
            ) from error


def _arithmetic() -> tuple[int, bool]:
    """What the last bits of sums depend on: torch's threads, and whether it is deterministic."""
    return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()


def _work(arithmetic: tuple[int, bool], common: tuple[Callable[[Any, Any], Any], Any], task: Any) -> Any:
    """Does a task in a worker, which has done others and may do more.

    Args:
        arithmetic: how the process computes that wants it.
        common: what is done, and what all tasks share.
        task: the task.
    """
    do, shared = common
    threads, reproducible = arithmetic
    torch.set_num_threads(threads)
    keep_freed_memory()
    with _folder_of_its_own(), deterministic(reproducible):
        return do(shared, task)


@contextmanager
def _folder_of_its_own() -> Iterator[None]:
    """A working folder that goes with the task: RecBole's trainers write into theirs when they are made."""
    before = os.getcwd()
    with TemporaryDirectory(prefix="recbole-ccd-") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
