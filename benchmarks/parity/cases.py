"""What is compared: the settings in which the authors' code runs, and our runs next to each."""

from dataclasses import dataclass

BATCH_SIZE = 32
WARMUP_STEPS = 20
# Of the authors' parser (CLOOB on Conceptual Captions as in their README; CLIP learns 1/τ from 14.3).
METHODS = {
    "cloob": {"inv_temperature": 30.0, "learnable_temperature": False, "cycles": 2},
    "clip": {"inv_temperature": 14.3, "learnable_temperature": True, "cycles": 1},
}
HOPFIELD_BETA, LEARNING_RATE, WEIGHT_DECAY, ADAM_EPS = 8.0, 1e-3, 0.1, 1e-8


@dataclass(frozen=True)
class Setting:
    """A run of the authors' code."""

    method: str
    processes: int
    precision: str

    @property
    def name(self) -> str:
        """Part of file names."""
        return f"{self.method}-{self.processes}-{self.precision}"

    @property
    def schedule(self) -> str:
        """Our name of the learning-rate schedule."""
        return "cosine_restarts" if METHODS[self.method]["cycles"] > 1 else "cosine"


@dataclass(frozen=True)
class Case:
    """A run of ours that is compared with a run of the authors' code."""

    setting: Setting
    decay_temperature: bool = True
    equal_eps: bool = True
    """Whether our epsilon is that of the authors times their number of processes."""

    @property
    def name(self) -> str:
        """Part of file names."""
        flags = (not self.decay_temperature) * "-undecayed" + (not self.equal_eps) * "-eps"
        return self.setting.name + flags

    @property
    def adam_eps(self) -> float:
        """Our epsilon of AdamW."""
        return ADAM_EPS * (self.setting.processes if self.equal_eps else 1)


CASES = (
    Case(Setting("cloob", 1, "float64")),
    Case(Setting("clip", 1, "float64")),
    Case(Setting("clip", 1, "float64"), decay_temperature=False),
    Case(Setting("cloob", 2, "float64")),
    Case(Setting("cloob", 2, "float64"), equal_eps=False),
    Case(Setting("clip", 2, "float64")),
    Case(Setting("cloob", 1, "float32")),
    Case(Setting("clip", 1, "float32")),
    Case(Setting("cloob", 2, "float32")),
    Case(Setting("clip", 2, "float32")),
)
SETTINGS = tuple(dict.fromkeys(case.setting for case in CASES))
