"""Compiled encoders train like eager ones."""

import pytest

from cloob.train.distributed import DistributedContext
from tests.gpu.small_training import relative_error, train_steps


@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.usefixtures("no_tf32")
def test_compiled_encoders_give_the_same_gradient(contexts: dict[str, DistributedContext]) -> None:
    compiled, eager = (
        train_steps(contexts["device"], compile=choice, batch_size=8, micro_batch_size=8)
        for choice in (True, False)
    )
    assert compiled.losses == pytest.approx(eager.losses, rel=1e-4)
    assert relative_error(compiled.gradients, eager.gradients) < 1e-3
