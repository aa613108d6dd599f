"""Put the measurements of `make gpu` on docs/performance.md.

`python docs/performance/update.py results/gpu.json` copies the file to docs/performance/gpu.json, and writes
the tables between the comments `<!-- NAME -->` and `<!-- end -->` of the page from it. `--show` prints the
tables instead.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "performance.md"
DATA = FOLDER / "gpu.json"
CONFIG = FOLDER.parents[1] / "config" / "config.yaml"
# Pairs of the training corpora (docs/cluster.md).
PAIRS = {"cc3m": 2.89e6, "yfcc15m": 14.8e6}
TITLES = {"clip": "CLIP", "cloob": "CLOOB", "infoloob": "InfoLOOB", "infonce_hopfield": "InfoNCE + Hopfield"}
# Loader workers must be this much faster than training, so that a slow moment does not stop it.
LOADER_MARGIN = 1.25

Report = dict[str, list[dict[str, Any]]]
Rows = Iterable[Iterable[object]]


def table(header: list[str], rows: Rows) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number with at most so many significant digits, and separators of thousands."""
    if value is None:
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(share: float | None) -> str:
    """A share in percent."""
    return "–" if share is None else f"{100 * share:.1f}%"


def machine(report: Report) -> str:
    """One line on the machine, and the rates that it reached."""
    [first, *_] = report["machine"]
    rates = {entry["name"]: entry for entry in report.get("rates", [])}
    parts = [
        f"{first['devices']} × {first['device']}, {first['cpu_cores']} CPU cores, torch {first['torch']}"
    ]
    parts += [
        f"{name} products {number(entry['tflops'])} TFLOP/s"
        for name, entry in rates.items()
        if "tflops" in entry
    ]
    if "copy" in rates:
        parts.append(f"copies {number(rates['copy']['gb_per_second'])} GB/s (read and written)")
    return wrap("; ".join(parts) + f". Commit {str(first['commit'])[:10]}.")


def wrap(text: str) -> str:
    """Lines of at most 110 columns."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > 110:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def steps(report: Report) -> str:
    """Training steps on a batch in memory."""
    rates = {entry["name"]: entry.get("tflops") for entry in report.get("rates", [])}
    rows = []
    for entry in report.get("step", []):
        layout = "" if entry.get("channels_last", entry["step"] == "ours") else "contiguous"
        notes = [layout, entry.get("note"), "compiled" if entry.get("compile") else ""]
        share = None
        if entry["tflops"] and rates.get(entry["precision"]):
            share = entry["tflops"] / rates[entry["precision"]]
        rows.append(
            [
                f"{entry['step']}, {TITLES[entry['objective']]}",
                entry["architecture"],
                f"{entry['batch_size']} / {entry['micro_batch_size']}",
                entry["precision"] + "".join(f", {note}" for note in notes if note),
                number(entry["pairs_per_second"]),
                number(entry["milliseconds"]),
                number(entry["memory_gb"]),
                percent(share),
            ]
        )
    header = [
        "step",
        "model",
        "batch / micro",
        "precision",
        "pairs/s",
        "ms",
        "GB",
        "of the matrix rate",
    ]
    return table(header, rows)


def main_steps(report: Report) -> dict[str, dict[str, Any]]:
    """Our measured step of each objective with the recipe's batch, the first row of each."""
    found: dict[str, dict[str, Any]] = {}
    for entry in report.get("step", []):
        if entry["step"] == "ours":
            found.setdefault(entry["objective"], entry)
    return found


def losses(report: Report) -> str:
    """The time of the loss alone, and its share of the step."""
    step = {
        (entry["objective"], entry["batch_size"]): entry["milliseconds"]
        for entry in reversed(report.get("step", []))
        if entry["step"] == "ours"
    }
    rows = []
    for entry in report.get("loss", []):
        whole = step.get((entry["objective"], entry["batch_size"]))
        share = entry["milliseconds"] / whole if whole else None
        rows.append(
            [TITLES[entry["objective"]], entry["batch_size"], number(entry["milliseconds"]), percent(share)]
        )
    return table(["objective", "pairs", "ms", "of the step"], rows)


def objective(report: Report) -> str:
    """Exactness, time and memory of the objectives."""
    rows = [
        [
            TITLES[entry["objective"]],
            f"{entry['pairs']:,}",
            number(entry["milliseconds"]),
            number(entry["megabytes"]),
            percent(entry["share_of_matrix_rate"]),
            f"{entry['loss_error']:.0e}",
            f"{entry['gradient_error']:.0e}",
        ]
        for entry in sorted(report.get("objective", []), key=lambda e: (e["objective"], e["pairs"]))
    ]
    header = ["objective", "pairs", "ms", "MB", "of the matrix rate", "error of the loss", "of the gradient"]
    return table(header, rows)


def loader(report: Report) -> str:
    """The loader alone, and runs that it feeds."""
    alone = table(
        ["workers", "pairs/s"],
        [[entry["workers"], number(entry["pairs_per_second"])] for entry in report.get("loader", [])],
    )
    runs = table(
        ["run", "GPUs", "workers per GPU", "pairs/s", "waiting for data", "pairs/s of a step in memory"],
        [
            [
                f"{entry['architecture']}, {TITLES[entry['objective']]}",
                entry["processes"],
                entry["workers"],
                number(entry["pairs_per_second"]),
                percent(entry["data_wait"]),
                number(main_steps(report).get(entry["objective"], {}).get("pairs_per_second")),
            ]
            for entry in report.get("training", [])
        ],
    )
    return f"{alone}\n\n{runs}"


def work(report: Report) -> str:
    """Kernels, blocking calls and collectives per step of a run."""
    rows = []
    for entry in report.get("work_per_step", []):
        rows.append(
            [
                f"{entry['architecture']}, {TITLES[entry['objective']]}",
                number(entry["kernels"], 5),
                number(entry["short_kernels"], 5),
                number(entry["kernel_milliseconds"]),
                number(sum(entry["blocking_calls"].values())),
                number(sum(n for name, n in entry["copies"].items() if "DtoH" in name)),
                number(sum(entry["collectives"].values())),
            ]
        )
    header = ["run", "kernels", "under 10 µs", "ms in kernels", "blocking calls", "copies to the host"]
    return table([*header, "collectives"], rows)


def waits(report: Report) -> str:
    """The lines of the sources at which the host waits for the device."""
    rows = [
        [TITLES[entry["objective"]], f"`{place}`", number(count)]
        for entry in report.get("work_per_step", [])
        for place, count in list(entry["synchronizations"].items())[:10]
    ]
    if not rows:
        return "PyTorch's sync debug mode reports no line of the sources at which the host waits."
    return table(["objective", "line", "waits per step"], rows)


def repeats(report: Report) -> str:
    """Whether repeated steps have the same bits with PyTorch's default algorithms."""
    lines = [
        f"Of {entry['parameters']} parameters, {entry['bit_identical_parameters']} have the same bits after "
        f"{entry['steps']} steps from the same seed, repeated with PyTorch's default algorithms; the largest "
        f"difference is {number(entry['largest_difference'])}. With `torch.use_deterministic_algorithms`, a "
        "resumed run has the same bits (`tests/gpu/test_resume.py`)."
        for entry in report.get("repeated_steps", [])
    ]
    return wrap(" ".join(lines) or "Repeated steps: not measured.")


def workers(report: Report) -> str:
    """The number of workers whose rate suffices for the fastest objective."""
    needed = max((entry["pairs_per_second"] for entry in main_steps(report).values()), default=0.0)
    enough = [
        entry for entry in report.get("loader", []) if entry["pairs_per_second"] >= LOADER_MARGIN * needed
    ]
    if not needed or not report.get("loader"):
        return "`train.workers`: not measured."
    if not enough:
        return f"No measured `train.workers` loads {LOADER_MARGIN:g} × {needed:,.0f} pairs/s."
    least = min(enough, key=lambda entry: entry["workers"])
    return wrap(
        f"`train.workers: {least['workers']}` follows: so many workers load "
        f"{least['pairs_per_second']:,.0f} pairs/s, at least {LOADER_MARGIN:g} × the {needed:,.0f} pairs/s "
        "of training on one GPU."
    )


def gpu_hours(report: Report) -> str:
    """GPU-hours of the paper's runs at the measured rates."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    rows, total = [], 0.0
    for grid in config["runs"]:
        recipe = config["recipes"][grid["recipe"]]
        pairs = PAIRS[grid["corpus"]] * recipe["epochs"]
        for architecture in grid["architectures"]:
            rate, source = rate_of(report, architecture, recipe)
            runs = len(grid["objectives"]) * len(grid["seeds"])
            hours = pairs / rate / 3600 if rate else None
            total += (hours or 0.0) * runs
            rows.append(
                [
                    f"{grid['corpus']}, {architecture}",
                    f"{pairs / 1e6:,.0f} M",
                    number(rate),
                    source,
                    number(hours),
                    runs,
                    number(hours * runs if hours else None, 4),
                ]
            )
    rows.append(["all", "", "", "", "", "", number(total, 4)])
    header = ["runs", "pairs × epochs", "pairs/s", "from", "GPU-hours per run", "runs", "GPU-hours"]
    return table(header, rows)


def rate_of(report: Report, architecture: str, recipe: dict[str, Any]) -> tuple[float | None, str]:
    """Measured pairs per second of CLOOB with the sizes of a recipe, and what was measured."""
    for entry in report.get("step", []):
        key = entry["step"], entry["architecture"], entry["objective"], entry["precision"]
        sizes = entry["batch_size"], entry["micro_batch_size"]
        if key == ("ours", architecture, "cloob", recipe["precision"]) and sizes == (
            recipe["batch_size"],
            recipe["micro_batch_size"],
        ):
            return entry["pairs_per_second"], "step in memory"
    return None, "not measured"


SECTIONS: dict[str, Callable[[Report], str]] = {
    "machine": machine,
    "steps": steps,
    "repeats": repeats,
    "losses": losses,
    "loader": loader,
    "workers": workers,
    "gpu-hours": gpu_hours,
    "work": work,
    "waits": waits,
    "objective": objective,
}


def render(page: str, report: Report) -> str:
    """The page with its tables written anew."""
    for name, section in SECTIONS.items():
        content = f"<!-- {name} -->\n{section(report)}\n<!-- end -->"
        page = re.sub(rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, c=content: c, page, flags=re.DOTALL)
    return page


def main() -> None:
    """Update the page, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the JSON file of `make gpu`")
    parser.add_argument("--show", action="store_true", help="print the tables, and change no file")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    if options.show:
        for name, section in SECTIONS.items():
            print(f"\n{name}\n{section(report)}")
        return
    DATA.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")


if __name__ == "__main__":
    main()
