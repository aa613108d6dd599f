"""The profile is parsed as by Snakemake: every value is compared with Snakemake's own result."""

import io
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
import yaml
from snakemake.cli import parse_set_resources, parse_set_threads
from snakemake.exceptions import ResourceConversionError, WorkflowError
from snakemake.profiles import ProfileConfigFileParser
from snakemake.resources import Resources
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from cloob.common.errors import InputError
from cloob.slurm.check import (
    TrainingSize,
    check_request,
    check_train_processes,
    largest_training,
    unknown_rules,
)
from cloob.slurm.partitions import NodeGroup, parse_gpus, parse_time_limit, partitions, run_command
from cloob.slurm.profile import Profile, read_profile
from cloob.slurm.resources import DependsOnJobError, parse_resources, parse_rule_resources
from cloob.workflow.runs import num_cpus
from tests.helpers.on_slurm import ROOT

CPUS = NodeGroup("cpus", True, 1440, 10, 32, 128_000, {})
GPUS = NodeGroup("gpus", False, 2880, 4, 64, 512_000, {"a100": 4})
ATTEMPT, THREADS = 3, 8


class Stream(io.StringIO):
    name = "/profile/config.yaml"


def parse_with_snakemake(text: str) -> dict[str, object]:
    """The resources of rule `a` of a profile, according to Snakemake."""
    content = ProfileConfigFileParser().parse(Stream(text))
    parsed: Resources = parse_set_resources(content["set-resources"])["a"]
    resources = {}
    for name, resource in parsed.items():
        arguments = {"wildcards": {}, "input": [], "attempt": ATTEMPT, "threads": THREADS, "rulename": "a"}
        resources[name] = resource.evaluate(**arguments, async_run=None).value
    return resources


def parse(text: str) -> dict[str, object]:
    assignments = parse_rule_resources(yaml.safe_load(text)["set-resources"])["a"]
    return parse_resources(assignments, "set-resources.a", ATTEMPT, THREADS)


VALUES = [
    *("mem: 2000GB", "mem: 16 GiB", "mem: 16G", "mem: 1.5TB", "mem: 64000", 'mem: "64000"', "mem: \"'8GB'\""),
    *("mem_mb: 64000", "mem_mb: 64000.0", "mem_mb: attempt * 8000", "mem_mb: max(1000, 2 * threads)"),
    *("mem_mib: 1024", "mem: \"'8GB' \"", "mem_mb: 6.4e+4", "disk: 10GB", "disk_mb: 10", "mem_mb: 0"),
    *("runtime: 90", 'runtime: "90"', "runtime: 2h", "runtime: 1d", "runtime: 1.5 h", "runtime: 90m"),
    *("runtime: 30s", "runtime: 60 * attempt", "runtime: 12:00:00", "runtime: \"'2h'\"", "runtime: 90.4"),
    *("slurm_partition: gpu", "slurm_partition: gpu-a100", "slurm_partition: \"'gpu'\""),
    *("slurm_partition: 7", 'slurm_partition: "7"', "slurm_partition: a.b", "slurm_partition: a,b"),
    *("slurm_account: x_y@z",),
    *("constraint: a100|h100", "constraint: \"'a&b'\"", "gres: gpu:4", 'gres: "gpu:a100:4"'),
    *("gres: \"'gpu:2'\"",),
    *("gpu: 2", "gpu: threads // 4", 'gpu: "2"', "nodes: 2", 'nodes: "2"', "tasks: 4"),
    *("cpus_per_task: 0 - 1",),
    *("slurm_extra: \"'--signal=USR1@120'\"", "qos: null", "qos: high", "gpu_model: a100"),
    *("gpu: 1 if 2 else 3", "mem_mb: 8000 * 2 ** attempt", "mem_mb: 8000 if attempt < 2 else 16000"),
    *("gpu: sum([1, 2])", "mem: 2TB", "mem: 2 TB", "mem_mb: 64_000", "runtime: 2 days", "runtime: 10/3"),
    *("slurm_partition: $CLOOB_PARTITION", "slurm_partition: ${CLOOB_PARTITION}-1", "gpu: int('3') + 1"),
]  # fmt: skip
INVALID_VALUES = [
    *("mem: lots", "mem_mb: 16GB"),
    *('mem_mb: "64000"', "runtime: 1-00:00:00", "runtime: a while", "mem_mb: -5"),
    *("mem_mb: 1/0", "gpu: 1 + 'a'", "mem_mb: 2e6", 'mem_mb: "64_000"', "mem_mb: null", 'runtime: "1d 4h"'),
]  # fmt: skip


@pytest.mark.parametrize("line", VALUES)
def test_values_are_those_of_snakemake(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOOB_PARTITION", "big")
    text = f"set-resources:\n  a:\n    {line}\n"
    resources = parse(text)
    unknown = [name for name, value in resources.items() if isinstance(value, DependsOnJobError)]
    assert unknown == (["gpu"] if "sum" in line else [])
    expected = parse_with_snakemake(text)
    assert {**resources, **{name: expected[name] for name in unknown}} == expected


@pytest.mark.parametrize("line", INVALID_VALUES)
def test_values_that_snakemake_rejects_are_rejected_with_rule_and_key(line: str) -> None:
    text = f"set-resources:\n  a:\n    {line}\n"
    with pytest.raises((WorkflowError, ResourceConversionError)):
        parse_with_snakemake(text)
    with pytest.raises(ValueError, match=rf"^set-resources\.a\.{line.partition(':')[0]}: ") as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_duplicate_memory_keys_are_rejected() -> None:
    text = "set-resources:\n  a:\n    mem: 8GB\n    mem_mb: 8000\n"
    with pytest.raises(ValueError, match="Invalid resource definition"):
        parse_with_snakemake(text)
    with pytest.raises(ValueError, match=r"set-resources\.a: mem_mb duplicates another key"):
        parse(text)


@pytest.mark.parametrize("value", ["8", '"8"', "2 * attempt", "max(2, 8)"])
def test_threads_are_those_of_snakemake(profile, value: str) -> None:
    set_threads = ProfileConfigFileParser().parse(Stream(f"set-threads:\n  a: {value}\n"))["set-threads"]
    [threads] = parse_set_threads(set_threads).values()
    expected = (
        threads.evaluate(wildcards={}, input=[], attempt=1, rulename="a", async_run=None).value
        if threads.is_evaluable()
        else threads.value
    )
    [request] = profile(f"set-resources: {{a: {{mem_mb: 1}}}}\nset-threads:\n  a: {value}\n").requests
    assert request.cpus == expected


@pytest.fixture
def profile(tmp_path: Path):
    def write(text: str) -> Profile:
        path = tmp_path / "config.yaml"
        path.write_text(f"{'' if 'jobs:' in text else 'jobs: 3'}\n{dedent(text)}", encoding="utf-8")
        return read_profile(path)

    return write


def test_memory_in_any_unit_is_compared_with_the_nodes(profile) -> None:
    for value in ("mem: 2000GB", "mem_mb: 2000000", "mem_mib: 1907349", 'mem: "2000000"'):
        [request] = profile(f"set-resources: {{pack: {{runtime: 60, {value}}}}}").requests
        [line] = check_request(request, [CPUS])
        assert line.startswith("mem")
        assert "but nodes of cpus have 128000" in line
    [request] = profile("set-resources: {pack: {mem_mb_per_cpu: 8000}}\nset-threads: {pack: 32}").requests
    assert list(check_request(request, [CPUS])) == [
        "mem_mb_per_cpu: 256000 MB, but nodes of cpus have 128000"
    ]
    [request] = profile("set-resources: {pack: {mem: 100GB}}\ndefault-resources: {mem_mb: 999999}").requests
    assert list(check_request(request, [CPUS])) == []


def test_quoted_values_are_parsed(profile) -> None:
    [request] = profile(
        """
        set-resources:
          train: {slurm_partition: "'gpus'", gres: "'gpu:a100:4'", runtime: "2880", mem: "256GB", gpu: "4"}
        default-resources: ["slurm_account='x'", "runtime=60", "mem_mb=8000"]
        set-threads: {train: "36"}
        jobs: "64"
        """
    ).requests
    assert (request.partition, request.account, request.gpus, request.model) == ("gpus", "x", 4, "a100")
    assert (request.minutes, request.memory_mb, request.cpus) == (2880, 256_000, 36)
    assert list(check_request(request, [CPUS, GPUS])) == []


def test_lists_and_maps_are_equivalent(profile) -> None:
    maps = profile(
        """
        set-resources: {a: {mem_mb: 5, gres: "gpu:2"}, b: {runtime: 2h}}
        default-resources: {runtime: 60, slurm_partition: p}
        set-threads: {a: 3}
        groups: {a: g, b: g}
        group-components: {g: 4}
        """
    )
    lists = profile(
        """
        set-resources: ["a:mem_mb=5", "a:gres=gpu:2", "b:runtime=2h"]
        default-resources: ["runtime=60", "slurm_partition=p"]
        set-threads: ["a=3"]
        groups: ["a=g", "b=g"]
        group-components: ["g=4"]
        """
    )
    assert lists == maps
    assert [(request.minutes, request.group_size, request.partition) for request in maps.requests] == [
        (480, 4, "p")
    ] * 2


def test_a_string_is_a_list_of_one_and_null_is_unset(profile) -> None:
    content = profile(
        """
        set-resources: a:mem_mb=attempt * 5
        default-resources: runtime=60
        set-threads: a=3
        groups: a=g
        group-components: g=4
        restart-times: 2
        retries: null
        slurm-status-command: null
        """
    )
    [request] = content.requests
    assert (request.memory_mb, request.cpus, request.minutes, request.group_size) == (15, 3, 240, 4)
    assert content.status_command == "sacct"


def test_unset_and_job_dependent_resources_are_not_checked(profile) -> None:
    [request] = profile("set-resources: {a: {slurm_partition: cpus}}").requests
    assert (request.minutes, request.memory_mb, request.cpus, request.gpus) == (0, 0, 1, 0)
    assert list(check_request(request, [CPUS])) == []
    [request] = profile("set-resources: {a: {mem_mb: 2 * input.size_mb, runtime: 'wildcards.x'}}").requests
    assert request.unknown == ("mem_mb", "runtime")
    assert list(check_request(request, [CPUS])) == []


def test_requests_that_grow_with_the_attempt_are_checked_at_the_last_attempt(profile) -> None:
    [request] = profile("set-resources: {a: {mem_mb: attempt * 50000}}\nretries: 3").requests
    assert request.memory_mb == 200_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "nodes: '2'",
            "set-resources.train.nodes: '2' is not an integer >= 1: '2' is text; write 2",
        ),
        ("nodes: 0", "set-resources.train.nodes: 0 is not an integer >= 1"),
        ("tasks: many", "set-resources.train.tasks: 'many' is not an integer >= 0"),
        (
            "mem_mb: 2e6",
            "set-resources.train.mem_mb: Snakemake requires a number, not '2e6': "
            "YAML 1.1 reads 2e6 as text; write 2000000",
        ),
        (
            "mem_mb: 16GB",
            "set-resources.train.mem_mb: Snakemake requires a number, not '16GB': write mem and a size",
        ),
        ("mem_mb: 9**9**9", "set-resources.train.mem_mb: '9**9**9' cannot be evaluated"),
        ("runtime: 1-00:00:00", "set-resources.train.runtime: Snakemake cannot parse '1-00:00:00'"),
        ("gpu: a100", "set-resources.train.gpu: 'a100' is not a number of GPUs"),
        ("gres: gpu:a100:2,nvme:1", "set-resources.train.gres: Snakemake's Slurm plugin rejects"),
        ("gpu_model: a100-sxm4", "set-resources.train.gpu_model: Snakemake's Slurm plugin rejects"),
        ("slurm_partition: all", "set-resources.train.slurm_partition: all is a Python builtin"),
    ],
)
def test_invalid_values_are_reported_with_file_rule_and_key(
    profile, line: str, message: str, tmp_path: Path
) -> None:
    line = line if line.startswith("nodes") else line.replace("gpu:a100:2,nvme:1", '"gpu:a100:2,nvme:1"')
    with pytest.raises(InputError) as error:
        profile(f"set-resources: {{train: {{{line}}}}}")
    assert f"{tmp_path / 'config.yaml'}: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set-resources: {a: 3}", "set-resources.a: 3 is neither a map nor a list"),
        ("set-resources: [a]", "set-resources: 'a' does not have the format RULE:NAME=VALUE"),
        (
            "set-resources: {a: {}}\nset-threads: {a: many}",
            "set-threads.a: 'many' is not a number of threads",
        ),
        ("set-resources: {a: {}}\njobs: some", "jobs: 'some' is not an integer"),
        ("set-resources: {a: {}}\ngroup-components: {g: x}", "group-components: 'x' is not an integer"),
        ("set-resources: {a: {}}\ndefault-resources: 5", "default-resources: 5 is neither a map nor a list"),
        ("set-resources: {a: {}}\ndefault-resources: [runtime=soon]", "default-resources.runtime: Snakemake"),
        ("jobs: [", "not YAML"),
        ("__use_yte__: true\nset-resources: {a: {}}", "__use_yte__"),
    ],
)
def test_invalid_settings_are_reported_with_their_key(profile, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        profile(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_jobs_can_be_unlimited(profile) -> None:
    assert profile("set-resources: {a: {}}\njobs: unlimited").jobs > 10**9


def test_unsupported_gpus_key_is_reported(profile) -> None:
    [request] = profile("set-resources: {train: {gpus: 4}}").requests
    assert "gpus: Snakemake's Slurm plugin does not pass it on; write gpu" in next(
        check_request(request, [CPUS])
    )


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ("{gpu: 4, nodes: 2}", 2),
        ("{gpu_model: a100}", 1),
        ('{gres: "gpu"}', 1),
        ('{gres: "gpu:a100"}', 1),
        ('{gres: "nvme:100", gpu: 3}', 3),
    ],
)
def test_gpus_per_node(profile, resources: str, gpus: int) -> None:
    assert profile(f"set-resources: {{a: {resources}}}").requests[0].gpus == gpus


def test_unknown_rules_are_reported_with_a_similar_name(profile) -> None:
    names = profile(
        """
        set-resources: {trainn: {}, train: {}, nodes_with_gpus: {}}
        set-threads: {pck: 3}
        groups: {zero_shot: g, nothing_like_it: g}
        """
    )
    assert sorted(unknown_rules(names, ROOT / "workflow")) == [
        "groups.nothing_like_it: unknown rule",
        "groups.zero_shot: unknown rule; did you mean zeroshot?",
        "set-resources.trainn: unknown rule; did you mean train?",
        "set-threads.pck: unknown rule; did you mean pack?",
    ]
    assert list(unknown_rules(read_profile(ROOT / "slurm" / "config.yaml"), ROOT / "workflow")) == []
    assert list(unknown_rules(names, ROOT / "nowhere")) == []


def test_train_must_request_one_gpu_per_process_of_the_largest_run(profile) -> None:
    two_gpus = profile("set-resources: {train: {gpu: 2}}")
    assert check_train_processes(two_gpus, TrainingSize(2, 18)) is None
    assert check_train_processes(two_gpus, TrainingSize(4, 36)) == (
        "train: gres or gpu: 2 for the largest run, which has 4 processes and 36 threads; "
        "set one GPU per process (threads // 9)"
    )
    assert check_train_processes(profile("set-resources: {pack: {mem_mb: 1}}"), TrainingSize(4, 36)) is None
    # The plugin starts at least two tasks with srun.
    path, one = ROOT / "slurm" / "config.yaml", TrainingSize(1, 9)
    assert check_train_processes(read_profile(path, {"train": 9}), one) == (
        "train: tasks: 2 for the largest run, which has 1 process and 9 threads; "
        "change train to a single GPU as docs/cluster.md describes (How jobs are placed)"
    )
    for key in ("tasks", "tasks_per_node"):
        train = f"{{mpi: srun, {key}: threads // 9}}"
        with pytest.raises(InputError, match=f"train.{key}: Snakemake's Slurm plugin rejects 1 with mpi"):
            profile(f"set-threads: {{train: 9}}\nset-resources: {{train: {train}}}")
    # Other loader workers than the profile expects: 13 threads per process.
    default = read_profile(ROOT / "slurm" / "config.yaml", {"train": 52})
    assert "tasks: 5 for the largest run" in check_train_processes(default, TrainingSize(4, 52))


@pytest.mark.parametrize(
    ("text", "processes"),
    [
        ("train: {processes: 8, workers: 8}", 8),
        ("{train: {processes: 1, workers: 8}, runs: [{processes: 2}, {}], search: {old: null}}", 2),
        ("{train: {processes: 2, workers: 8}, runs: [{}], search: {lr: {processes: 4}}}", 4),
    ],
)
def test_largest_run_or_trial_of_a_config(tmp_path: Path, text: str, processes: int) -> None:
    config = tmp_path / "runs.yaml"
    assert largest_training(config) is None
    config.write_text(text)
    assert largest_training(config) == TrainingSize(processes, 9 * processes)
    config.write_text("train: 3")
    with pytest.raises(InputError, match=r"runs\.yaml: cannot read train\.processes"):
        largest_training(config)


def test_config_files_override_keys_of_the_default_one(tmp_path: Path) -> None:
    default, demo, ablation = (ROOT / "config" / f"{name}.yaml" for name in ("config", "demo", "ablation"))
    assert largest_training(default, ablation) == TrainingSize(4, 36)
    assert largest_training(default, demo) == TrainingSize(2, 2)
    assert largest_training(default, demo, ablation) == TrainingSize(1, 1)
    birds = tmp_path / "birds.yaml"
    with pytest.raises(InputError, match=r"birds\.yaml: no such config file"):
        largest_training(default, birds)
    birds.write_text("{search: {cc3m: null}, train: {processes: 1}, runs: [{corpus: birds}]}")
    assert largest_training(default, birds) == TrainingSize(1, 9)
    with pytest.raises(InputError, match=r"^\S*birds\.yaml: cannot read train\.processes and train\.workers"):
        largest_training(tmp_path / "none.yaml", birds)


def test_default_profile_and_default_config_agree() -> None:
    largest = largest_training(ROOT / "config" / "config.yaml")
    assert largest is not None
    profile = read_profile(ROOT / "slurm" / "config.yaml", {"train": largest.threads})
    assert check_train_processes(profile, largest) is None


@pytest.mark.parametrize(("processes", "requested"), [(1, 2), (2, 2), (4, 4), (8, 8)])
def test_training_jobs_request_what_their_run_needs(processes: int, requested: int) -> None:
    """As Snakemake evaluates the profile, and as its Slurm plugin submits the job."""
    path = ROOT / "slurm" / "config.yaml"
    content = ProfileConfigFileParser().parse(Stream(path.read_text(encoding="utf-8")))
    threads = num_cpus({"train": {"workers": 8}}, processes)
    job = SimpleNamespace(threads=threads, resources=JobResources())
    arguments = {"wildcards": {}, "input": [], "attempt": 1, "threads": threads, "rulename": "train"}
    for name, resource in parse_set_resources(content["set-resources"])["train"].items():
        job.resources[name] = resource.evaluate(**arguments, async_run=None).value
    names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    command = get_submit_command(job, dict.fromkeys(names, "x")) + set_gres_string(job)
    for option in (f"ntasks={requested}", f"gres=gpu:{requested}", "nodes=1", "cpus-per-task=9"):
        assert f" --{option} " in f"{command} "
    assert f" --mem {64_000 * requested} " in command


class JobResources(dict[str, object]):
    """Resources of a job by name and as attributes, as the plugin reads them."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("1-00:00:00", 1440), ("1-00", 1440), ("1-02:30", 1590), ("UNLIMITED", float("inf"))],
)
def test_time_limits_with_days_are_parsed(limit: str, minutes: float) -> None:
    assert parse_time_limit(limit) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2(IDX:0,2),gpu:v100:1(IDX:1)", {"a100": 2, "v100": 1}),
        ("gpu:1g.5gb:7,nvme:2", {"1g.5gb": 7}),
        ("gpu", {"": 1}),
        ("gpu:tesla", {"tesla": 1}),
        ("craynetwork:4,shard:a100:8,mps:400", {}),
        ("gres/gpu:3", {"": 3}),
        ("", {}),
    ],
)
def test_gpus_in_all_formats_of_slurm_are_parsed(gres: str, gpus: dict[str, int]) -> None:
    assert parse_gpus(gres) == gpus


def test_numbers_with_a_plus_or_a_unit_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "main*|1-00:00:00|2K|32+|1.5T+|gpu:a100:4(S:0-1)|OFF|idle!"
    monkeypatch.setattr("cloob.slurm.partitions.run_command", lambda *command: line)
    assert partitions() == [
        NodeGroup("main", True, 1440, 2000, 32, int(1.5 * 2**20), {"a100": 4}, "OFF"),
    ]


def test_failures_of_slurm_programs_are_one_line_errors() -> None:
    script = "printf 'sinfo: error: x\\nsinfo: fatal: no configuration\\n' >&2; exit 1"
    with pytest.raises(InputError) as error:
        run_command("sh", "-c", script)
    assert str(error.value) == "sh: sinfo: fatal: no configuration; run this where you submit Slurm jobs"
    with pytest.raises(InputError, match=r"^sh: exit status 3; run this"):
        run_command("sh", "-c", "exit 3")


@pytest.mark.parametrize("line", ["nonsense", "a|b|c|d|e|f|g|idle", "main|soon|1|8|1000|(null)|OFF|idle"])
def test_unexpected_output_of_sinfo_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr("cloob.slurm.partitions.run_command", lambda *command: line)
    with pytest.raises(InputError, match=r"is this Slurm's sinfo\?"):
        partitions()
