"""`python -m flotilla`: the command line, without the console script."""

from flotilla.cli.main import main

main()
