"""Rows split among threads, with a report to the caller between blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

from threadpoolctl import ThreadpoolController

from napari_spotmix.base.cores import available_cores

__all__ = ["Threads"]

#: Seconds between two reports to the caller while threads work: reports after every block would take the
#: interpreter from the threads too often.
_REPORT_EVERY = 0.02


class Threads:
    """A pool of threads for kernels that release the interpreter lock.

    Kernels write to disjoint rows, so results do not depend on the number of threads.

    Parameters
    ----------
    n_threads : int
        0 uses every core that this process may use.

    Examples
    --------
    >>> import numpy as np
    >>> squares = np.zeros(5)
    >>> def square(start, stop):
    ...     squares[start:stop] = np.arange(start, stop) ** 2
    >>> with Threads.of(2) as threads:
    ...     threads.over_blocks(square, 5, block=2)
    [None, None, None]
    >>> squares
    array([ 0.,  1.,  4.,  9., 16.])
    """

    def __init__(self, n_threads: int = 0) -> None:
        self.n_threads = n_threads or available_cores()
        self._pool = ThreadPoolExecutor(self.n_threads) if self.n_threads > 1 else None

    @classmethod
    @contextmanager
    def of(cls, n_threads: int) -> Iterator[Threads]:
        """Make a pool for the length of a ``with`` block, in which BLAS keeps to one thread.

        Sums in BLAS would depend on the number of its threads, and those spin while they wait, on the cores
        that the kernels need.
        """
        threads = cls(n_threads)
        try:
            with _BLAS.alone():
                yield threads
        finally:
            threads.close()

    def close(self) -> None:
        """Cancel what has not started and wait for what has."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def over_blocks(
        self,
        kernel: Callable[[int, int], Any],
        n_rows: int,
        *,
        block: int,
        on_block: Callable[[int], None] = lambda _: None,
    ) -> list[Any]:
        """Call ``kernel(start, stop)`` for every block of rows; return what each call returned, in order.

        `on_block` is called in this thread with the number of rows done, from time to time and at the end;
        what it raises stops the rest.
        """
        bounds = [(start, min(start + block, n_rows)) for start in range(0, n_rows, block)]
        if self._pool is None or len(bounds) < 2:
            return list(_one_after_another(kernel, bounds, on_block))
        return self._all_at_once(self._pool, kernel, bounds, on_block)

    def _all_at_once(
        self,
        pool: ThreadPoolExecutor,
        kernel: Callable[[int, int], Any],
        bounds: list[tuple[int, int]],
        on_block: Callable[[int], None],
    ) -> list[Any]:
        """Let each thread take one block after the other; a future for every block would cost more."""
        returned: list[Any] = [None] * len(bounds)
        n_workers = min(self.n_threads, len(bounds))
        todo, n_done = iter(range(len(bounds))), [0] * n_workers
        stopped = Event()

        def take_blocks(worker: int) -> None:
            # Threads share the iterator: taking from it is atomic.
            for index in todo:
                if stopped.is_set():
                    return
                start, stop = bounds[index]
                returned[index] = kernel(start, stop)
                n_done[worker] += stop - start

        workers = [pool.submit(take_blocks, worker) for worker in range(n_workers)]
        try:
            while wait(workers, _REPORT_EVERY, FIRST_EXCEPTION).not_done and not _failed(workers):
                on_block(sum(n_done))
        finally:
            stopped.set()
            wait(workers)
        for worker in workers:
            worker.result()
        on_block(sum(n_done))
        return returned


def _failed(workers: list[Future[None]]) -> bool:
    return any(worker.done() and worker.exception() is not None for worker in workers)


class _Blas:
    """The threads of BLAS, which the whole process shares: limited to one while any caller needs that."""

    def __init__(self) -> None:
        self._lock, self._n_users = Lock(), 0
        self._release: Callable[[], object]

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._lock:
            if self._n_users == 0:
                limited = ThreadpoolController().limit(limits=1, user_api="blas")
                self._release = limited.restore_original_limits
            self._n_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_users -= 1
                if self._n_users == 0:
                    self._release()


_BLAS = _Blas()


def _one_after_another(
    kernel: Callable[[int, int], Any], bounds: list[tuple[int, int]], on_block: Callable[[int], None]
) -> Iterator[Any]:
    for start, stop in bounds:
        yield kernel(start, stop)
        on_block(stop)
