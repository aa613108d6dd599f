"""The Markdown tables of the comparison."""

from collections.abc import Mapping, Sequence

from benchmarks.parity.cases import CASES, SETTINGS, Case, Setting
from benchmarks.parity.history import Difference, History, difference

_METHODS = {"cloob": "CLOOB", "clip": "CLIP"}
_COLUMNS = ("loss", "weights", "batchnorm", "learning_rate", "temperature")


def training_table(histories: Mapping[Setting | Case, History], steps: int) -> str:
    """A row per run of ours; below, how far their own float32 is from their float64."""
    rows = [_row("ours", case, difference(histories[case.setting], histories[case])) for case in CASES]
    for setting in SETTINGS:
        exact = Setting(setting.method, setting.processes, "float64")
        if setting != exact:
            apart = difference(histories[exact], histories[setting])
            rows.append(_row("theirs in float64", Case(setting), apart))
    header = "objective | processes | precision | compared with theirs | options of ours | loss | weights | "
    header += "BatchNorm | learning rate | 1/τ"
    return _markdown(f"Largest relative difference over {steps} steps:", header.split(" | "), rows)


def _row(compared: str, case: Case, apart: Difference) -> list[str]:
    options = []
    if compared == "ours" and case.setting.method == "clip":
        options.append(f"decay_temperature {str(case.decay_temperature).lower()}")
    if compared == "ours" and case.setting.processes > 1:
        options.append(f"adam_eps {case.adam_eps:.0e}")
    setting = case.setting
    cells = [
        _METHODS[setting.method],
        str(setting.processes),
        setting.precision,
        compared,
        ", ".join(options),
    ]
    return [*cells, *(f"{getattr(apart, name):.0e}" for name in _COLUMNS)]


def conversion_table(result: Mapping[str, float | str]) -> str:
    """Differences of the embeddings of a converted checkpoint."""
    architecture = result["architecture"]
    rows = [[name, f"{value:.1g}"] for name, value in result.items() if not isinstance(value, str)]
    title = f"A checkpoint of {architecture} saved by their code, loaded by ours (float32):"
    return _markdown(title, ["", "largest difference"], rows)


def evaluation_table(rows: Sequence[Sequence[str]]) -> str:
    """Evaluation and data functions on the same inputs."""
    return _markdown("Functions on the same inputs:", ["function", "inputs", "difference"], rows)


def _markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([title, "", *lines])
