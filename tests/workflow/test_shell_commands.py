"""Paths and texts of the config reach the programs unchanged, even if they contain shell syntax."""

import ast
import re
import shlex
import string
import textwrap

import pytest
import yaml

from tests.helpers.configs import config_from
from tests.helpers.repository import ROOT

CONFIG = config_from()
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
# Characters that a shell, argparse, Snakemake's formatting, its wildcards and Slurm would each interpret.
HOSTILE = "-a b'c\"d $(touch made) `touch made` $HOME; touch made # & | * ? ~ % =e \\ ! é"


def directive_blocks(text, directive):
    """The contents of a directive in all rules, each as the source of a Python expression."""
    matches = re.finditer(rf"^( +){directive}:\n((?:\1 +.*\n|\n)+)", text, flags=re.MULTILINE)
    return [textwrap.dedent(match[2]) for match in matches]


def shell_commands():
    for path in RULES:
        for block in directive_blocks(path.read_text(), "shell"):
            parsed = ast.parse(f"({block})", mode="eval")
            constants = [node for node in ast.walk(parsed) if isinstance(node, ast.Constant)]
            yield path.name, "".join(node.value for node in constants)


def test_every_placeholder_of_every_shell_command_is_quoted():
    commands = list(shell_commands())
    assert len(commands) == sum(path.read_text().count("    shell:\n") for path in RULES) > 15
    prefix = re.search(r"shell\.prefix\('(.*)'\)", (ROOT / "workflow/rules/common.smk").read_text())[1]
    for file, command in [*commands, ("common.smk", prefix)]:
        fields = [field for field in string.Formatter().parse(command) if field[1] is not None]
        assert fields, command
        assert [(file, field[1]) for field in fields if field[2] != "q"] == []


def test_no_text_of_the_config_is_a_parameter_in_which_snakemake_expands_wildcards():
    """Snakemake expands {wildcards} in parameters that are strings, but not in the results of functions."""
    for path in RULES:
        for block in directive_blocks(path.read_text(), "params"):
            call = ast.parse(f"params({block})", mode="eval").body
            for parameter in call.keywords:
                names = {node.id for node in ast.walk(parameter.value) if isinstance(node, ast.Name)}
                if "config" in names and not isinstance(parameter.value, ast.Lambda):
                    value = eval(ast.unparse(parameter.value), {"config": CONFIG})  # noqa: S307
                    assert isinstance(value, int), (path.name, parameter.arg)


def arguments_of(plan, command):
    """The arguments of every planned call of a command, as a shell splits them."""
    text, arguments = plan.stdout, []
    for start in (match.start() for match in re.finditer(f"{command} ", text)):
        arguments += shlex.split(text[start : text.index(" 2>&1 |", start)])
    return arguments


RUN = "cc3m-clip-RN50-cc3m-seed1"
TEXT = HOSTILE + " {run} {} {{x}} <results> <x>\nnext line"


def escaped(text):
    """The escapes for Snakemake's report, which `cloob report` reverses."""
    return re.sub(r"[\\<\n]", lambda match: f"\\u{ord(match[0]):04x}", text)


# The commands that a text or path of the config is passed to, with its flag.
EXPECTED = [
    ("cloob report table", f"--title-suffix={escaped(TEXT)}"),
    ("cloob report table", f"--corpus-title=cc3m={escaped(TEXT)}"),
    ("cloob report figure", f"--title-suffix={escaped(TEXT)}"),
    ("cloob report figure", f"--corpus-title=cc3m={escaped(TEXT)}"),
    ("cloob train", f"--node-local-dir={TEXT}"),
    ("cloob train", f"--wandb-project={TEXT}"),
    ("cloob evaluate image-text", f"--title={TEXT}"),
    ("cloob download file", f"--url=http://{TEXT}"),
    ("cloob download urls", f"--image-base-url=http://{TEXT}"),
    ("cloob download urls", f"--list={HOSTILE}"),
    ("cloob download urls", f"--subset={HOSTILE}"),
    ("cloob download urls", f"--metadata={HOSTILE}"),
    ("cloob shards pack", f"--webdataset={HOSTILE}"),
    ("cloob evaluate prepare-testset", f"--local-files={HOSTILE}"),
    ("cloob evaluate zeroshot", f"--testset=config/datasets/imagenet.yaml={HOSTILE}"),
]
TARGETS = [
    f"evaluate/{RUN}/epoch_31/retrieval/cc3m_validation.json",
    f"evaluate/{RUN}/epoch_31/zeroshot/gtsrb.json",
    "download/released/cloob_rn50_yfcc.pt",
    "download/yfcc15m/train/urls.parquet",
    *(f"tables/{table}.csv" for table in ("throughput", "accounting", "corpus", "overlap", "released")),
    *(f"figures/{figure}.png" for figure in ("throughput", "corpus")),
]


@pytest.fixture(scope="module")
def hostile_plan(snakemake, tmp_path_factory):
    """The plan of a config whose texts and paths contain shell syntax."""
    config = tmp_path_factory.mktemp("hostile") / "config.yaml"
    yfcc = {"image_base_url": f"http://{TEXT}", "subset": HOSTILE, "metadata": HOSTILE}
    content = {
        "title_suffix": TEXT,
        "train": {"node_local_dir": TEXT, "wandb_project": TEXT},
        "evaluate": {"retrieval_sets": {"cc3m_validation": {"title": TEXT}}},
        "released_checkpoints": {"cloob_rn50_yfcc": {"url": f"http://{TEXT}"}},
        "corpora": {
            "cc3m": {"title": TEXT, "validation": {"list": HOSTILE}, "train": {"shards": HOSTILE}},
            "yfcc15m": {"train": yfcc},
        },
        "testsets": {
            "ucf101": {"source": "official", "local_files": HOSTILE},
            "imagenet": {"folder": HOSTILE},
        },
    }
    config.write_text(yaml.safe_dump(content))
    plan = snakemake("-n", "-p", *(f"results/{target}" for target in TARGETS), "--configfile", config)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    return plan


@pytest.mark.parametrize(
    ("command", "flag"), EXPECTED, ids=[f"{command} {flag.partition('=')[0]}" for command, flag in EXPECTED]
)
def test_texts_and_paths_of_the_config_reach_the_program_unchanged(hostile_plan, command, flag):
    assert flag in arguments_of(hostile_plan, command)


@pytest.mark.parametrize("metadata", [["a b", "-c;d", "e=f"], ["one"]])
def test_a_list_of_paths_reaches_the_program_unchanged(snakemake, config_with, metadata):
    plan = snakemake(
        *("-n", "-p", "results/download/yfcc15m/train/urls.parquet"),
        *("--configfile", config_with({"corpora": {"yfcc15m": {"train": {"metadata": metadata}}}})),
    )
    arguments = arguments_of(plan, "cloob download urls")
    assert [argument for argument in arguments if "--metadata" in argument] == [
        f"--metadata={path}" for path in metadata
    ]


def test_model_configs_and_test_set_specs_may_have_any_path(snakemake, config_with, tmp_path):
    folder = tmp_path / HOSTILE
    folder.mkdir()
    model, spec = folder / "a.json", folder / "a=b.yaml=c.yml"
    model.write_text((ROOT / "config" / "architectures" / "RN_small.json").read_text())
    spec.write_text((ROOT / "config" / "datasets" / "gtsrb.yaml").read_text())
    config = config_with({"architectures": {"RN50": str(model)}, "testsets": {"gtsrb": {"spec": str(spec)}}})
    plan = snakemake("-n", "-p", f"results/train/{RUN}/final.pt", "--configfile", config)
    assert f"--model={model}" in arguments_of(plan, "cloob train")
    plan = snakemake("-n", "-p", "results/evaluate/testsets/gtsrb", "--configfile", config)
    assert f"--spec={spec}" in arguments_of(plan, "cloob evaluate prepare-testset")


def test_jobs_run_with_any_output_folder(snakemake, config_with, tmp_path):
    results = tmp_path / HOSTILE
    title_suffix = "what $(touch made) `touch made`; {run}"
    config = config_with({"results": str(results), "allow_missing": True, "title_suffix": title_suffix})
    targets = [results / "figures" / "pipeline.png", results / "tables" / "throughput.html"]
    made = snakemake("--cores", 1, "--nolock", *targets, "--configfile", config)
    assert made.returncode == 0, made.stdout + made.stderr
    assert all(target.is_file() for target in targets)
    assert (results / "logs" / "report" / "pipeline_figure.log").is_file()
    assert not [path for folder in (ROOT, tmp_path) for path in folder.glob("made*")]


def test_paths_with_redundant_dots_and_slashes_are_the_same_files(snakemake, config_with):
    content = {
        "results": "./x//y/./z",
        "corpora": {
            "cc3m": {"validation": {"list": "data//mine.tsv"}},
            "yfcc15m": {"train": {"metadata": ["./data/m1", "data/./m2"]}},
        },
        "testsets": {"imagenet": {"folder": "./data/mine/"}},
        "evaluate": {
            "retrieval_sets": {
                "mine": {"title": "Mine", "shards": "x/./y/z/shards/yfcc15m/train/shards.json"}
            }
        },
    }
    plan = snakemake("-n", "all", "--configfile", config_with(content))
    assert plan.returncode == 0, plan.stdout + plan.stderr
    text = plan.stdout + plan.stderr
    assert "strongly discouraged" not in text
    for path in ("data/mine.tsv", "data/m1", "data/m2", "data/mine"):
        assert f"  - {path}  (key " in text
    assert "output: x/y/z/tables/zeroshot.csv" in text
    assert "x/y/z/shards/yfcc15m/train/shards.json" in text  # made by the pipeline
