"""Run clip-benchmark's own evaluation; called by `clip_benchmark_parity.py` in an environment that has it.

Arguments: an exported model, the JSON file to write, and folders in the webdataset layout. As `clip_benchmark
eval --no_amp`, without its command line, which imports packages for image captioning.
"""

import json
import sys
from pathlib import Path

import torch

BATCH_SIZE = 64


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...] = (1,)) -> list[float]:
    """Top-k accuracies; the original calls float() on an array of one element, which NumPy 2.4 rejects."""
    hits = output.topk(max(topk), dim=1).indices == target[:, None]
    return [hits[:, :k].sum().item() / len(target) for k in topk]


def main() -> None:
    """Write the metrics of every set."""
    from clip_benchmark.datasets.builder import build_dataset
    from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
    from clip_benchmark.models import load_clip

    model_folder, out, *folders = sys.argv[1:]
    torch.set_num_threads(1)
    zeroshot_classification.accuracy = accuracy
    model, transform, tokenizer = load_clip("open_clip", f"local-dir:{model_folder}", None, None, "cpu")
    model.eval()
    metrics = {}
    for folder in map(Path, folders):
        is_retrieval = (folder / "dataset_type.txt").exists()
        task = "zeroshot_retrieval" if is_retrieval else "zeroshot_classification"
        dataset = build_dataset(f"wds/{folder.name}", root=str(folder), transform=transform, task=task)
        loader = torch.utils.data.DataLoader(dataset.batched(BATCH_SIZE), batch_size=None, num_workers=0)
        if is_retrieval:
            metrics[folder.name] = zeroshot_retrieval.evaluate(
                model, loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]
            )
        else:
            metrics[folder.name] = zeroshot_classification.evaluate(
                model, loader, tokenizer, dataset.classes, dataset.templates, "cpu", amp=False
            )
    Path(out).write_text(json.dumps(metrics))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        main()
    else:  # `make bench` runs every script
        print(__doc__)
