"""The fault harness: a whole engine under load whose processes, servers and links are broken on purpose.

`python -m tests.faults --row NAME --seed N` runs one row. A client keeps a journal of what it asked for, a ledger outside the
engine counts the effects of nodes, and both are compared with history; then `flotilla verify` has to be silent. A run in which
the fault did not bite does not count. What is switched off or broken inside a process is patched at its start by
`tests.faults.patched`, so that the product holds nothing for tests.
"""
