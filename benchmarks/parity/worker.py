"""One process of the comparison: `python -m benchmarks.parity.worker JOB`, a JSON object (see `Job`)."""

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.parity.authors import Pair, add_model, import_authors, train_theirs
from benchmarks.parity.batches import AUTHORS_CONFIG, MODEL, Batch, make_batches
from benchmarks.parity.cases import BATCH_SIZE, CASES, SETTINGS, Case, Setting
from benchmarks.parity.history import History

CHECKPOINT_MODEL, CHECKPOINT_BATCH, CHECKPOINT_STEPS = "RN50", 4, 2


@dataclass(frozen=True)
class Job:
    """What one process does."""

    kind: str
    """`theirs`, `ours`, `checkpoint` (saved by theirs), `conversion` (loaded by ours) or `evaluation`."""
    authors: str
    hopfield: str
    folder: str
    """Existing folder for results; `theirs` and `ours` write NAME.pt there."""
    steps: int = 0
    processes: int = 1
    """`theirs` and `ours` run all settings with this number of processes, one after the other."""
    rank: int = 0

    @property
    def name(self) -> str:
        """The name of the log and of the private folder."""
        return f"{self.kind}-{self.processes}-{self.rank}"


def output(folder: Path, run: Setting | Case) -> Path:
    """The file of the history of a run: theirs for a setting, ours for a case."""
    return folder / f"{'theirs' if isinstance(run, Setting) else 'ours'}-{run.name}.pt"


def main() -> None:
    """Run the job given as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(1)
    folder = Path(job.folder)
    private = folder / job.name
    private.mkdir()
    if job.kind in ("theirs", "ours"):
        rendezvous = (folder / f"{job.kind}-{job.processes}.rendezvous").resolve()
        method = f"file://{rendezvous}"
        dist.init_process_group("gloo", init_method=method, rank=job.rank, world_size=job.processes)
        (_train_theirs if job.kind == "theirs" else _train_ours)(job, folder)
        dist.barrier()
        dist.destroy_process_group()
    elif job.kind == "checkpoint":
        _save_checkpoint(job, private)
    elif job.kind == "conversion":
        from benchmarks.parity.conversion import compare_checkpoint

        compare_checkpoint(folder)
    else:
        from benchmarks.parity.evaluation import compare_evaluation

        modules = import_authors(Path(job.authors), Path(job.hopfield), private)
        compare_evaluation(modules, folder)


def _train_theirs(job: Job, folder: Path) -> None:
    modules = import_authors(Path(job.authors), Path(job.hopfield), folder / job.name)
    add_model(modules, MODEL, AUTHORS_CONFIG)
    size = BATCH_SIZE // job.processes
    share = slice(job.rank * size, (job.rank + 1) * size)
    batches = make_batches(job.steps, BATCH_SIZE)
    pairs = [_to_pair(modules, (pixels[share], captions[share])) for pixels, captions in batches]
    for setting in SETTINGS:
        if setting.processes == job.processes:
            history = train_theirs(modules, MODEL, pairs, setting, folder / job.name / setting.name)
            if job.rank == 0:
                history.save(output(folder, setting))


def _train_ours(job: Job, folder: Path) -> None:
    from benchmarks.parity.ours import train_ours

    for case in CASES:
        if case.setting.processes == job.processes:
            initial = History.load(output(folder, case.setting)).initial
            history = train_ours(make_batches(job.steps, BATCH_SIZE), initial, case, job.rank)
            if job.rank == 0:
                history.save(output(folder, case))


def _to_pair(modules: types.SimpleNamespace, batch: Batch) -> Pair:
    """Pixels standardized by us, so that both models get the same bits; tokens by their tokenizer."""
    from cloob.models.preprocessing import normalize_pixels

    pixels, captions = batch
    images = normalize_pixels(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return images, modules.clip.tokenize(captions)


def _save_checkpoint(job: Job, private: Path) -> None:
    """Let their code train an RN50 for a moment and save it; keep its embeddings of one more batch."""
    modules = import_authors(Path(job.authors), Path(job.hopfield), private)
    made = make_batches(CHECKPOINT_STEPS + 1, CHECKPOINT_BATCH, image_size=224)
    pairs = [_to_pair(modules, batch) for batch in made]

    def embed(model: nn.Module) -> None:
        model.eval()
        with torch.no_grad():
            image, text, inv_temperature = model(*pairs[-1])
        expected = {"image": image, "text": text, "inv_temperature": inv_temperature}
        torch.save(expected, Path(job.folder) / "expected.pt")

    setting = Setting("cloob", 1, "float32")
    train_theirs(modules, CHECKPOINT_MODEL, pairs[:-1], setting, private, embed)
    (private / "run" / "checkpoints" / "epoch_1.pt").replace(Path(job.folder) / "epoch_1.pt")


if __name__ == "__main__":
    main()
