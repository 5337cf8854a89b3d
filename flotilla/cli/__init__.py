"""The command line: `flotilla.cli.main` has the commands, each group in a module of its own.

A command imports what it needs when it runs, so that `flotilla --help` costs nothing.
"""
