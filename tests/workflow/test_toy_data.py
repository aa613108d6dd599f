"""The rule `world`, run by Snakemake."""

import yaml

from tests.helpers.repository import ROOT
from tests.helpers.tenth_of_demo import tenth_of


def test_the_world_is_built_again_where_snakemake_has_deleted_what_it_knows_of(snakemake, tmp_path):
    """It deletes a rule's outputs before it runs it: what it left would be taken for somebody's files."""
    config = tenth_of(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()), str(tmp_path / "r"), 18999)
    config["toy_data"] |= {"cc3m_train": 40, "cc3m_validation": 10, "yfcc15m": 20}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    old = tmp_path / "r" / "toy_data" / "www" / "cc3m" / "1.jpg"
    old.parent.mkdir(parents=True)
    old.write_text("of an older world")
    done = snakemake(
        *("--configfile", tmp_path / "small.yaml", "--cores", 2, "--nolock", "--until", "world", "--", "all"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not old.exists()
