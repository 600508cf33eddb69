"""Field masks of Update methods (AIP-134, AIP-161)."""

from collections.abc import Collection, Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from server.core.errors import InvalidFieldMask


def checked_paths(mask: FieldMask, updatable: Collection[str]) -> Sequence[str]:
    """The mask's paths, once each and in their order.

    An empty mask and a path that cannot be updated are ``InvalidFieldMask``: we never guess what
    a caller meant to change, so ``*`` is not accepted either.
    """
    if not mask.paths:
        raise InvalidFieldMask(field="update_mask", problem="it is empty")
    for path in mask.paths:
        if path not in updatable:
            raise InvalidFieldMask(
                field="update_mask", problem=f"{path[:100]!r} is not a field that can be updated"
            )
    return list(dict.fromkeys(mask.paths))
