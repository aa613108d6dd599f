"""One process of the comparison: `python -m benchmarks.parity.worker JOB`, a JSON object (see `Job`)."""

import json
import sys
import types
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.parity.authors import Pair, add_model, import_authors, train_theirs
from benchmarks.parity.batches import AUTHORS_CONFIG, MODEL, Batch, make_batches
from benchmarks.parity.cases import BATCH_SIZE, Case, Setting
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
    setting: tuple[str, int, str] = ("cloob", 1, "float64")
    decay_temperature: bool = True
    equal_eps: bool = True
    rank: int = 0

    @property
    def case(self) -> Case:
        """The setting with our options."""
        return Case(Setting(*self.setting), self.decay_temperature, self.equal_eps)

    @property
    def output(self) -> Path:
        """The file that the job writes."""
        name = self.case.setting.name if self.kind == "theirs" else self.case.name
        return Path(self.folder) / f"{self.kind}-{name}.pt"


def main() -> None:
    """Run the job given as JSON."""
    content = json.loads(sys.argv[1])
    job = Job(**content | {"setting": tuple(content["setting"])})
    torch.set_num_threads(1)
    folder = Path(job.folder)
    private = folder / f"{job.output.stem}-{job.rank}"
    private.mkdir()
    if job.kind in ("theirs", "ours"):
        processes = job.case.setting.processes
        rendezvous = f"file://{(folder / job.output.stem).resolve()}.rendezvous"
        dist.init_process_group("gloo", init_method=rendezvous, rank=job.rank, world_size=processes)
        history = _train(job, private)
        if job.rank == 0:
            history.save(job.output)
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


def _train(job: Job, private: Path) -> History:
    batches = make_batches(job.steps, BATCH_SIZE)
    setting = job.case.setting
    if job.kind == "ours":
        from benchmarks.parity.ours import train_ours

        theirs = Job(**asdict(job) | {"kind": "theirs"}).output
        return train_ours(batches, History.load(theirs).initial, job.case, job.rank)
    modules = import_authors(Path(job.authors), Path(job.hopfield), private)
    add_model(modules, MODEL, AUTHORS_CONFIG)
    size = BATCH_SIZE // setting.processes
    share = slice(job.rank * size, (job.rank + 1) * size)
    pairs = [_to_pair(modules, (pixels[share], captions[share])) for pixels, captions in batches]
    return train_theirs(modules, MODEL, pairs, setting, private)


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
