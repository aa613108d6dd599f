"""A conda channel on disk: python made from the running interpreter, and pip, setuptools and wheel from PyPI.

The packages have the format of conda-forge's: an archive with `info/index.json`, `info/paths.json` with
checksums and the places of the build prefix, and for pure Python packages `noarch: python` with entry points.
"""

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

# The packages from PyPI with their dependencies, as on conda-forge.
_PIP_AND_DEPENDENCIES = {
    "pip": ["setuptools", "wheel"],
    "setuptools": [],
    "wheel": ["packaging"],
    "packaging": [],
}
# Parts of the interpreter's folder that conda-forge's python does not contain, or no rule needs.
_EXCLUDED = {"site-packages", "__pycache__", "test", "idlelib", "ensurepip", "turtledemo"}


def build_channel(folder: Path) -> None:
    """Write the packages and the index of a channel to `folder`."""
    _python_package(folder)
    wheels = folder.with_name(f"{folder.name}_wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels]
    subprocess.run([*command, *_PIP_AND_DEPENDENCIES], check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        _noarch_package(folder, wheel)
    shutil.rmtree(wheels)
    for subdir in folder.iterdir():
        _write_index(subdir)


def base_interpreter_problem() -> str | None:
    """Why no python package can be made from the running interpreter, or None."""
    if sys.version_info[:2] != (3, 11):
        return "envs/ need Python 3.11, this is {}.{}".format(*sys.version_info)
    if not (Path(sys.base_prefix) / "lib" / _stdlib_name() / "os.py").exists():
        return f"{sys.base_prefix} does not contain the standard library"
    # Debian's installs below PREFIX/local, and its folder holds all of the system.
    if sysconfig.get_default_scheme() == "posix_local" or sys.base_prefix == "/usr":
        return "the interpreter is the system's, whose folder is not its own"
    return None


def _stdlib_name() -> str:
    return "python{}.{}".format(*sys.version_info)


def _python_package(channel: Path) -> None:
    """The running interpreter without its installed packages."""
    prefix, name = Path(sys.base_prefix), _stdlib_name()
    programs = [path for path in (prefix / "bin").glob("python*") if "-" not in path.name]
    libraries = [*(prefix / "lib").glob("libpython*.so*")]
    modules = [
        path
        for path in (prefix / "lib" / name).rglob("*")
        if path.is_file() and _EXCLUDED.isdisjoint(path.relative_to(prefix).parts) and path.suffix != ".a"
    ]
    headers = [path for path in (prefix / "include" / name).rglob("*") if path.is_file()]
    paths = {
        str(path.relative_to(prefix)): path
        for path in (*programs, *libraries, *modules, *headers)
        if path.suffix != ".py" or "-gdb" not in path.name
    }
    site_packages = f"lib/{name}/site-packages"
    _write_package(
        channel,
        {
            "name": "python",
            "version": platform.python_version(),
            "build": "0_cpython",
            "subdir": f"linux-{'64' if platform.machine() == 'x86_64' else platform.machine()}",
            "depends": [],
            "python_site_packages_path": site_packages,
        },
        paths,
        placeholder=str(prefix),
    )


def _noarch_package(channel: Path, wheel: Path) -> None:
    """A pure Python wheel as a package; pip recognizes it as installed."""
    name, version = re.split("-", wheel.name)[:2]
    with zipfile.ZipFile(wheel) as archive:
        contents = {f"site-packages/{path}": archive.read(path) for path in archive.namelist()}
    programs = ConfigParser(delimiters=["="])
    for path, content in contents.items():
        if path.endswith(".dist-info/entry_points.txt"):
            programs.read_string(content.decode())
    entry_points = [f"{key} = {value}" for key, value in _section(programs, "console_scripts")]
    depends = ["python >=3.9", *_PIP_AND_DEPENDENCIES[name]]
    link = {"noarch": {"type": "python", "entry_points": entry_points}, "package_metadata_version": 1}
    index = {"name": name, "version": version, "build": "pyh0_0", "subdir": "noarch", "noarch": "python"}
    _write_package(channel, index | {"depends": depends}, contents, {"info/link.json": link})


def _write_index(subdir: Path) -> None:
    """Write `repodata.json` of the packages in a folder of the channel."""
    packages = {}
    for archive in sorted(subdir.glob("*.tar.bz2")):
        with tarfile.open(archive) as tar:
            index = json.load(tar.extractfile("info/index.json"))
        content = archive.read_bytes()
        checksums = {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha256")}
        packages[archive.name] = index | checksums | {"size": len(content)}
    repodata = {"info": {"subdir": subdir.name}, "packages": packages, "repodata_version": 1}
    (subdir / "repodata.json").write_text(json.dumps(repodata))


def _section(parser: ConfigParser, name: str) -> Iterable[tuple[str, str]]:
    return parser.items(name) if parser.has_section(name) else []


def _write_package(
    channel: Path,
    index: dict[str, Any],
    files: dict[str, Any],
    documents: dict[str, Any] | None = None,
    placeholder: str | None = None,
) -> None:
    """Write an archive of `files` (path in the environment to Path or bytes), described by `index`."""
    folder = channel / index["subdir"]
    folder.mkdir(parents=True, exist_ok=True)
    index |= {"build_number": 0, "license": "unknown", "timestamp": 0}
    entries = []
    archive = folder / f"{index['name']}-{index['version']}-{index['build']}.tar.bz2"
    with tarfile.open(archive, "w:bz2", compresslevel=1) as tar:
        for path, source in sorted(files.items()):
            if isinstance(source, Path) and source.is_symlink():
                tar.add(source, path, recursive=False)
                entries.append({"_path": path, "path_type": "softlink"})
                continue
            content = source if isinstance(source, bytes) else source.read_bytes()
            mode = 0o644 if isinstance(source, bytes) else source.stat().st_mode & 0o777
            _add(tar, path, content, mode)
            entry = {
                "_path": path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_in_bytes": len(content),
            }
            if placeholder and placeholder.encode() in content and b"\0" not in content:
                entry |= {"prefix_placeholder": placeholder, "file_mode": "text"}
            entries.append(entry)
        described = {
            "info/index.json": index,
            "info/paths.json": {"paths": entries, "paths_version": 1},
            **(documents or {}),
        }
        for path, document in described.items():
            _add(tar, path, json.dumps(document).encode())
        _add(tar, "info/files", "".join(f"{entry['_path']}\n" for entry in entries).encode())


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
