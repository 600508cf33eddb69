/** What both entries, `browser.ts` and `node.ts`, give. */
export { Code, ConnectError } from "@connectrpc/connect";
export type { CallOptions, Transport } from "@connectrpc/connect";
export { Client } from "./client.js";
export type { ConnectOptions, Credentials } from "./client.js";
export { reasonOf, requestIdOf, retryAfterOf, SignedOut, violationsOf } from "./errors.js";
export { EventStream } from "./events.js";
export type { Cursor, StreamState, WatchOptions } from "./events.js";
export { Persona, UserStatus } from "./gen/greenroom/auth/v1/user_pb.js";
export type { User } from "./gen/greenroom/auth/v1/user_pb.js";
export type { Session } from "./gen/greenroom/auth/v1/session_pb.js";
export type { Channel, ChannelCursor, Message } from "./gen/greenroom/chat/v1/channel_pb.js";
export type { ChatEvent } from "./gen/greenroom/chat/v1/event_pb.js";
export { newId } from "./ids.js";
export { items, pages } from "./paging.js";
export type { Resource } from "./paging.js";
export type { Rhythm } from "./rhythm.js";
export { MemoryTokenStore } from "./tokens.js";
export type { Tokens, TokenStore } from "./tokens.js";
