"""Draws the pictures of many runs in processes of their own, one for each CPU."""

from concurrent import futures
import contextlib
import multiprocessing
import os
import threading

import jax

from experiments import figures


class Artists:
    """Draws pictures while this process goes on; with one CPU it draws them itself."""

    def __init__(self, count: int) -> None:
        """Starts so many processes, which need some seconds until they can draw."""
        self._pool: futures.Executor | None = None
        if count > 1:
            # Forks of one that has imported what they need, and not of this one and its threads.
            of = multiprocessing.get_context("forkserver")
            of.set_forkserver_preload(["experiments.report"])
            self._pool = futures.ProcessPoolExecutor(count, of, _begin)
            threading.Thread(target=_start, args=(self._pool,), daemon=True).start()

    def draw(self, run: figures.Run) -> list[futures.Future]:
        """Returns what is done when every picture that makes sense for the run is drawn."""
        if self._pool is None:
            figures.draw_all(run)
            return []
        return [
            self._pool.submit(figures.render, name, rows, run.folder)
            for name, rows in figures.all_rows(run).items()
        ]

    def close(self) -> None:
        """Ends the processes, after what they are drawing."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _start(pool: futures.Executor) -> None:
    """Has a process started, as the first work does; this returns when its imports are done."""
    with contextlib.suppress(RuntimeError):  # The pool may be closed before that.
        pool.submit(int)


def _begin() -> None:
    """Is what an artist does first."""
    jax.config.update("jax_platforms", "cpu")  # Devices are the runs'.
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Ends this process when the one that it draws for is gone, however that went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
