"""How a stage function says what it makes.

Names are the law of the house: the name of a rule's input is the name of the product is the
name of the function's parameter, so that a job can feed a function from files or from memory.
"""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def stage(section: str, outputs: tuple[str, ...]) -> Callable[[Function], Function]:
    """Mark a stage function with its config section and the products it returns.

    Parameters
    ----------
    section : str
        Name of the stage: config section, package, log folder.
    outputs : tuple of str
        Product names, in the order of the returned values (one name: a bare value).
    """

    def mark(function: Function) -> Function:
        function.section = section  # type: ignore[attr-defined]
        function.outputs = tuple(outputs)  # type: ignore[attr-defined]
        return function

    return mark
