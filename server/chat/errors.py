"""How chat calls fail. The reasons are those of ``ChatErrorReason``."""

from server.core.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
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


class MessageNotFound(NotFound):
    """No such message, or not in a channel of the caller's: the same answer for both."""

    reason = "CHAT_ERROR_REASON_MESSAGE_NOT_FOUND"
    message = "There is no such message."


class MemberNotFound(NotFound):
    """The user is not a member of the channel."""

    reason = "CHAT_ERROR_REASON_MEMBER_NOT_FOUND"
    message = "That user is not a member of the channel."


class RoleForbids(PermissionDenied):
    """The caller's role in the channel does not permit it."""

    reason = "CHAT_ERROR_REASON_ROLE_FORBIDS"
    message = "Your role in the channel does not permit this."


class OwnMembership(InvalidArgument):
    """The caller's own membership is changed by others, and ended by LeaveChannel."""

    reason = "CHAT_ERROR_REASON_OWN_MEMBERSHIP"
    message = "This is your own membership: leave the channel, or have another admin change it."


class TitleBlank(InvalidArgument):
    """A group has a title."""

    message = "A group needs a title."


class NotAGroup(FailedPrecondition):
    """Only groups have this."""

    reason = "CHAT_ERROR_REASON_NOT_A_GROUP"
    message = "Only groups can be changed like this."


class ChannelArchived(FailedPrecondition):
    """The channel can be read only."""

    reason = "CHAT_ERROR_REASON_CHANNEL_ARCHIVED"
    message = "The channel is archived."


class Blocked(FailedPrecondition):
    """One of the two has blocked the other."""

    reason = "CHAT_ERROR_REASON_BLOCKED"
    message = "Nothing can be sent in this channel."


class MessageEmpty(InvalidArgument):
    """A message needs a text or attachments."""

    reason = "CHAT_ERROR_REASON_MESSAGE_EMPTY"
    message = "A message needs a text or attachments."

    def __init__(self, field: str = "text") -> None:
        super().__init__(field=field)


class MediaNotFound(InvalidArgument):
    """No such media asset, not the caller's, or not ready yet."""

    reason = "CHAT_ERROR_REASON_MEDIA_NOT_FOUND"
    message = "There is no such media asset that you could send."

    def __init__(self, field: str = "attachment_media_ids") -> None:
        super().__init__(field=field)


class TypeMismatch(InvalidArgument):
    """The type does not fit the attachments."""

    reason = "CHAT_ERROR_REASON_TYPE_MISMATCH"
    message = "The type does not fit the attachments."

    def __init__(self) -> None:
        super().__init__(field="type")


class ReplyToNotFound(InvalidArgument):
    """The message that is to be answered is not in this channel, or was deleted."""

    reason = "CHAT_ERROR_REASON_REPLY_TO_NOT_FOUND"
    message = "The message that is to be answered is not in this channel, or was deleted."

    def __init__(self) -> None:
        super().__init__(field="reply_to_id")


class MentionNotMember(InvalidArgument):
    """Somebody is mentioned who is not a member of the channel."""

    reason = "CHAT_ERROR_REASON_MENTION_NOT_MEMBER"
    message = "Only members of the channel can be mentioned."

    def __init__(self, field: str = "mentioned_user_ids") -> None:
        super().__init__(field=field)


class EditWindowOver(FailedPrecondition):
    """The time in which a message can be edited is over."""

    reason = "CHAT_ERROR_REASON_EDIT_WINDOW_OVER"
    message = "The message is too old to be edited."


class MessageDeleted(FailedPrecondition):
    """The message was deleted."""

    reason = "CHAT_ERROR_REASON_MESSAGE_DELETED"
    message = "The message was deleted."


class TooManyReactions(FailedPrecondition):
    """A message takes so many different emojis and no more."""

    reason = "CHAT_ERROR_REASON_TOO_MANY_REACTIONS"
    message = "A message takes {limit} different emojis."


class TooManyMembers(FailedPrecondition):
    """The group has as many members as a group can have."""

    reason = "CHAT_ERROR_REASON_TOO_MANY_MEMBERS"
    message = "A group takes {limit} members."


class SyncTokenInvalid(InvalidArgument):
    """The sync token is not one of this server's, or was issued to somebody else."""

    reason = "CHAT_ERROR_REASON_SYNC_TOKEN_INVALID"
    message = "The sync token was not issued by this server for this caller."

    def __init__(self) -> None:
        super().__init__(field="sync_token")


class QueryEmpty(InvalidArgument):
    """The query has no word to search for."""

    reason = "CHAT_ERROR_REASON_QUERY_EMPTY"
    message = "The query has no word to search for."

    def __init__(self) -> None:
        super().__init__(field="query")
