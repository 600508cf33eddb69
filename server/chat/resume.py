"""Resume tokens: the positions of a stream, sealed and bound to their user."""

from collections.abc import Callable, Iterable

from server.chat.errors import ResumeTokenInvalid
from server.chat.rules import Cursor, Resumed
from server.core.sealing import Keyring, SealBroken

_VERSION = 2
_WITHOUT_CHANGES = 1
"""Tokens of before there were changes; they are good for as long as their keys are."""
_FOLLOWS = 1


class ResumeTokens:
    """Makes and reads them. A token holds a byte of version, a byte of flags, the time of its making in
    seconds and, for each channel, the 16 bytes of its id, its epoch, its last number and its last
    change; all numbers in base 128. ``now`` gives seconds since 1970."""

    def __init__(self, keyring: Keyring, now: Callable[[], int]) -> None:
        self._keyring = keyring
        self._now = now

    def make(
        self,
        user_id: str,
        positions: Iterable[tuple[str, int, int, int]],
        *,
        follows: bool,
        made: int | None = None,
    ) -> str:
        """A token for (channel, epoch, last number, last change) of each channel of a stream; it is made
        now, unless it stands for an earlier time."""
        packed = bytearray((_VERSION, _FOLLOWS if follows else 0))
        _pack(packed, self._now() if made is None else made)
        for channel_id, epoch, seq, change in positions:
            packed += bytes.fromhex(channel_id.replace("-", ""))
            _pack(packed, epoch)
            _pack(packed, seq)
            _pack(packed, change)
        return self._keyring.seal(bytes(packed), _bound(user_id))

    def read(self, user_id: str, token: str) -> Resumed:
        """What the token stands for; ``ResumeTokenInvalid`` unless it was made for this user."""
        try:
            packed = self._keyring.open(token, _bound(user_id))
        except SealBroken:
            raise ResumeTokenInvalid from None
        version = packed[0]
        if version not in (_VERSION, _WITHOUT_CHANGES):
            raise ResumeTokenInvalid
        positions = {}
        place = 2
        made = 0
        if version == _VERSION:
            made, place = _unpacked(packed, place)
        while place < len(packed):
            digits = packed[place : place + 16].hex()
            channel_id = "-".join(
                (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
            )
            epoch, place = _unpacked(packed, place + 16)
            seq, place = _unpacked(packed, place)
            change = None
            if version == _VERSION:
                change, place = _unpacked(packed, place)
            positions[channel_id] = Cursor(epoch, seq, change)
        return Resumed(positions, follows=bool(packed[1] & _FOLLOWS), made=made)


def _bound(user_id: str) -> str:
    return f"chat.resume|{user_id}"


def _pack(packed: bytearray, number: int) -> None:
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def _unpacked(packed: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        group = packed[place]
        place += 1
        number |= (group & 0x7F) << shift
        if group < 0x80:
            return number, place
        shift += 7
