"""The one exception whose message is meant for the person at the keyboard."""


class InputError(Exception):
    """Bad input: one line that names the file, the row or key, and the remedy.

    `cloob` prints it without a traceback and exits with status 2.
    """


class PeerLostError(InputError):
    """Another process of the run has failed, so this one cannot go on: a consequence, never the cause."""
