"""The rule `toy_data`, run by Snakemake."""

import yaml

from cloob.toy_data.layout import generated_files, generated_folders
from tests.helpers.repository import ROOT
from tests.helpers.tenth_of_demo import tenth_of


def test_the_rule_declares_all_files_so_that_snakemake_can_run_it_again(snakemake, tmp_path):
    """Snakemake deletes a rule's outputs before it runs the rule; other files there would be an error."""
    config = tenth_of(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()), str(tmp_path / "r"), 18999)
    config["toy_data"] |= {"cc3m_train": 40, "cc3m_validation": 10, "yfcc15m": 20}
    config["evaluate"]["testsets"] = ["gtsrb"]  # the rule generates the others, too
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    folder = tmp_path / "r" / "toy_data"
    old = folder / "www" / "cc3m" / "1.jpg"
    old.parent.mkdir(parents=True)
    old.write_text("image of an older toy dataset")
    arguments = ("--configfile", tmp_path / "small.yaml", "--cores", 2, "--nolock", "--until", "toy_data")
    for force in ((), ("--forcerun", "toy_data")):
        done = snakemake(*arguments, *force, "--", "all")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not old.exists()
    assert {path.relative_to(folder).as_posix() for path in folder.glob("*/*.*")} >= set(
        generated_files("url_lists")
    )
    assert all((folder / name).is_dir() for name in generated_folders("url_lists"))
