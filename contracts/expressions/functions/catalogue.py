"""All functions of the language by name. Macros are no functions: the parser knows them."""

from typing import Final

from contracts.expressions.functions import (
    encodings,
    lists,
    maps,
    numbers,
    regexes,
    strings,
    times,
    types,
)
from contracts.expressions.functions.signature import Table

FUNCTIONS: Final[Table] = {
    **types.FUNCTIONS,
    **strings.FUNCTIONS,
    **regexes.FUNCTIONS,
    **numbers.FUNCTIONS,
    **lists.FUNCTIONS,
    **maps.FUNCTIONS,
    **encodings.FUNCTIONS,
    **times.FUNCTIONS,
}
