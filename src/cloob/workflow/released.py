"""Released models to compare with: their files, the commands that fetch them, and their results."""

from collections.abc import Iterator
from pathlib import Path

from cloob.common.errors import InputError
from cloob.models.config import open_clip_config_path
from cloob.workflow.evaluation import probed_testsets
from cloob.workflow.flags import flags
from cloob.workflow.runs import Config, planned_runs

LOCAL_DIR = "local-dir:"


def released_files(config: Config, protocol: str) -> dict[str, str]:
    """The result file of every (released model, test set): {path: column of the published results}."""
    return _result_files(config, config["released_checkpoints"], protocol)


def baseline_files(config: Config, protocol: str) -> dict[str, str]:
    """`released_files` of the models in `baselines`."""
    return _result_files(config, _baselines(config), protocol)


def overlap_baseline_files(config: Config) -> dict[str, str]:
    """The zero-shot results of baselines that were trained on a corpus of a run: {path: COLUMN/CORPUS}."""
    corpora = {planned.run.corpus for planned in planned_runs(config).values()}
    return {
        path: f"{key}/{model['corpus']}"
        for name, model in _baselines(config).items()
        if model.get("corpus") in corpora
        for path, key in _result_files(config, {name: model}, "zeroshot").items()
    }


def _baselines(config: Config) -> Config:
    models = config["released_checkpoints"]
    return {name: models[name] for name in config["baselines"]}


def _result_files(config: Config, models: Config, protocol: str) -> dict[str, str]:
    datasets = {
        "zeroshot": config["testsets"],
        "linear_probe": probed_testsets(config),
        "retrieval": config["evaluate"]["retrieval_sets"],
        # Figures show the first retrieval set only.
        "embedding_structure": list(config["evaluate"]["retrieval_sets"])[:1],
    }[protocol]
    return {
        f"{config['results']}/evaluate/released/{name}/{protocol}/{dataset}.json": released_key(model)
        for name, model in models.items()
        for dataset in datasets
    }


def released_key(model: Config) -> str:
    """The column of the published results that belongs to a released model."""
    keys = ("pretraining", "architecture", "method", "epoch")
    return "/".join(str(model.get(key, "final")) for key in keys)


def with_key(config: Config, key: str) -> list[str]:
    """The names of the released models with a key: `url` (the authors') or `open_clip`."""
    return [name for name, model in config["released_checkpoints"].items() if key in model]


def released_model(config: Config, name: str) -> str:
    """The weights of a released model: a checkpoint of the authors, or a folder in open_clip's format."""
    path = f"{config['results']}/download/released/{name}"
    is_open_clip = "open_clip" in config["released_checkpoints"][name]
    return f"{path}/open_clip_model.safetensors" if is_open_clip else f"{path}.pt"


def open_clip_source(config: Config, name: str) -> str:
    """A released model of open_clip, as `cloob.load_model` names it."""
    released = config["released_checkpoints"][name]
    return ":".join([released["open_clip"], *filter(None, [released.get("pretrained")])])


def local_model(model: Config) -> str | None:
    """The file of weights, or the folder, of a released model of open_clip that is not downloaded."""
    name, weights = model.get("open_clip", ""), model.get("pretrained") or ""
    if name.startswith(LOCAL_DIR):
        return name.removeprefix(LOCAL_DIR)
    return weights if "/" in weights else None


def open_clip_inputs(config: Config, name: str) -> list[str]:
    """The local files of a released model of open_clip, also all weights in its folder; else none."""
    model = config["released_checkpoints"][name]
    path = local_model(model)
    if path is None or path == model.get("pretrained"):
        return [path] if path else []
    weights = [file for file in Path(path).glob("*") if file.suffix in (".safetensors", ".bin", ".pth")]
    return [f"{path}/open_clip_config.json", *sorted(map(str, weights))]


def released_checkpoint_flags(config: Config, name: str) -> list[str]:
    """URL, maximum size and checksum of a released checkpoint, as flags of `cloob download file`."""
    released = config["released_checkpoints"][name]
    return flags({key: released[key] for key in ("url", "max_bytes", "checksum")})


def released_problems(config: Config) -> Iterator[str]:
    """One line per problem of released models and baselines."""
    models = config["released_checkpoints"]
    named: dict[str, str] = {}
    for name, model in models.items():
        key, other = f"released_checkpoints.{name}", named.setdefault(released_key(model), name)
        if other != name:
            yield f"{key}: pretraining, architecture, method and epoch are those of {other}; change one"
        if model.get("open_clip", "").startswith(LOCAL_DIR) and model.get("pretrained"):
            yield f"{key}.pretrained: {LOCAL_DIR}FOLDER already names the weights; remove it"
        if "open_clip" in model and not model["open_clip"].startswith((LOCAL_DIR, "hf-hub:")):
            try:
                open_clip_config_path(model["open_clip"], f"{LOCAL_DIR}FOLDER")
            except InputError as error:
                yield f"{key}.open_clip: {error}"
    for name in config["baselines"]:
        if name not in models:
            yield (
                f"baselines: {name} is not defined; choose from released_checkpoints: "
                f"{', '.join(models) or 'none'}"
            )
        elif (corpus := models[name].get("corpus")) and corpus not in config["corpora"]:
            yield (
                f"released_checkpoints.{name}.corpus: {corpus} is not defined; choose from corpora: "
                f"{', '.join(config['corpora'])}, or set null"
            )
