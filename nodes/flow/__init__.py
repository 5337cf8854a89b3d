"""FLOW nodes: they decide, join, repeat and wait. Pure functions of parameters, input and what a wait brought."""
