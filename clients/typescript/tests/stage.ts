/** A client against a server in this process that does as each test tells it, and time that stands still. */
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter } from "@connectrpc/connect";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";
import { TokenPairSchema } from "../src/gen/greenroom/auth/v1/session_pb.js";
import { ChatEventSchema } from "../src/gen/greenroom/chat/v1/event_pb.js";
import type { WatchEventsResponse } from "../src/gen/greenroom/chat/v1/event_service_pb.js";
import { WatchEventsResponseSchema } from "../src/gen/greenroom/chat/v1/event_service_pb.js";
import { Client } from "../src/client.js";
import type { ConnectOptions, Rhythm, Tokens } from "../src/node.js";
import { MemoryTokenStore } from "../src/node.js";

export const CHANNEL = "0192f0c0-0000-7000-8000-000000000001";
export const NOW = 1_800_000_000_000;

/** Pauses pass at once and are noted; the watch over silent streams only when {@link silence} says so. */
export class StoppedTime implements Rhythm {
  readonly pauses: number[] = [];
  wall = NOW;
  #monotonic = 0;
  #watches = new Set<() => void>();

  now = () => this.wall;
  monotonic = () => this.#monotonic;
  random = () => 1;
  sleep = (milliseconds: number, signal?: AbortSignal): Promise<void> => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (milliseconds < 60_000) {
      this.pauses.push(milliseconds);
      this.#monotonic += milliseconds;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#watches.add(resolve);
      signal?.addEventListener("abort", () => {
        this.#watches.delete(resolve);
        reject(signal.reason);
      });
    });
  };

  /** Lets so much time pass that every stream counts as silent. */
  silence(): void {
    for (const passed of this.#watches) passed();
  }

  get watched(): number {
    return this.#watches.size;
  }
}

export interface Stage {
  client: Client;
  time: StoppedTime;
}

export function stage(
  routes: (router: ConnectRouter) => void,
  { tokens = freshTokens(), ...options }: { tokens?: Tokens | undefined } & Partial<ConnectOptions> = {},
): Stage {
  const time = new StoppedTime();
  const tokenStore = options.tokenStore ?? new MemoryTokenStore(tokens);
  return { client: new Client(createRouterTransport(routes), { ...options, tokenStore, rhythm: time }), time };
}

/** Tokens that are good for a quarter of an hour; `n` tells pairs apart. */
export function freshTokens(n = 1): Tokens {
  return {
    access: `access-${n}`,
    accessExpires: NOW + 900_000,
    refresh: `refresh-${n}`,
    refreshExpires: NOW + 86_400_000,
  };
}

export function pairPb(tokens: Tokens) {
  return create(TokenPairSchema, {
    accessToken: tokens.access,
    accessExpireTime: timestampFromMs(tokens.accessExpires),
    refreshToken: tokens.refresh,
    refreshExpireTime: timestampFromMs(tokens.refreshExpires),
  });
}

/** An error as Greenroom makes it. */
export function refusal(
  code: Code,
  reason: string,
  more: { retryAfter?: number; fields?: Record<string, string>; requestId?: string } = {},
): ConnectError {
  const error = new ConnectError("no", code);
  error.details.push({ desc: ErrorInfoSchema, value: { reason, domain: "greenroom" } });
  if (more.retryAfter !== undefined) {
    error.details.push({ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(more.retryAfter) } });
  }
  if (more.fields !== undefined) {
    const fieldViolations = Object.entries(more.fields).map(([field, description]) => ({ field, description }));
    error.details.push({ desc: BadRequestSchema, value: { fieldViolations } });
  }
  if (more.requestId !== undefined) {
    error.details.push({ desc: RequestInfoSchema, value: { requestId: more.requestId } });
  }
  return error;
}

export const stale = () => refusal(Code.Unauthenticated, "WIRE_ERROR_REASON_CREDENTIALS_INVALID");
export const unavailable = () => new ConnectError("gone", Code.Unavailable);

/** A reply with messages of these numbers. */
export function said(...seqs: number[]): WatchEventsResponse {
  return create(WatchEventsResponseSchema, {
    events: seqs.map((seq) =>
      create(ChatEventSchema, {
        channelId: CHANNEL,
        epoch: 1n,
        seq: BigInt(seq),
        payload: { case: "message", value: { seq: BigInt(seq), text: `m${seq}` } },
      }),
    ),
  });
}

export function heartbeat(resumeToken: string): WatchEventsResponse {
  return create(WatchEventsResponseSchema, { control: { case: "heartbeat", value: { resumeToken } } });
}

export function end(resumeToken: string, delay: number): WatchEventsResponse {
  return create(WatchEventsResponseSchema, {
    control: { case: "end", value: { resumeToken, retryDelay: durationFromMs(delay) } },
  });
}

/** Never, except that the caller goes away. */
export function until(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Waits, a turn of the loop at a time, until something is so. */
export async function soon(isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000; turn++) {
    if (isSo()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error("it never came");
}
