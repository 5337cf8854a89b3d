"""The decision core: what follows from an event. Pure, total, deterministic.

Reads no clock, file, socket, environment or chance; instants and ids arrive inside its inputs.
"""
