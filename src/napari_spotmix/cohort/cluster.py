"""Sections on a Dask cluster: the same orders, done by its workers, which read and write the files."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from napari_spotmix.cohort.child import _now_and_then
from napari_spotmix.cohort.local import Listener
from napari_spotmix.cohort.section import FAILED, Order, do_order
from napari_spotmix.errors import Cancelled, InputError
from napari_spotmix.progress import Progress

__all__ = ["run_on_cluster"]

#: Seconds between two looks at whether to go on, and for a scheduler to answer.
_TICK, _TIMEOUT = 0.05, 10


def run_on_cluster(address: str, orders: Sequence[Order], listen: Listener, tick: Callable[[], None]) -> None:
    """Run sections on the workers of a Dask cluster; those of a worker that is lost run again elsewhere.

    Parameters
    ----------
    address : str
        Of the scheduler, like ``tcp://host:8786``.
    orders, listen, tick
        As for `run_here`.

    Raises
    ------
    InputError
        If there is no such scheduler, or `distributed` is not installed.
    """
    run = f"spotmix-{uuid.uuid4().hex}"
    told: SimpleQueue[tuple[str, Mapping[str, Any]]] = SimpleQueue()
    with _connected(address) as client:
        client.subscribe_topic(run, lambda event: told.put(event[1]))
        futures = {
            client.submit(do_on_worker, order, run, key=f"{run}-{n}", pure=False): order["sample"]
            for n, order in enumerate(orders)
        }
        try:
            _follow(futures, told, listen, tick)
        except BaseException:
            client.cancel(list(futures), force=True)
            raise


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            '`dask` needs a package more. Install it with `pip install "napari-spotmix[cluster]"`.'
        ) from error
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]
            address, timeout=_TIMEOUT, set_as_default=False
        )
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"`dask`: no Dask scheduler answers at {address} ({' '.join(str(error).split())[:160]}). "
            "Start one with `dask scheduler`, and give the address that it prints."
        ) from error
    with client:
        yield client


def _follow(
    futures: dict[Any, str],
    told: SimpleQueue[tuple[str, Mapping[str, Any]]],
    listen: Listener,
    tick: Callable[[], None],
) -> None:
    left = dict(futures)
    while left:
        tick()
        _pass_on(told, set(left.values()), listen)
        for future in [future for future in left if future.done()]:
            listen(left.pop(future), {"outcome": _outcome(future)})
        time.sleep(_TICK)


def _pass_on(told: SimpleQueue[tuple[str, Mapping[str, Any]]], wanted: set[str], listen: Listener) -> None:
    while True:
        try:
            sample, message = told.get_nowait()
        except Empty:
            return
        if sample in wanted:
            listen(sample, message)


def _outcome(future: Any) -> dict[str, Any]:
    if future.status == "finished":
        outcome: dict[str, Any] = future.result()
        return outcome
    error = future.exception() if future.status == "error" else None
    words = " ".join(str(error).split())[:300] or "the cluster has cancelled it"
    return {"state": FAILED, "seconds": 0.0, "message": f"on the cluster: {words}"}


# ------------------------------------------------------------------------------------ on the worker


def do_on_worker(order: Order, topic: str) -> dict[str, Any]:
    """Run a section on a worker of the cluster, as long as the cluster still wants it."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    say = _now_and_then(lambda told: worker.log_event(topic, (order["sample"], {"progress": told})))

    def on_progress(progress: Progress) -> None:
        # Once everybody has given it up, and when the one who asked for it is gone.
        task = worker.state.tasks.get(key)
        if task is None or task.state != "executing":
            raise Cancelled
        say(progress)

    return do_order(order, on_progress=on_progress)
