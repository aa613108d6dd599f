"""The authors' own `main_worker` on given batches: their model, optimizer, scheduler, loop and loss.

It is imported from a copy of their sources, never rewritten. What is put in its place: the data loader, which
yields the given batches; and functions around theirs, which only record values. What present versions of
libraries need is patched in `import_authors` and `training_patches`, each with its reason.
"""

import importlib
import json
import logging
import queue
import shutil
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.parity.cases import (
    ADAM_EPS,
    HOPFIELD_BETA,
    LEARNING_RATE,
    METHODS,
    WARMUP_STEPS,
    WEIGHT_DECAY,
    Setting,
)
from benchmarks.parity.history import History

_MODULES = (
    "clip.clip",
    "clip.model",
    "training.main",
    "training.train",
    "training.zero_shot",
    "training.zeroshot_data",
)
Pair = tuple[Tensor, Tensor]  # standardized pixels (N, 3, S, S), and tokens (N, 77)


def import_authors(authors: Path, hopfield: Path, folder: Path) -> types.SimpleNamespace:
    """The authors' modules `main`, `train`, `clip`, `model`, `zero_shot`, `zeroshot_data`.

    They are imported from a copy in `folder`, because the model configurations of the comparison are added
    to those in their source folder.
    """
    source = folder / "authors"
    shutil.copytree(authors / "src", source)
    sys.path[:0] = [str(source), str(hopfield)]
    # The optional loggers: installed or not, nothing is logged to them.
    sys.modules["wandb"] = types.ModuleType("wandb")
    # Deprecation warnings of torch.cuda.amp and of LambdaLR, and escape sequences in strings.
    warnings.simplefilter("ignore")
    modules = {name.rpartition(".")[2]: importlib.import_module(name) for name in _MODULES}
    # Their accuracy converts arrays of one element by float(), which NumPy 2.4 rejects.
    vars(modules["zero_shot"])["float"] = lambda array: array.item()
    return types.SimpleNamespace(folder=source, **modules)


class Batches:
    """What their loop needs of a data loader; calls `observe` before each batch and after the last."""

    def __init__(self, batches: list[Pair], observe: Callable[[], None]) -> None:
        self.batches, self.observe, self.num_batches = batches, observe, len(batches)
        self.num_samples = sum(len(images) for images, _ in batches)

    def __iter__(self) -> Iterator[Pair]:
        for batch in self.batches:
            self.observe()
            yield batch
        self.observe()


@contextmanager
def training_patches(modules: types.SimpleNamespace, precision: str, **functions: Any) -> Iterator[None]:
    """Replace functions of their modules while they train."""
    originals = modules.train.get_loss, modules.main.train, modules.main.get_data
    forward = modules.model.LayerNorm.forward
    if precision == "float64":
        # Their LayerNorm computes in float32; in float64 it would lose half of the digits (and fail, because
        # its weights are float64).
        modules.model.LayerNorm.forward = nn.LayerNorm.forward
    modules.train.get_loss, modules.main.train = functions["get_loss"], functions["train"]
    modules.main.get_data = functions["get_data"]
    try:
        yield
    finally:
        modules.train.get_loss, modules.main.train, modules.main.get_data = originals
        modules.model.LayerNorm.forward = forward


def train_theirs(
    modules: types.SimpleNamespace,
    model: str,
    batches: list[Pair],
    setting: Setting,
    folder: Path,
    after: Callable[[nn.Module], None] = lambda model: None,
) -> History:
    """One epoch of their training on this process's share of the batches, within a process group.

    They write the checkpoint `folder`/run/checkpoints/epoch_1.pt. `after` is called with the trained model.
    """
    history, running = History(), types.SimpleNamespace()
    loss_of, train_of = modules.train.get_loss, modules.main.train

    def observe() -> None:
        history.learning_rates.append(running.optimizer.param_groups[0]["lr"])
        history.inv_temperatures.append(running.model.logit_inv_tau.detach().double().exp().item())

    def get_loss(*arguments: Any, **options: Any) -> Tensor:
        loss = loss_of(*arguments, **options)
        history.losses.append(loss.item())
        return loss

    def train(model: nn.Module, data: Any, epoch: int, optimizer: Any, *rest: Any) -> None:
        scaler, scheduler, args, *writer = rest
        if setting.precision == "float64":
            model.double()
        history.initial = copy_state(model)
        running.optimizer, running.model = optimizer, model
        args.distributed = setting.processes > 1
        wrapped = nn.parallel.DistributedDataParallel(model) if args.distributed else model
        train_of(wrapped, data, epoch, optimizer, scaler, scheduler, args, *writer)
        args.distributed = False
        history.final = copy_state(model)
        after(model)

    def get_data(*_: Any) -> dict[str, Any]:
        return {"train": types.SimpleNamespace(dataloader=Batches(batches, observe), sampler=None)}

    with training_patches(modules, setting.precision, get_loss=get_loss, train=train, get_data=get_data):
        modules.main.main_worker(None, None, queue.Queue(), _arguments(modules, model, setting, folder))
    del history.learning_rates[-1]  # the one after the last step
    return history


def _arguments(modules: types.SimpleNamespace, model: str, setting: Setting, folder: Path) -> Any:
    """What their parser makes of the command line, with what their `main` adds before `main_worker`."""
    method = METHODS[setting.method]
    sys.argv = [
        "main.py",
        *("--train-data=none.csv", "--epochs=1", "--precision=fp32", "--name=run", f"--logs={folder}"),
        *(f"--method={setting.method}", f"--init-inv-tau={method['inv_temperature']}"),
        *(f"--scale-hopfield={HOPFIELD_BETA}", f"--lr={LEARNING_RATE}", f"--wd={WEIGHT_DECAY}"),
        *(f"--eps={ADAM_EPS}", "--beta1=0.9", "--beta2=0.999", f"--warmup={WARMUP_STEPS}"),
        *(f"--lr-scheduler={setting.schedule.replace('_', '-')}", f"--restart-cycles={method['cycles']}"),
        *(["--learnable-inv-tau"] if method["learnable_temperature"] else []),
    ]
    args = modules.main.parse_args()
    args.model, args.wandb, args.tensorboard, args.log_level = model, False, False, logging.ERROR
    # Without a GPU their `main` starts a single process. With several, the model is wrapped in `train`, as
    # their `main_worker` does on GPUs.
    args.distributed, args.world_size = False, 1
    checkpoints = folder / "run" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    args.checkpoint_path = str(checkpoints)
    return args


def add_model(modules: types.SimpleNamespace, name: str, config: dict[str, Any]) -> None:
    """Add a model configuration to the copy of their sources."""
    path = modules.folder / "training" / "model_configs" / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics under open_clip's names."""
    return {_rename(name): value.clone() for name, value in model.state_dict().items()}


def _rename(name: str) -> str:
    return "logit_scale" if name == "logit_inv_tau" else name.removeprefix("transformer.")
