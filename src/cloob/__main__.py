"""`python -m cloob` is `cloob`."""

from cloob.cli import main

main()
