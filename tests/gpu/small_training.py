"""Training steps of a small model of the paper's family on random batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cloob.models.config import ModelConfig, model_config
from cloob.train.distributed import DistributedContext
from cloob.train.recipe import Run
from cloob.train.setup import init_model
from cloob.train.step import TrainStep
from tests.helpers.recipes import recipe
from tests.helpers.repository import ROOT

ARCHITECTURE = str(ROOT / "config" / "architectures" / "RN_small.json")
CONFIG = model_config(ARCHITECTURE)
BATCH_SIZE, MICRO_BATCH_SIZE = 32, 8
MicroBatches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trained:
    """Results of some steps, on the CPU."""

    losses: list[float]
    gradients: Tensor  # of the last step, flat
    weights: dict[str, Tensor]


def random_micro_batches(
    config: ModelConfig = CONFIG, batch_size: int = BATCH_SIZE, micro_batch_size: int = MICRO_BATCH_SIZE
) -> MicroBatches:
    """Images and captions without a relation to each other, in micro-batches."""
    generator = torch.Generator().manual_seed(0)
    size, length = config["vision_cfg"]["image_size"], 12
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(1, 49406, (batch_size, length), generator=generator)
    tokens[:, 0], tokens[:, -1] = 49406, 49407
    return list(zip(images.split(micro_batch_size), tokens.split(micro_batch_size), strict=True))


def train_steps(
    context: DistributedContext, *, steps: int = 1, objective: str = "cloob", **changes: object
) -> Trained:
    """Train the small model on one batch, with the base recipe of the tests and `changes`."""
    sizes = {"batch_size": BATCH_SIZE, "micro_batch_size": MICRO_BATCH_SIZE}
    used = recipe(**(sizes | changes))
    run = Run("cc3m", objective, "RN_small", "test", 3)
    model = init_model(CONFIG, run, used, context)
    step = TrainStep(model, run, used, context)
    batch = random_micro_batches(CONFIG, used.batch_size, used.micro_batch_size)
    losses = [float(step(number, used.learning_rate, batch)) for number in range(steps)]
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad]
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return Trained(losses, torch.cat(gradients).cpu(), weights)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """‖actual − expected‖ / ‖expected‖, in float64."""
    actual, expected = actual.double().cpu(), expected.double().cpu()
    return float((actual - expected).norm() / expected.norm())
