"""A `python` for PATH whose `python -m cloob` is a fork of a process that has imported torch and open_clip.

The imports take five seconds of CPU time, most of the time of a job of the pipeline on the toy dataset. The
program passes its arguments, variables, working directory and streams to the server, waits, and exits with
the status that it receives. Other commands are those of Python.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.helpers.forked import become_cloob
from tests.helpers.repository import ROOT

_PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
if sys.argv[1:3] != ["-m", "cloob"]:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
# Files of arguments that the shell's @<(...) has opened.
files = [int(value[9:]) for value in sys.argv if value.startswith("@/dev/fd/")]
socket.send_fds(server, [b"streams"], [0, 1, 2, *files])
request = [sys.argv[3:], dict(os.environ), os.getcwd(), files]
server.sendall(json.dumps(request).encode("utf-8", "surrogateescape"))
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(10) or 1))
"""


@contextmanager
def forking_python(folder: Path) -> Iterator[Path]:
    """A folder for PATH with the program, which works inside the `with` block."""
    address, program = folder / "server", folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(_PROGRAM.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    server = subprocess.Popen([sys.executable, "-m", __name__, address], cwd=ROOT)
    try:
        while not address.exists():
            assert server.poll() is None, "the fork server has ended"
            time.sleep(0.05)
        yield program.parent
    finally:
        server.kill()
        server.wait()


def serve(address: str) -> NoReturn:
    """Run a fork for every connection."""
    import cloob.evaluate.protocols.image_text
    import cloob.evaluate.protocols.linear_probe
    import cloob.evaluate.protocols.overlap
    import cloob.evaluate.protocols.zeroshot
    import cloob.evaluate.testsets.prepare
    import cloob.report.render.style  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen(100)
    os.rename(address + ".new", address)  # noqa: PTH104
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> NoReturn:
    _, descriptors, _, _ = socket.recv_fds(connection, len(b"streams"), 3 + 10)
    with connection.makefile("rb") as request:
        arguments, environment, cwd, files = json.loads(request.read().decode("utf-8", "surrogateescape"))
    child = os.fork()
    if child == 0:
        connection.close()
        for descriptor, number in zip(descriptors[3:], files, strict=True):
            os.dup2(descriptor, number)
        become_cloob(arguments, environment, cwd, descriptors[:3])
    _, status = os.waitpid(child, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
