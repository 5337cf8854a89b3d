"""Checks of a normalised document: what forbids publishing and execution, and what is worth a warning."""
