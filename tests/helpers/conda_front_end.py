"""The program `conda` for tests: the calls that Snakemake makes, over py-rattler and a channel on disk.

`install(base)` writes a base environment with `bin/conda` and `bin/activate`. Channels are the folders of
`base/channels`. As conda does, `conda env create` solves and links the conda packages, then runs the pip of
the new environment, activated, in the folder of the environment file.
"""

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

import yaml
from rattler import Channel, ChannelConfig, VirtualPackage, solve
from rattler import install as link
from rattler.platform import Subdir
from rattler.shell import ActivationVariables, Shell, activate

# Snakemake requires at least 24.7.1.
VERSION = "24.7.1"


def install(base: Path) -> None:
    """Write `bin/conda` and `bin/activate` to the folder `base`."""
    (base / "bin").mkdir(parents=True, exist_ok=True)
    this = shlex.join([sys.executable, "-P", __file__, str(base)])
    (base / "bin" / "conda").write_text(f'#!/bin/sh\nexec {this} "$@"\n')
    (base / "bin" / "conda").chmod(0o755)
    (base / "bin" / "activate").write_text(f'eval "$({this} shell.posix activate "$1")"\n')


def _activation(prefix: Path) -> str:
    """The shell commands that activate an environment."""
    current = os.environ.get("CONDA_PREFIX")
    return activate(prefix, ActivationVariables(current and Path(current)), Shell.bash).script


def _create(base: Path, specification: Path, prefix: Path) -> None:
    """Create the environment of a YAML file."""
    content = yaml.safe_load(specification.read_text())
    names = [name for name in content["channels"] if name != "nodefaults"]
    alias = ChannelConfig((base / "channels").as_uri() + "/")
    specs = [spec for spec in content["dependencies"] if isinstance(spec, str)]
    requirements = [
        pin for entry in content["dependencies"] if isinstance(entry, dict) for pin in entry["pip"]
    ]

    async def conda_packages() -> None:
        channels = [Channel(name, alias) for name in names]
        records = await solve(channels, specs, virtual_packages=VirtualPackage.detect())
        await link(records, prefix, cache_dir=base / "pkgs", show_progress=False)

    asyncio.run(conda_packages())
    with tempfile.NamedTemporaryFile(
        "w", prefix="condaenv.", suffix=".requirements.txt", dir=specification.parent
    ) as file:
        file.write("\n".join(requirements))
        file.flush()
        pip = [prefix / "bin" / "python", "-m", "pip", "install", "-U", "-r", file.name, "--exists-action=b"]
        command = f"{_activation(prefix)}\n{shlex.join(map(str, pip))}"
        done = subprocess.run(["bash", "-c", command], cwd=specification.parent, check=False)
    if done.returncode:
        sys.exit("CondaEnvException: Pip failed")
    _share_files(prefix)


def _share_files(prefix: Path) -> None:
    """Replace files of installed wheels by hard links to those of an earlier environment, to save disk space.

    conda does so for its own packages; pip copies.
    """
    for record in sorted(prefix.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        for other in prefix.parent.glob(f"*/{record.relative_to(prefix)}"):
            if other.samefile(record) or other.read_bytes() != record.read_bytes():
                continue
            site_packages, shared = record.parents[1], other.parents[1]
            for line in record.read_text().splitlines():
                path, checksum, _ = line.rsplit(",", 2)
                if checksum and '"' not in path:
                    spare = site_packages / f"{path}.shared"
                    os.link(shared / path, spare)
                    spare.replace(site_packages / path)
            break


def main() -> None:
    """Run one call of Snakemake; anything else is an error."""
    base, *arguments = sys.argv[1:]
    match arguments:
        case ["--version"]:
            print(f"conda {VERSION}")
        case ["info", "--json"]:
            info = {"conda_prefix": base, "platform": str(Subdir.current()), "conda_version": VERSION}
            print(json.dumps(info))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["shell.posix", "activate", prefix]:
            print(_activation(Path(prefix)))
        case ["clean", "-y", "--tarballs"]:
            pass  # the archives of the channel are not copied
        case ["env", "create", *options]:
            parser = ArgumentParser()
            parser.add_argument("--quiet", action="store_true")
            parser.add_argument("--no-default-packages", action="store_true")
            parser.add_argument("--file", type=Path, required=True)
            parser.add_argument("--prefix", type=Path, required=True)
            parsed = parser.parse_args(options)
            _create(Path(base), parsed.file, parsed.prefix)
        case _:
            sys.exit(f"conda: not implemented: {shlex.join(arguments)}")


if __name__ == "__main__":
    main()
