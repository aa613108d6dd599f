"""The inputs of a table or figure, as given on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloob.report.load.paper import PaperColumn
from cloob.report.names import Labels


@dataclass(frozen=True)
class Baseline:
    """A result of a released model, and the corpus that it was trained on, if that is known."""

    model: PaperColumn
    corpus: str
    path: Path


@dataclass(frozen=True)
class Inputs:
    """Files by kind (see `cloob.report.registry.INPUTS`), and the labels of the output."""

    results: Sequence[Path] = ()
    """Result files of the evaluate stage and logs of the train stage."""
    released: Sequence[tuple[PaperColumn, Path]] = ()
    """Results of released checkpoints, each with the column of the paper that it is compared with."""
    baselines: Sequence[Baseline] = ()
    """Results of released models that figures and tables show beside the runs."""
    outcomes: Sequence[tuple[str, Path]] = ()
    """Outcome CSVs by `corpus/split/stage`, the stages of a split in pipeline order."""
    manifests: Sequence[tuple[tuple[str, str], Path]] = ()
    """shards.json by (corpus, split)."""
    summaries: Sequence[Path] = ()
    """Download summaries, `CORPUS/summary.csv`."""
    sources: Sequence[Path] = ()
    """The Snakefile and the rule files."""
    paper: Path | None = None
    """The results that the paper reports, as CSV."""
    allow_missing: bool = False
    """Whether files of `results` may be missing."""
    labels: Labels = field(default_factory=Labels)

    def files(self) -> list[Path]:
        """All input files that exist."""
        files = [*self.results, *self.summaries, *self.sources, *([self.paper] if self.paper else [])]
        files += [path for named in (self.released, self.outcomes, self.manifests) for _, path in named]
        files += [baseline.path for baseline in self.baselines]
        return [path for path in dict.fromkeys(files) if path.is_file()]
