"""Problems of a config beyond its schema: undefined names, impossible recipes, missing files."""

from collections import Counter
from collections.abc import Iterator

from cloob.common.errors import InputError
from cloob.download.corpora.registry import READERS
from cloob.evaluate.testsets.spec import load_spec
from cloob.models.config import ModelConfig, model_config
from cloob.shards.local_sources import LOCAL_SOURCES
from cloob.train.recipe import Recipe, recipe_problems
from cloob.workflow.corpora import (
    Split,
    configured_splits,
    local_source,
    needed_splits,
    reader_options,
)
from cloob.workflow.evaluation import is_remote, probed_testsets
from cloob.workflow.released import released_problems
from cloob.workflow.runs import Config, expand_row, planned_runs, recipe_arguments
from cloob.workflow.search import searches, validation_corpus
from cloob.workflow.search_checks import search_problems, undefined_name, undefined_names
from cloob.workflow.user_inputs import file_exists, is_result

# Format of a retrieval set -> keys that are read with it, besides `max_bytes` of a download.
_READ_KEYS: dict[str, tuple[str, ...]] = {
    "shards": (),
    "karpathy": ("images", "split"),
    "webdataset": ("split",),
}


def inconsistencies(config: Config) -> Iterator[str]:
    """One line per problem of a normalized config that the schema accepts."""
    models, problems = _load_models(config)
    yield from problems
    undefined = [*_undefined_names(config), *undefined_names(config)]
    of_recipes = dict.fromkeys(_recipe_problems(config, models))
    of_searches = search_problems(config, models, of_recipes) if not undefined else ()
    yield from dict.fromkeys([*of_recipes, *of_searches])
    yield from undefined
    if not undefined:
        yield from _repeated_runs(config)
        yield from _undefined_splits(config)
    yield from _reader_problems(config)
    yield from _local_source_problems(config)
    yield from _missing_request_rates(config)
    yield from _retrieval_set_problems(config)
    yield from _testset_problems(config)
    yield from released_problems(config)
    probe = config["evaluate"]["linear_probe"]
    if probe["l2_min"] > probe["l2_max"]:
        yield "evaluate.linear_probe.l2_min: greater than l2_max; swap them"


def _load_models(config: Config) -> tuple[dict[str, ModelConfig], list[str]]:
    """The model configurations of all architectures that exist already, and the problems of the others."""
    models, problems = {}, []
    for name, architecture in config["architectures"].items():
        if is_result(config, architecture):
            continue
        if architecture.endswith(".json") and not file_exists(architecture):
            problems.append(_no_file(f"architectures.{name}", architecture))
            continue
        try:
            models[name] = model_config(architecture)
        except InputError as error:
            problems.append(f"architectures.{name}: {error}")
    return models, problems


def _no_file(key: str, path: str) -> str:
    return f"{key}: no file {path}; correct the path, relative to the root of the repository"


def _recipe_problems(config: Config, models: dict[str, ModelConfig]) -> Iterator[str]:
    for name, recipe in config["recipes"].items():
        for key in ("eval_epochs", "embedding_eval_epochs"):
            if max(recipe[key], default=0) > recipe["epochs"]:
                yield f"recipes.{name}.{key}: {max(recipe[key])} is beyond epochs: {recipe['epochs']}"
        rows = [row for row in config["runs"] if row["recipe"] == name]
        setups = {
            (architecture, row.get("processes") or config["train"]["processes"])
            for row in rows
            for architecture in row["architectures"]
        }
        for objective, hyperparameters in recipe["objectives"].items():
            for architecture, processes in sorted(setups) or [("", 1)]:
                problems = recipe_problems(
                    Recipe(**recipe_arguments(recipe, objective)),
                    objective=objective,
                    processes=processes,
                    model_config=models.get(architecture),
                )
                for key, problem in problems:
                    prefix = f"objectives.{objective}." if key in hyperparameters else ""
                    yield f"recipes.{name}.{prefix}{key}: {problem}"


def _undefined_names(config: Config) -> Iterator[str]:
    """Undefined corpora, recipes, architectures and hyperparameters that rows of `runs` refer to."""
    for index, row in enumerate(config["runs"]):
        references = [("corpus", row["corpus"], config["corpora"])]
        if row.get("validation") is not None:
            references += [("validation", row["validation"], config["corpora"])]
        references += [("recipe", row["recipe"], config["recipes"])]
        references += [("search", row["search"], searches(config))] if row.get("search") is not None else []
        references += [("architectures", name, config["architectures"]) for name in row["architectures"]]
        for key, name, defined in references:
            if name not in defined:
                yield undefined_name(f"runs.{index}", key, name, defined)
        for objective in row["objectives"]:
            recipe = config["recipes"].get(row["recipe"])
            if recipe and objective not in recipe["objectives"]:
                yield (
                    f"runs.{index}.objectives: {objective} has no hyperparameters in recipe {row['recipe']}; "
                    f"add recipes.{row['recipe']}.objectives.{objective}"
                )
            search = searches(config).get(row.get("search") or "")
            if search and objective not in search["grid"]:
                yield (
                    f"runs.{index}.objectives: {objective} is not in the grid of search {row['search']}; "
                    f"add search.{row['search']}.grid.{objective}"
                )


def _repeated_runs(config: Config) -> Iterator[str]:
    names = Counter(planned.run.name for row in config["runs"] for planned in expand_row(row))
    for name, count in names.items():
        if count > 1:
            yield f"runs: {name} is listed {count} times; keep it in one row"


def _undefined_splits(config: Config) -> Iterator[str]:
    """The splits that runs, searches and retrieval sets need and that no corpus has."""
    configured = configured_splits(config)
    validated = {Split(run.validation, "validation") for run in planned_runs(config).values()}
    of_searches = set()
    for settings in searches(config).values():
        validated.add(Split(validation_corpus(settings), "validation"))
        of_searches |= {Split(settings["corpus"], "train"), Split(validation_corpus(settings), "validation")}
    for split in dict.fromkeys([*needed_splits(config), *sorted(of_searches)]):
        if split not in configured:
            alternatives = [other.corpus for other in configured if other.split == split.split]
            remedy = f"corpora with one: {', '.join(alternatives) or 'none'}"
            if split.split == "validation" and split in validated:
                remedy += "; choose one as `validation` of the runs and searches"
            elif split.split == "validation":
                remedy += "; choose one in evaluate.retrieval_sets, or add the split"
            else:
                remedy += "; choose one as `corpus` of the runs and searches, or add the split"
            yield f"corpora.{split.corpus}: no {split.split} split; {remedy}"


def _reader_problems(config: Config) -> Iterator[str]:
    """The options of readers that do not fit together."""
    for split, settings in configured_splits(config).items():
        if local_source(config, split) is None:
            for option, problem in READERS[settings["reader"]].problems(reader_options(config, split)):
                yield f"corpora.{split.corpus}.{split.split}.{option}: {problem}"


def _local_source_problems(config: Config) -> Iterator[str]:
    """A split is packed from one form of files."""
    for split, settings in configured_splits(config).items():
        given = [key for key in LOCAL_SOURCES if settings.get(key)]
        if len(given) > 1:
            yield f"corpora.{split.corpus}.{split.split}: has {' and '.join(given)}; set all but one to null"


def _missing_request_rates(config: Config) -> Iterator[str]:
    downloaded = {split.corpus for split in configured_splits(config) if local_source(config, split) is None}
    for corpus in sorted(downloaded):
        if "requests_per_second" not in config["corpora"][corpus]:
            yield f"corpora.{corpus}: no requests_per_second; set the rate of requests to one host"


def _retrieval_set_problems(config: Config) -> Iterator[str]:
    if not config["evaluate"]["retrieval_sets"]:
        yield "evaluate.retrieval_sets: all are null; keep at least one"
    for name, settings in config["evaluate"]["retrieval_sets"].items():
        key, path = f"evaluate.retrieval_sets.{name}", settings.get("shards", "")
        if path.endswith(".json") and not is_result(config, path) and not file_exists(path):
            yield f"{key}.shards: no file {path}; correct the path"
        given = [format_ for format_ in _READ_KEYS if format_ in settings]
        if len(given) > 1:
            yield f"{key}: {' and '.join(given)} are given; keep one of them"
        if "karpathy" in settings and "images" not in settings:
            yield f"{key}: no images; set the folder of the images that karpathy lists"
        if is_remote(settings) and "max_bytes" not in settings:
            yield f"{key}: no max_bytes; set the largest size to download, in bytes"
        if len(given) == 1:
            read = _READ_KEYS[given[0]]
            for option in ("images", "split"):
                if option in settings and option not in read:
                    yield f"{key}.{option}: not read with {given[0]}; remove it"
            if "max_bytes" in settings and not is_remote(settings):
                yield f"{key}.max_bytes: nothing is downloaded; remove it"


def _testset_problems(config: Config) -> Iterator[str]:
    selected = config["evaluate"]["testsets"]
    if selected == "all" and not config["testsets"]:
        yield "testsets: all are null; keep at least one"
    for name in () if selected == "all" else selected:
        if name not in config["testsets"]:
            yield f"evaluate.testsets: {name} is not defined; add it to testsets, or remove it here"
    probed = probed_testsets(config)
    for name, train_set in probed.items():
        if probed.get(train_set) != train_set:
            alternatives = [other for other, own_train_set in probed.items() if other == own_train_set]
            yield (
                f"testsets.{name}.probe_train_set: {train_set} has no training images of its own; "
                f"test sets with training images: {', '.join(alternatives) or 'none'}"
            )
    for name, testset in config["testsets"].items():
        if testset.get("prompts") == "webdataset" and testset.get("source") != "webdataset":
            yield f"testsets.{name}.prompts: webdataset needs source: webdataset; set both, or neither"
        ignored = ["local_files"] if testset.get("local_files") else []
        ignored += ["prompts"] if testset.get("prompts") == "webdataset" else []
        if ignored and not is_result(config, testset["folder"]):
            verb = "is" if len(ignored) == 1 else "are"
            yield (
                f"testsets.{name}.folder: is used as it is, so {' and '.join(ignored)} {verb} not read; "
                "set folder: null"
            )
        key, path = f"testsets.{name}.spec", testset["spec"]
        if is_result(config, path):
            continue
        if not file_exists(path):
            yield _no_file(key, path)
            continue
        try:
            spec = load_spec(path)
            if spec.name != name:
                yield f"{key}: {path} specifies the test set {spec.name}; give both the same name"
            is_local = testset.get("local_files") or not is_result(config, testset["folder"])
            if testset.get("source") == "webdataset" and not (is_local or spec.source.get("webdataset")):
                yield (
                    f"testsets.{name}.source: {path} has no URL of a webdataset folder; set local_files to "
                    "your folder, or give source.webdataset there"
                )
        except InputError as error:
            yield f"{key}: {error}"
