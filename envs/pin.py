"""Pin every conda env to the lock (the packages named under `# imported`, what they need); one image for all.

Run by `make lock`. To add a package to an env, write its bare name under `# imported` and run this.
"""

import re
import subprocess
from pathlib import Path

ENVS = Path(__file__).parent
PYTHON = "3.11"
# One image for every rule, where a site has Apptainer and no conda.
IMAGE = """\
# All of lock.txt, for `--sdm apptainer`. Written by pin.py; building and running it is untested.
# apptainer build cloob.sif envs/cloob.def
Bootstrap: docker
From: python:{python}-slim-bookworm

%files
    envs/lock.txt /opt/lock.txt

%post
    python -m pip install --no-cache-dir --require-hashes --requirement /opt/lock.txt
"""
HEAD = """\
# {title}
# Cut out of lock.txt by pin.py; `make lock` does both.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={python}
  - pip
  - pip:
      # imported
"""


def names_under_imported(text: str) -> list[str]:
    """The packages that the rules of an env import."""
    block = text.split("# imported\n")[1].split("#", maxsplit=1)[0]
    return re.findall(r"^ *- ([\w.-]+)", block, flags=re.MULTILINE)


def closure(names: list[str]) -> list[str]:
    """`name==version` of the packages and of all they need, at the lock's versions."""
    without_hashes = re.sub(r" \\\n +--hash=\S+", "", (ENVS / "lock.txt").read_text())
    constraints = ENVS / ".constraints.txt"
    constraints.write_text(without_hashes)
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", PYTHON]
    try:
        asked = subprocess.run(
            [*command, "--python-platform", "x86_64-manylinux_2_28", "--constraint", str(constraints), "-"],
            input="\n".join(names),
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        constraints.unlink()
    return asked.stdout.split()


def main() -> None:
    """Rewrite every env, and the image's definition."""
    (ENVS / "cloob.def").write_text(IMAGE.format(python=PYTHON))
    for path in sorted(ENVS.glob("*.yaml")):
        text = path.read_text()
        names = names_under_imported(text)
        pins = closure(names)
        by_name = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower(): pin for pin in pins}
        imported = [by_name[re.sub(r"[-_.]+", "-", name).lower()] for name in sorted(names)]
        lines = [f"      - {pin}\n" for pin in imported] + ["      # and what these need\n"]
        lines += [f"      - {pin}\n" for pin in pins if pin not in imported]
        path.write_text(HEAD.format(title=text.splitlines()[0].lstrip("# "), python=PYTHON) + "".join(lines))


if __name__ == "__main__":
    main()
