"""Paths and values of the config reach the programs as they are, whatever a shell would make of them."""

import ast
import re
import shlex
import string
import textwrap

import pytest
import yaml

from tests.workflow.test_plan import CONFIG, ROOT

RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
# What a shell, argparse, Snakemake's formatting, its wildcards and Slurm would each take for something.
HOSTILE = "-a b'c\"d $(touch made) `touch made` $HOME; touch made # & | * ? ~ % =e \\ ! é"


def blocks(text, directive):
    """The contents of a directive of all rules, each as a Python expression's text."""
    found = re.finditer(rf"^( +){directive}:\n((?:\1 +.*\n|\n)+)", text, flags=re.MULTILINE)
    return [textwrap.dedent(match[2]) for match in found]


def shell_commands():
    for path in RULES:
        for block in blocks(path.read_text(), "shell"):
            parsed = ast.parse(f"({block})", mode="eval")
            words = [node for node in ast.walk(parsed) if isinstance(node, ast.Constant)]
            yield path.name, "".join(node.value for node in words)


def test_every_placeholder_of_every_shell_command_is_quoted():
    commands = list(shell_commands())
    assert len(commands) == sum(path.read_text().count("    shell:\n") for path in RULES) > 15
    prefix = re.search(r"shell\.prefix\('(.*)'\)", (ROOT / "workflow/rules/common.smk").read_text())[1]
    for file, command in [*commands, ("common.smk", prefix)]:
        fields = [field for field in string.Formatter().parse(command) if field[1] is not None]
        assert fields, command
        assert [(file, field[1]) for field in fields if field[2] != "q"] == []


def test_no_text_of_the_config_is_a_parameter_in_which_snakemake_fills_in_wildcards():
    for path in RULES:
        for block in blocks(path.read_text(), "params"):
            call = ast.parse(f"params({block})", mode="eval").body
            for entry in call.keywords:
                names = {node.id for node in ast.walk(entry.value) if isinstance(node, ast.Name)}
                if "config" in names and not isinstance(entry.value, ast.Lambda):
                    value = eval(ast.unparse(entry.value), {"config": CONFIG})  # noqa: S307
                    assert isinstance(value, int), (path.name, entry.arg)


def words_of(plan, command):
    """The words of a planned shell command, as a shell splits them."""
    text = plan.stdout[plan.stdout.index(f"{command} ") :]
    return shlex.split(text[: text.index(" 2>&1 |")])


RUN = "cc3m-clip-RN50-cc3m-seed1"
TEXT = HOSTILE + " {run} {} {{x}} <results> <x>\nnext line"
# Escaped for Snakemake's report; `cloob report` takes the escapes back.
TITLE_SUFFIX = "--title-suffix=" + re.sub(r"[\\<\n]", lambda each: f"\\u{ord(each[0]):04x}", TEXT)
# Where a text or path of the config goes: the command, and its flag.
GIVEN = [
    *(
        (f"cloob report {each}", TITLE_SUFFIX)
        for each in ("table", "accounting", "corpus-table", "overlap", "released")
    ),
    *((f"cloob report {each}", TITLE_SUFFIX) for each in ("figure", "corpus-figure")),
    ("cloob train", f"--node-local-dir={TEXT}"),
    ("cloob train", f"--wandb-project={TEXT}"),
    ("cloob evaluate image-text", f"--title={TEXT}"),
    ("cloob download file", f"--url=http://{TEXT}"),
    ("cloob download urls --reader=yfcc100m", f"--image-base-url=http://{TEXT}"),
    ("cloob download urls --reader=conceptual_captions", f"--list={HOSTILE}"),
    ("cloob download urls --reader=yfcc100m", f"--subset={HOSTILE}"),
    ("cloob download urls --reader=yfcc100m", f"--metadata={HOSTILE}"),
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
    """The plan of a config whose texts and paths would mean something to a shell."""
    config = tmp_path_factory.mktemp("hostile") / "config.yaml"
    content = {
        "label": TEXT,
        "train": {"scratch": TEXT, "wandb_project": TEXT},
        "evaluate": {"image-text": {"cc3m_validation": {"title": TEXT}}},
        "released": {"cloob_rn50_yfcc": {"url": f"http://{TEXT}"}},
        "corpora": {
            "cc3m": {"validation": HOSTILE, "ready_made": {"train": HOSTILE}},
            "yfcc15m": {"image_base_url": f"http://{TEXT}", "subset": HOSTILE, "metadata": HOSTILE},
        },
        "testsets": {
            "ucf101": {"source": "official", "original": HOSTILE},
            "imagenet": {"folder": HOSTILE},
        },
    }
    config.write_text(yaml.safe_dump(content))
    plan = snakemake("-n", "-p", *(f"results/{target}" for target in TARGETS), "--configfile", config)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    return plan


IDS = [f"{command} {flag.partition('=')[0]}" for command, flag in GIVEN]


@pytest.mark.parametrize(("command", "flag"), GIVEN, ids=IDS)
def test_a_text_or_path_of_the_config_reaches_the_program_as_it_is(hostile_plan, command, flag):
    text, words = hostile_plan.stdout, []
    for start in (found.start() for found in re.finditer(f"{command} ", text)):
        words += shlex.split(text[start : text.index(" 2>&1 |", start)])
    assert flag in words


@pytest.mark.parametrize("metadata", [["a b", "-c;d", "e=f"], ["one"]])
def test_a_list_of_paths_reaches_the_program_as_it_is(snakemake, config_with, metadata):
    plan = snakemake(
        *("-n", "-p", "results/download/yfcc15m/train/urls.parquet"),
        *("--configfile", config_with({"corpora": {"yfcc15m": {"metadata": metadata}}})),
    )
    words = words_of(plan, "cloob download urls --reader=yfcc100m")
    assert [word for word in words if "--metadata" in word] == [f"--metadata={each}" for each in metadata]


def test_a_model_and_a_description_may_have_any_path(snakemake, config_with, tmp_path):
    folder = tmp_path / HOSTILE
    folder.mkdir()
    model, description = folder / "a.json", folder / "a=b.yaml=c.yml"
    model.write_text((ROOT / "config" / "architectures" / "RN_small.json").read_text())
    description.write_text((ROOT / "config" / "datasets" / "gtsrb.yaml").read_text())
    config = config_with(
        {"architectures": {"RN50": str(model)}, "testsets": {"gtsrb": {"description": str(description)}}}
    )
    plan = snakemake("-n", "-p", f"results/train/{RUN}/final.pt", "--configfile", config)
    assert f"--model={model}" in words_of(plan, "cloob train")
    plan = snakemake("-n", "-p", "results/evaluate/testsets/gtsrb", "--configfile", config)
    assert f"--spec={description}" in words_of(plan, "cloob evaluate prepare-testset")


def test_jobs_run_below_any_results_folder(snakemake, config_with, tmp_path):
    results = tmp_path / HOSTILE
    label = "what $(touch made) `touch made`; {run}"
    config = config_with({"results": str(results), "partial": True, "label": label})
    targets = [results / "figures" / "pipeline.png", results / "tables" / "throughput.html"]
    made = snakemake("--cores", 1, "--nolock", *targets, "--configfile", config)
    assert made.returncode == 0, made.stdout + made.stderr
    assert all(target.is_file() for target in targets)
    assert (results / "logs" / "report" / "pipeline_figure.log").is_file()
    assert not [path for folder in (ROOT, tmp_path) for path in folder.glob("made*")]


@pytest.mark.parametrize("results", ["a{run}", "{", "a<tables>b", "a\nb", "a\n", "-a", "./-a", "a/", ".", ""])
def test_a_results_folder_that_snakemake_cannot_have_is_refused_by_its_key(snakemake, config_with, results):
    plan = snakemake("-n", "all", "--configfile", config_with({"results": results}))
    assert plan.returncode != 0
    lines = [line for line in (plan.stdout + plan.stderr).splitlines() if line.startswith("  - ")]
    assert len(lines) == 1 and lines[0].startswith("  - results: "), lines


def test_paths_are_the_same_with_and_without_dots_and_slashes_that_say_nothing(snakemake, config_with):
    content = {
        "results": "./x//y/./z",
        "corpora": {
            "cc3m": {"validation": "data//mine.tsv"},
            "yfcc15m": {"metadata": ["./data/m1", "data/./m2"]},
        },
        "testsets": {"imagenet": {"folder": "./data/mine/"}},
        "evaluate": {
            "image-text": {"mine": {"title": "Mine", "shards": "x/./y/z/shards/yfcc15m/train/shards.json"}}
        },
    }
    plan = snakemake("-n", "all", "--configfile", config_with(content))
    assert plan.returncode == 0, plan.stdout + plan.stderr
    said = plan.stdout + plan.stderr
    assert "strongly discouraged" not in said
    for path in ("data/mine.tsv", "data/m1", "data/m2", "data/mine"):
        assert f"  - {path}  (key " in said
    assert "output: x/y/z/tables/zeroshot.csv" in said
    assert "x/y/z/shards/yfcc15m/train/shards.json" in said  # made


@pytest.mark.parametrize("name", ["a{b}", "a\nb", "a:b"])
def test_a_checkout_that_snakemake_cannot_work_in_is_refused(snakemake, tmp_path, name, copy_of_checkout):
    plan = snakemake("-n", "all", root=copy_of_checkout(tmp_path / name))
    assert plan.returncode != 0
    assert "move this checkout to a path without braces, colons and line breaks" in plan.stdout + plan.stderr
