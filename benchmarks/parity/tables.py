"""The Markdown tables of the comparison, at most 110 columns wide."""

from collections.abc import Mapping, Sequence

from benchmarks.parity.cases import CASES, SETTINGS, Case, Setting
from benchmarks.parity.history import Difference, History, difference

_METHODS = {"cloob": "CLOOB", "clip": "CLIP"}
_SETTING = ["objective", "processes", "precision"]
_DIFFERENCE = ["loss", "weights", "BatchNorm", "learning rate", "1/τ"]


def training_table(histories: Mapping[Setting | Case, History], steps: int) -> str:
    """A row per run of ours; in a second table, how far their float32 is from their float64."""
    rows = [
        [*_setting_cells(case.setting), _options(case), *_cells(histories[case.setting], histories[case])]
        for case in CASES
    ]
    title = f"Ours against theirs, largest relative difference over {steps} steps:"
    tables = [_markdown(title, [*_SETTING, "options of ours", *_DIFFERENCE], rows)]
    rows = []
    for setting in SETTINGS:
        exact = Setting(setting.method, setting.processes, "float64")
        if setting != exact:
            rows.append([*_setting_cells(setting), *_cells(histories[exact], histories[setting])])
    tables.append(_markdown("Theirs against theirs in float64:", [*_SETTING, *_DIFFERENCE], rows))
    return "\n\n".join(tables)


def _setting_cells(setting: Setting) -> list[str]:
    return [_METHODS[setting.method], str(setting.processes), setting.precision]


def _options(case: Case) -> str:
    """Those of our options that matter in the setting."""
    options = []
    if case.setting.method == "clip":
        options.append(f"decay_temperature {str(case.decay_temperature).lower()}")
    if case.setting.processes > 1:
        options.append(f"adam_eps {case.adam_eps:.0e}")
    return ", ".join(options)


def _cells(theirs: History, ours: History) -> list[str]:
    apart: Difference = difference(theirs, ours)
    values = (apart.loss, apart.weights, apart.batchnorm, apart.learning_rate, apart.temperature)
    return [_number(value) for value in values]


def _number(value: float) -> str:
    return f"{value:.0e}" if value else "0"


def conversion_table(result: Mapping[str, float | str]) -> str:
    """Differences of the embeddings of a converted checkpoint."""
    rows = [[name, _number(value)] for name, value in result.items() if not isinstance(value, str)]
    title = f"A checkpoint of {result['architecture']} saved by theirs, loaded by ours (float32):"
    return _markdown(title, ["", "largest difference"], rows)


def evaluation_table(rows: Sequence[Sequence[str]]) -> str:
    """Evaluation and data functions on the same inputs."""
    return _markdown("Functions on the same inputs:", ["function", "inputs", "difference"], rows)


def _markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([title, "", *lines])
