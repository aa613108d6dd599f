"""The registry of readers and the command line that follows from it."""

import inspect
from collections import Counter
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest

from cloob.cli import main
from cloob.common.accounting import read_outcomes
from cloob.download.corpora.registry import READERS, Reader
from tests.helpers.recording_server import read_rows


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_each_entry_matches_the_signature_of_its_module(reader: Reader) -> None:
    function = import_module(f"cloob.download.corpora.{reader.name}").read
    parameters = list(inspect.signature(function).parameters.values())[2:]
    assert [parameter.name for parameter in parameters] == list(reader.options)
    without_default = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    assert without_default == set(reader.required)
    assert set(reader.inputs) <= set(reader.options)


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_every_option_is_a_valid_and_described_json_schema(reader: Reader) -> None:
    for schema in reader.options.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit status and last line of output of `cloob download urls`."""
    with pytest.raises(SystemExit) as exit_info:
        main(["download", "urls", *map(str, arguments)])
    captured = capsys.readouterr()
    code = exit_info.value.code
    assert isinstance(code, int)
    return code, (captured.err if code else captured.out).strip().splitlines()[-1]


def test_flags_are_converted_to_the_types_of_the_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"http://a.example/{number}.jpg,photo {number}\n")
    outputs = ["--urls", tmp_path / "urls.parquet", "--outcomes", tmp_path / "outcomes.csv"]
    code, line = run(
        capsys,
        *("--reader=url_list", "--format=csv", "--header=False", "--url-column=0", "--caption-column=1"),
        *(f"--list={tmp_path}/0.txt", "--list", tmp_path / "1.txt", tmp_path / "2.txt", *outputs),
    )
    assert (code, line.partition(";")[0]) == (0, f"{tmp_path}/urls.parquet: 3 of 3 kept")
    assert [row["caption"] for row in read_rows(tmp_path / "urls.parquet")] == [
        "photo 0",
        "photo 1",
        "photo 2",
    ]
    assert read_outcomes(tmp_path / "outcomes.csv") == Counter(kept=3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reader=conceptual_captions"], "--reader conceptual_captions requires --list"),
        (["--reader=conceptual_captions", "--list=a", "--list=b"], "--list takes one value, not 2"),
        (["--reader=conceptual_captions", "--list="], "--list is empty"),
        (
            ["--reader=conceptual_captions", "--list=a", "--header=true", "--url-column=1"],
            "--reader conceptual_captions does not accept --header, --url-column",
        ),
        (
            ["--reader=url_list", "--list=a.tsv", "--header=false", "--url-column=0"],
            "--caption-column: without a header a column is given by its number, from 0, not as 'caption'",
        ),
        (["--reader=url_list", "--list=a", "--header=maybe"], "--header maybe: not one of true, false"),
        (["--reader=url_list", "--list=a", "--format=json"], "--format json: not one of tsv, csv, parquet"),
        (
            [
                "--reader=yfcc100m",
                "--metadata=a",
                "--subset=b",
                "--image-base-url=http://x",
                "--caption=tags",
            ],
            "--caption tags: not one of title_description, title, description, random",
        ),
        (["--reader=laion"], "invalid choice: 'laion'"),
    ],
)
def test_wrong_options_are_an_error_that_names_the_flag(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    code, line = run(capsys, *flags, "--urls=u.parquet", "--outcomes=o.csv")
    assert code == 2
    assert message in line
