"""The JSON Schema of the config, completed with what the package registers, and one line per violation."""

import copy
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema import ValidationError

from cloob.common.json_schema import StrictValidator
from cloob.common.yaml_file import value_hint
from cloob.download.corpora.registry import READERS
from cloob.objectives.registry import OBJECTIVES
from cloob.shards.local_sources import LOCAL_SOURCES, LocalSource
from cloob.toy_data.config_schema import TOY_DATA_SCHEMA

Schema = dict[str, Any]


def complete_schema(schema: Schema) -> Schema:
    """The schema with the registered objectives, the sources of corpora and the toy dataset filled in."""
    schema = copy.deepcopy(schema)
    schema["properties"]["toy_data"] |= TOY_DATA_SCHEMA
    schema["$defs"]["objective"]["enum"] = list(OBJECTIVES)
    of_recipe = schema["properties"]["recipes"]["additionalProperties"]["properties"]
    per_objective = {key: value for key, value in of_recipe.items() if key not in _SAME_FOR_ALL_OBJECTIVES}
    hyperparameters = schema["$defs"]["hyperparameters"]
    of_objective = hyperparameters["properties"]
    schema["$defs"]["objectives"]["properties"] = {
        name: hyperparameters
        | {"required": list(objective.hyperparameters), "properties": of_objective | per_objective}
        for name, objective in OBJECTIVES.items()
    }
    schema["$defs"]["grid"]["properties"] = {
        name: _grid_of(per_objective | {key: of_objective[key] for key in objective.hyperparameters})
        for name, objective in OBJECTIVES.items()
    }
    split = schema["$defs"]["split"]
    split["properties"]["reader"]["enum"] = list(READERS)
    for key, source in LOCAL_SOURCES.items():
        split["properties"][key] = source.schema | {"$ref": "#/$defs/paths"}
        split["anyOf"].append({"required": [key]})
    split["allOf"] = [
        *(_reader_condition(name, split["properties"]) for name in READERS),
        *(_local_condition(source, split["properties"]) for source in LOCAL_SOURCES.values()),
    ]
    return schema


# Keys of a recipe that neither the hyperparameters of an objective nor a search can change.
_SAME_FOR_ALL_OBJECTIVES = ("epochs", "eval_epochs", "embedding_eval_epochs", "objectives")


def _grid_of(values: Schema) -> Schema:
    """The grid of an objective: a list of values per key."""
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "description": "hyperparameter -> values, every combination is trained",
        "properties": {
            key: {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": value,
                "description": f"values of {key}",
            }
            for key, value in values.items()
        },
    }


def _reader_condition(name: str, common: Schema) -> Schema:
    """The options of one reader, for splits that it reads."""
    reader = READERS[name]
    options = _option_schemas(reader.options, reader.inputs)
    return {
        "if": {
            "required": ["reader"],
            "properties": {"reader": {"const": name}},
            "not": {"anyOf": [{"required": [key]} for key in LOCAL_SOURCES]},
        },
        "then": {
            "properties": {key: {} for key in common} | options,
            "additionalProperties": False,
            "required": ["num_jobs", *reader.required],
        },
    }


def _local_condition(source: LocalSource, common: Schema) -> Schema:
    """The options of a form of images on disk, for splits that have its key.

    Keys of readers may be present, too: those that a config file inherits.
    """
    inherited: Schema = {option: {} for reader in READERS.values() for option in reader.options}
    options = _option_schemas(source.options, source.inputs)
    return {
        "if": {"required": [source.key]},
        "then": {
            "properties": inherited | {key: {} for key in common} | options,
            "additionalProperties": False,
        },
    }


def _option_schemas(options: Mapping[str, Any], inputs: Iterable[str]) -> Schema:
    """The schemas of the options of a source; those in `inputs` are paths."""
    return {
        option: ({"allOf": [{"$ref": "#/$defs/paths"}, fragment]} if option in inputs else fragment)
        for option, fragment in options.items()
    }


def schema_problems(config: Any, schema: Schema) -> list[str]:
    """One line per violation of the completed schema: the key, the problem, what is allowed."""
    errors = sorted(StrictValidator(schema).iter_errors(config), key=lambda error: list(map(str, error.path)))
    return list(dict.fromkeys(map(_explain, errors)))


def _explain(error: ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path) or "(top level)"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [name for name in error.instance if name not in known]
        close = [match for name in unknown for match in difflib.get_close_matches(str(name), known, n=1)]
        suggestion = f"did you mean {', '.join(close)}?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key {', '.join(map(str, unknown))}; {suggestion}"
    message = error.message
    if error.validator in ("pattern", "not"):
        message = f"{error.instance!r} does not match"
    elif error.validator == "required":  # one error per missing key; their lines are equal
        message = f"missing {', '.join(name for name in error.validator_value if name not in error.instance)}"
    elif error.validator == "dependentRequired":
        message = "; ".join(
            f"{name} needs {', '.join(missing)}"
            for name, needed in error.validator_value.items()
            if name in error.instance and (missing := [key for key in needed if key not in error.instance])
        )
    elif error.validator == "const":
        message = (
            f"{error.instance!r} is not {error.validator_value!r}: {value_hint(error.instance, ['array'])}"
        )
    elif error.validator == "anyOf":
        message = (
            f"needs {' or '.join(name for option in error.validator_value for name in option['required'])}"
        )
    elif error.validator == "type":
        types = error.validator_value
        remedy = value_hint(error.instance, [types] if isinstance(types, str) else types)
        message += f": {remedy}" if remedy else ""
    description = error.schema.get("description")
    reference = (
        f" ({description}; explained in config/config.yaml)" if description else " (see config/config.yaml)"
    )
    return f"{key}: {message}{reference}"
