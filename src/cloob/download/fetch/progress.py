"""The progress bar of a download round."""

import time
from collections import Counter

import pyarrow as pa
from tqdm import tqdm

from cloob.common.accounting import KEPT

_REASONS_SHOWN = 3


class RoundProgress(tqdm):
    """URLs per second, time left, and e.g. `25 images/s, 71% kept, http_404 512, timeout 88`."""

    def __init__(self, **options: object) -> None:
        self.counts: Counter[str] = Counter()
        self.kept_before, self.start_time = 0, time.monotonic()
        super().__init__(**options)

    def start(self) -> None:
        """Start measuring the speed: rows of an earlier, resumed download do not count towards it."""
        self.initial, self.kept_before, self.start_time = self.n, self.counts[KEPT], time.monotonic()

    def add(self, tables: list[pa.Table]) -> None:
        """Count the rows of newly completed tars."""
        for table in tables:
            self.counts.update(table["outcome"].to_pylist())
            rejected = Counter({outcome: rows for outcome, rows in self.counts.items() if outcome != KEPT})
            reasons = "".join(
                f", {outcome} {rows:,}" for outcome, rows in rejected.most_common(_REASONS_SHOWN)
            )
            speed = (self.counts[KEPT] - self.kept_before) / max(time.monotonic() - self.start_time, 1)
            kept_fraction = self.counts[KEPT] / self.counts.total()
            self.set_postfix_str(f"{speed:.0f} images/s, {kept_fraction:.0%} kept{reasons}", refresh=False)
            self.update(len(table))
