"""The expression language: a subset of CEL over JSON values, pure and with a budget.

What callers use, by module:

- `contracts.expressions.interpreter`: `evaluate` and `condition`
- `contracts.expressions.templates`: `render`, `contains_template`, `sources`
- `contracts.expressions.check`: `check` and `check_templates`, before anything runs
- `contracts.expressions.paths`: `parse`, `read`, `write`
- `contracts.expressions.mappings`: `apply`
- `contracts.expressions.budget`: `Limits` and `DEFAULT_LIMITS`
- `contracts.expressions.errors`: `ExpressionError` and `MappingError`
- `contracts.expressions.regex`: the protocol of the matcher that callers hand in
"""
