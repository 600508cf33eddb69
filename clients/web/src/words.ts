import type { Presence } from "@greenroom/client";
import { Code, ConnectError, reasonOf, requestIdOf, retryAfterOf, SignedOut } from "@greenroom/client";

const SENTENCES: Record<string, string> = {
  AUTH_ERROR_REASON_BAD_CREDENTIALS:
    "That e-mail and password do not belong together, or the address is not confirmed yet.",
  AUTH_ERROR_REASON_HASHING_BUSY: "Many people are logging in. Try again in a moment.",
  AUTH_ERROR_REASON_PASSWORD_TOO_WEAK: "That password is too easy to guess. A few unrelated words make a good one.",
  AUTH_ERROR_REASON_SESSION_NOT_FOUND: "That device is logged out already.",
  AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS: "Too many attempts.",
  AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID: "That token is wrong, used or too old.",
  CHAT_ERROR_REASON_BLOCKED: "Nothing can be sent in this conversation.",
  CHAT_ERROR_REASON_CHANNEL_ARCHIVED: "This conversation is closed.",
  CHAT_ERROR_REASON_CHANNEL_NOT_FOUND: "That conversation does not exist.",
  CHAT_ERROR_REASON_DIRECT_WITH_SELF: "That is your own id. A conversation needs somebody else.",
  CHAT_ERROR_REASON_USER_NOT_FOUND: "Nobody has that id.",
  WIRE_ERROR_REASON_RATE_LIMITED: "That was a little fast.",
};

/** What went wrong, for people. */
export function explain(error: unknown): string {
  if (error instanceof SignedOut) return "You were logged out. Log in again to go on.";
  if (!(error instanceof ConnectError)) return "Something went wrong in this page. Reload it, please.";
  const known = SENTENCES[reasonOf(error)];
  const wait = retryAfterOf(error);
  if (known !== undefined) return wait === undefined ? known : `${known} Try again in ${seconds(wait)}.`;
  if (error.code === Code.Unavailable || error.cause instanceof TypeError) return "The server cannot be reached.";
  const id = requestIdOf(error);
  return error.code === Code.Internal && id !== "" ? `The server failed (request ${id}).` : error.rawMessage;
}

function seconds(milliseconds: number): string {
  const whole = Math.max(1, Math.ceil(milliseconds / 1000));
  return whole === 1 ? "a second" : whole < 120 ? `${whole} seconds` : `${Math.ceil(whole / 60)} minutes`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A moment of a reply: its time when it is today, else its date too; empty when there is none. */
export function moment(timestamp: { seconds: bigint; nanos: number } | undefined): string {
  if (timestamp === undefined) return "";
  const time = new Date(Number(timestamp.seconds) * 1000 + timestamp.nanos / 1e6);
  return (time.toDateString() === new Date().toDateString() ? clock : day).format(time);
}

/** Whether somebody is there, or since when they are not; empty when that is not known. */
export function whereabouts(presence: Presence | undefined): string {
  if (presence?.online) return "Online";
  const last = moment(presence?.lastOnlineTime);
  return last === "" ? "" : `Last seen ${last}`;
}

/** A name for somebody of whom only the id is known: its end, because ids of one time begin alike. */
export function nameOf(userId: string): string {
  return userId === "" ? "Somebody" : `User ${userId.slice(-6)}`;
}
