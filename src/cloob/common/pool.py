"""Work shared by several processes that count what they do on one progress bar and end with their parent."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm import tqdm

from cloob.common.processes import process_pool

Task = TypeVar("Task")
Result = TypeVar("Result")
_LOOK_SECONDS = 0.5

_tick: Callable[[int], Any] = lambda _: None  # noqa: E731


def advance(done: int = 1) -> None:
    """Called by the work: so many more are done."""
    _tick(done)


def parallel_map(
    work: Callable[[Task], Result], tasks: Iterable[Task], processes: int, total: int | None, what: str
) -> Iterator[Result]:
    """The results of all tasks, in their order, never far ahead of who takes them."""
    with tqdm(total=total, unit=" images", desc=what, mininterval=1) as bar:
        if processes == 1:
            _count_with(bar.update)
            yield from map(work, tasks)
            return
        tasks, waiting = iter(tasks), deque[Future[Result]]()
        done = get_context("spawn").Value("q", 0)
        with process_pool(processes, _begin, (done,)) as pool:
            while True:
                for task in islice(tasks, 2 * processes - len(waiting)):
                    waiting.append(pool.submit(work, task))
                if not waiting:
                    return
                while not waiting[0].done():
                    wait([waiting[0]], timeout=_LOOK_SECONDS)
                    bar.update(done.value - bar.n)
                bar.update(done.value - bar.n)
                yield waiting.popleft().result()


def _begin(done: Any) -> None:
    def count(number: int) -> None:
        with done.get_lock():
            done.value += number

    _count_with(count)


def _count_with(count: Callable[[int], Any]) -> None:
    global _tick  # noqa: PLW0603
    _tick = count
