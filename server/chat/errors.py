"""How chat calls fail. The reasons are those of ``ChatErrorReason``."""

from server.core.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


class ChannelNotFound(NotFound):
    """No such channel, or the caller is not a member: the same answer for both."""

    reason = "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"
    message = "There is no such channel."


class UserNotFound(NotFound):
    """No such user, or none that is active."""

    reason = "CHAT_ERROR_REASON_USER_NOT_FOUND"
    message = "There is no such user."


class DirectWithSelf(InvalidArgument):
    """A direct channel needs somebody else."""

    reason = "CHAT_ERROR_REASON_DIRECT_WITH_SELF"
    message = "A direct channel needs somebody else."

    def __init__(self) -> None:
        super().__init__(field="user_id")


class ClientIdReused(InvalidArgument):
    """The client id belongs to another message of this sender."""

    reason = "CHAT_ERROR_REASON_CLIENT_ID_REUSED"
    message = "This client id was used before for another message."

    def __init__(self) -> None:
        super().__init__(field="client_id")


class TextNotStorable(InvalidArgument):
    """The text holds U+0000, which PostgreSQL cannot store."""

    message = "The character U+0000 cannot be stored."


class ResumeTokenInvalid(InvalidArgument):
    """The resume token is not one of this server's, or was issued to somebody else."""

    reason = "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID"
    message = "The resume token was not issued by this server for this caller."

    def __init__(self) -> None:
        super().__init__(field="resume_token")


class CursorAhead(InvalidArgument):
    """The cursor lies beyond the newest message."""

    reason = "CHAT_ERROR_REASON_CURSOR_AHEAD"
    message = "The cursor of channel {channel_id} lies beyond its newest message, {last_seq}."


class SeqAhead(InvalidArgument):
    """The read mark lies beyond the newest message."""

    reason = "CHAT_ERROR_REASON_SEQ_AHEAD"
    message = "The newest message of the channel is {last_seq}."


class SlowConsumer(ResourceExhausted):
    """The subscriber did not read for too long and was cut."""

    reason = "CHAT_ERROR_REASON_SLOW_CONSUMER"
    message = "The stream was not read for too long; resume with its last token."


class TooManyChannels(InvalidArgument):
    """More channels than one stream carries."""

    reason = "CHAT_ERROR_REASON_TOO_MANY_CHANNELS"
    message = "One stream carries {limit} channels at most; name those to watch in channel_ids."


class AlreadySubscribed(FailedPrecondition):
    """The stream has its subscription."""

    reason = "CHAT_ERROR_REASON_ALREADY_SUBSCRIBED"
    message = "This stream is subscribed; open another one for other channels."


class LaneFull(ResourceExhausted):
    """More sends wait for the disk than the server queues."""

    message = "The server is busy with other messages; try again in a moment."


class LaneStopped(Unavailable):
    """The server shuts down and takes no more messages."""

    reason = "WIRE_ERROR_REASON_DRAINING"
    message = "The server is shutting down; another one will answer."
