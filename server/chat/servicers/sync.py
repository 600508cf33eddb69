"""What clients have missed that were offline."""

from greenroom.chat.v1 import sync_service_pb2 as sync_pb2
from server.chat.convert.sync import page_to_pb
from server.chat.deltas import DeltaReader
from server.chat.errors import ResumeTokenInvalid, SyncTokenInvalid
from server.chat.resume import ResumeTokens
from server.chat.rules import Resumed
from server.chat.usecases.sync import sync_channels
from server.wire.call import Call


class SyncServicer:
    """What clients have missed that were offline."""

    def __init__(self, deltas: DeltaReader, tokens: ResumeTokens) -> None:
        self._deltas = deltas
        self._tokens = tokens

    async def SyncChannels(
        self, request: sync_pb2.SyncChannelsRequest, call: Call
    ) -> sync_pb2.SyncChannelsResponse:
        user_id = call.caller.user_id
        resumed = self._resumed(user_id, request.sync_token)
        page = await call.run(
            lambda unit: sync_channels(unit, self._deltas, user_id, resumed, request.page_size),
            write=False,
            serializable=True,
        )
        token = self._tokens.make(user_id, page.positions, follows=True, made=page.since)
        return page_to_pb(page, token, user_id)

    def _resumed(self, user_id: str, token: str) -> Resumed | None:
        try:
            return self._tokens.read(user_id, token) if token else None
        except ResumeTokenInvalid:
            raise SyncTokenInvalid from None
