"""Measurements of the engine on this machine. A figure counts only with the command that gave it."""
