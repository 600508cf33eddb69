"""Bytes of the wire that are put together by hand, because what they hold is encoded already."""


def field(tag: bytes, encoded: bytes) -> bytes:
    """A field of some message whose value is encoded."""
    return tag + varint(len(encoded)) + encoded


def varint(value: int) -> bytes:
    """A number as protobuf writes it: base 128, the lowest group first."""
    if value < 0x80:
        return _SMALL[value]
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


_SMALL = tuple(bytes((value,)) for value in range(0x80))
