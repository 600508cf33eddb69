"""Lists without page tokens: iterate over pages, or over what is on them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


async def pages(
    method: Callable[[Request], Awaitable[Response]], request: Request
) -> AsyncIterator[Response]:
    """Every page of a List method, from the request's own token on."""
    turning: Any = type(request)()
    turning.CopyFrom(request)
    while True:
        reply = await method(turning)
        yield reply
        token: str = reply.next_page_token  # type: ignore[attr-defined]
        if not token:
            return
        turning.page_token = token


async def items(
    method: Callable[[Request], Awaitable[Response]], request: Request
) -> AsyncIterator[Any]:
    """Every resource of a List method: what its response's one repeated message field holds."""
    async for reply in pages(method, request):
        for item in getattr(reply, _resources(reply)):
            yield item


def _resources(reply: Message) -> str:
    names = [
        field.name
        for field in reply.DESCRIPTOR.fields
        if field.is_repeated and field.type == FieldDescriptor.TYPE_MESSAGE
    ]
    if len(names) != 1:
        raise TypeError(f"{reply.DESCRIPTOR.full_name} is not the response of a List method")
    return names[0]
