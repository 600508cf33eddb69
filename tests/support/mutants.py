"""Takes a check out of a function while a block runs, by a change of its source."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any


@contextmanager
def without(function: Callable[..., Any], there: str, instead: str) -> Iterator[None]:
    """``there``, which stands in the function once, is ``instead`` while the block runs. The code is
    exchanged and not the function, so that whoever has imported it runs the changed one too."""
    plain: Any = inspect.unwrap(getattr(function, "__func__", function))
    source = textwrap.dedent(inspect.getsource(plain))
    assert source.count(there) == 1, f"{plain.__qualname__} has {there!r} not once"
    lines = source.replace(there, instead).splitlines()
    while not lines[0].startswith(("def ", "async def ")):
        del lines[0]
    made: dict[str, Any] = {}
    exec("\n".join(lines), plain.__globals__, made)  # noqa: S102 - our own source
    (changed,) = made.values()
    assert isinstance(changed, FunctionType)
    before, plain.__code__ = plain.__code__, changed.__code__
    try:
        yield
    finally:
        plain.__code__ = before
