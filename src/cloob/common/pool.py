"""Map a function over tasks in several processes, with one shared progress bar."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm import tqdm

from cloob.common.processes import process_pool

Task = TypeVar("Task")
Result = TypeVar("Result")
_UPDATE_SECONDS = 0.5

_count: Callable[[int], Any] = lambda _: None  # noqa: E731


def advance(items: int = 1) -> None:
    """Advance the progress bar of `parallel_map`; called by the mapped function."""
    _count(items)


def parallel_map(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    processes: int,
    total: int | None,
    description: str,
) -> Generator[Result, None, None]:
    """Yield `function(task)` of all tasks in order; at most 2 × `processes` tasks are pending.

    The progress bar counts the items reported by `advance`, out of `total` (None: unknown). With one process
    the function runs in this process.
    """
    with tqdm(total=total, unit=" images", desc=description, mininterval=1) as bar:
        if processes == 1:
            _set_counter(bar.update)
            yield from map(function, tasks)
            return
        tasks, pending = iter(tasks), deque[Future[Result]]()
        items_done = get_context("spawn").Value("q", 0)
        with process_pool(processes, _init_worker, (items_done,)) as pool:
            while True:
                for task in islice(tasks, 2 * processes - len(pending)):
                    pending.append(pool.submit(function, task))
                if not pending:
                    return
                while not pending[0].done():
                    wait([pending[0]], timeout=_UPDATE_SECONDS)
                    bar.update(items_done.value - bar.n)
                bar.update(items_done.value - bar.n)
                yield pending.popleft().result()


def _init_worker(items_done: Any) -> None:
    def count(items: int) -> None:
        with items_done.get_lock():
            items_done.value += items

    _set_counter(count)


def _set_counter(count: Callable[[int], Any]) -> None:
    global _count  # noqa: PLW0603
    _count = count
