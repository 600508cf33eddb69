"""Resume tokens: the positions of a stream, sealed and bound to their user."""

from collections.abc import Iterable

from server.chat.errors import ResumeTokenInvalid
from server.chat.rules import Cursor, Resumed
from server.core.sealing import Keyring, SealBroken

_VERSION = 1
_FOLLOWS = 1


class ResumeTokens:
    """Makes and reads them. A token holds a byte of version, a byte of flags and, for each channel, the
    16 bytes of its id, its epoch and its last number, the two numbers in base 128."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def make(
        self, user_id: str, positions: Iterable[tuple[str, int, int]], *, follows: bool
    ) -> str:
        """A token for (channel, epoch, last number) of each channel of a stream."""
        packed = bytearray((_VERSION, _FOLLOWS if follows else 0))
        for channel_id, epoch, seq in positions:
            packed += bytes.fromhex(channel_id.replace("-", ""))
            _pack(packed, epoch)
            _pack(packed, seq)
        return self._keyring.seal(bytes(packed), _bound(user_id))

    def read(self, user_id: str, token: str) -> Resumed:
        """What the token stands for; ``ResumeTokenInvalid`` unless it was made for this user."""
        try:
            packed = self._keyring.open(token, _bound(user_id))
        except SealBroken:
            raise ResumeTokenInvalid from None
        if packed[0] != _VERSION:
            raise ResumeTokenInvalid
        positions = {}
        place = 2
        while place < len(packed):
            digits = packed[place : place + 16].hex()
            channel_id = "-".join(
                (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
            )
            epoch, place = _unpacked(packed, place + 16)
            seq, place = _unpacked(packed, place)
            positions[channel_id] = Cursor(epoch, seq)
        return Resumed(positions, follows=bool(packed[1] & _FOLLOWS))


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
