"""What members think of messages, in one sign."""

from greenroom.chat.v1 import reaction_service_pb2 as reaction_pb2
from server.chat.convert.messages import view_to_pb
from server.chat.usecases.reactions import add_reaction, remove_reaction
from server.wire.call import Call


class ReactionServicer:
    """What members think of messages, in one sign."""

    def AddReaction(
        self, request: reaction_pb2.AddReactionRequest, call: Call
    ) -> reaction_pb2.AddReactionResponse:
        view = add_reaction(call.unit, call.caller.user_id, request.message_id, request.emoji)
        return reaction_pb2.AddReactionResponse(message=view_to_pb(view))

    def RemoveReaction(
        self, request: reaction_pb2.RemoveReactionRequest, call: Call
    ) -> reaction_pb2.RemoveReactionResponse:
        view = remove_reaction(call.unit, call.caller.user_id, request.message_id, request.emoji)
        return reaction_pb2.RemoveReactionResponse(message=view_to_pb(view))
