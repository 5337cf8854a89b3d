"""The functions of the expression language, a module per group."""
