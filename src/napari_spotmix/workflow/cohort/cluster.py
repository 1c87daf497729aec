"""Sections on a Dask cluster: the same orders, done by its workers, which read and write the files."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import Progress
from napari_spotmix.workflow.cohort.child import now_and_then
from napari_spotmix.workflow.cohort.local import Listener
from napari_spotmix.workflow.cohort.section import FAILED, Order, do_order

__all__ = ["run_on_cluster"]

#: Seconds between two checks whether to go on, and for a scheduler to answer.
_TICK, _TIMEOUT = 0.05, 10
#: Seconds for the result of a section, which is a few words, to come from its worker.
_FETCH = 2


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
        If no scheduler answers, or `distributed` is not installed.
    """
    run = f"spotmix-{uuid.uuid4().hex}"
    events: SimpleQueue[tuple[str, Mapping[str, Any]]] = SimpleQueue()
    with _connected(address) as client:
        client.subscribe_topic(run, lambda event: events.put(event[1]))
        futures = {
            order["sample"]: client.submit(do_on_worker, order, run, key=f"{run}-{n}", pure=False)
            for n, order in enumerate(orders)
        }
        try:
            _follow(futures, events, listen, tick)
        except BaseException:
            client.cancel(list(futures.values()), force=True)
            raise


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            '`dask` needs the package `distributed`. Install it with `pip install "napari-spotmix[cluster]"`.'
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
    futures: Mapping[str, Any],
    events: SimpleQueue[tuple[str, Mapping[str, Any]]],
    listen: Listener,
    tick: Callable[[], None],
) -> None:
    """Pass on what workers report of each sample until all have an outcome."""
    left = dict(futures)

    def pass_on(sample: str, message: Mapping[str, Any]) -> None:
        if sample in left:
            listen(sample, message)
            if "outcome" in message:
                left.pop(sample).release()

    while left:
        tick()
        while not events.empty():
            pass_on(*events.get())
        for sample, future in list(left.items()):
            outcome = _outcome(future)
            if outcome is not None:
                pass_on(sample, {"outcome": outcome})
        time.sleep(_TICK)


def _outcome(future: Any) -> dict[str, Any] | None:
    """Return the outcome of a section, or None as long as it is unknown.

    A result is lost with the worker that has it, at any moment until it is here.
    """
    status = future.status
    if status == "finished":
        try:
            outcome: dict[str, Any] = future.result(timeout=_FETCH)
        except (TimeoutError, CancelledError):
            return None
        return outcome
    if status == "error":
        words = " ".join(str(future.exception()).split())[:300]
    elif status == "cancelled":
        words = "the cluster has cancelled it"
    else:
        return None
    return {"state": FAILED, "seconds": 0.0, "message": f"on the cluster: {words}"}


# ------------------------------------------------------------------------------------ on the worker


def do_on_worker(order: Order, topic: str) -> dict[str, Any]:
    """Run a section on a worker of the cluster, as long as the cluster still wants it."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    say = now_and_then(lambda progress: worker.log_event(topic, (order["sample"], {"progress": progress})))

    def on_progress(progress: Progress) -> None:
        # When every client has cancelled it, or the one that asked for it is gone.
        task = worker.state.tasks.get(key)
        if task is None or task.state != "executing":
            raise Cancelled
        say(progress)

    outcome = do_order(order, on_progress=on_progress)
    # Reported at once: a result that only this worker has is lost with it, and would be found unchanged.
    worker.log_event(topic, (order["sample"], {"outcome": outcome}))
    return outcome
