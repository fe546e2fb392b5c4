"""`python -m hipseg` is the `hipseg` program."""

from hipseg.cli.main import main

main()
