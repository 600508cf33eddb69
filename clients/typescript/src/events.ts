import { create } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { milliseconds } from "./contract.js";
import { isUnreachable, reasonOf, retryAfterOf } from "./errors.js";
import type { ChannelCursor } from "./gen/greenroom/chat/v1/channel_pb.js";
import { ChannelCursorSchema } from "./gen/greenroom/chat/v1/channel_pb.js";
import type { ChatEvent } from "./gen/greenroom/chat/v1/event_pb.js";
import type { WatchEventsResponse } from "./gen/greenroom/chat/v1/event_service_pb.js";
import type { Rhythm } from "./rhythm.js";
import { backoff, unlessAborted } from "./rhythm.js";

/** A stream that says nothing for this long, three heartbeats, is taken for dead and opened again. */
export const SILENCE = 65_000;
const LONGEST_PAUSE = 5_000;
const MOST_CURSORS = 200;
const MOST_RENEWALS = 3;

/** A position in a channel, as replies hold it. */
export type Cursor = Pick<ChannelCursor, "channelId" | "seq"> & Partial<Pick<ChannelCursor, "epoch" | "change">>;

/** Where a subscriber stands in all its channels: the last token, and what came after it. */
export class Position {
  #resumeToken: string;
  readonly #seen = new Map<string, ChannelCursor>();
  readonly #sinceToken = new Map<string, ChannelCursor>();

  constructor(resumeToken = "", cursors: Iterable<Cursor> = []) {
    this.#resumeToken = resumeToken;
    for (const { channelId, epoch, seq, change } of cursors) this.#move(channelId, epoch ?? 0n, seq, change);
  }

  /** The last token; empty before the first. */
  get resumeToken(): string {
    return this.#resumeToken;
  }

  /**
   * Positions that are newer than the token. Those over the limit are left to the token; what it
   * repeats is dropped by {@link take}.
   */
  get cursors(): ChannelCursor[] {
    return [...this.#sinceToken.values()].slice(-MOST_CURSORS);
  }

  /** Moves on to the event; false when it was seen before. */
  take(event: ChatEvent): boolean {
    const { channelId, epoch, seq, change, payload } = event;
    if (payload.case === "gap") {
      this.#move(channelId, epoch, payload.value.firstSeq - 1n, undefined);
      return true;
    }
    if (payload.case === "ended") {
      this.#seen.delete(channelId);
      this.#sinceToken.delete(channelId);
      return true;
    }
    let known = this.#seen.get(channelId);
    if (known !== undefined && known.epoch !== 0n && known.epoch !== epoch) known = undefined;
    if (seq > 0n) {
      if (known !== undefined && seq <= known.seq) return false;
      this.#move(channelId, epoch, seq, known?.change);
    } else if (change > 0n && known !== undefined) {
      if (known.change !== undefined && change <= known.change) return false;
      this.#move(channelId, epoch, known.seq, change);
    }
    return true;
  }

  /** Takes a token that stands for everything up to now. */
  renew(resumeToken: string): void {
    if (resumeToken === "") return;
    this.#resumeToken = resumeToken;
    this.#sinceToken.clear();
  }

  /**
   * Goes on with the positions alone: the token was refused. Where only it knew which changes were seen,
   * all are asked for.
   */
  distrustToken(): void {
    this.#resumeToken = "";
    for (const { channelId, epoch, seq, change } of [...this.#seen.values()]) {
      this.#move(channelId, epoch, seq, change ?? 0n);
    }
  }

  #move(channelId: string, epoch: bigint, seq: bigint, change: bigint | undefined): void {
    const cursor = create(ChannelCursorSchema, { channelId, epoch, seq, change });
    this.#seen.set(channelId, cursor);
    this.#sinceToken.delete(channelId);
    this.#sinceToken.set(channelId, cursor);
  }
}

/** How a stream stands: on its way, caught up, waiting before another try, or over. */
export type StreamState = "connecting" | "live" | "waiting" | "ended";

/** What to watch, and from where. */
export interface WatchOptions {
  /** Channels to watch; all of the caller's when empty, including those joined later. */
  channelIds?: Iterable<string>;
  /** From an earlier stream. */
  resumeToken?: string;
  /** Positions that are newer than the token, such as the `cursor` of ListMessages. */
  cursors?: Iterable<Cursor>;
  /** Ends the iteration, quietly. */
  signal?: AbortSignal;
  /** Hears of every change of state. */
  onState?: (state: StreamState) => void;
}

/** What the stream uses of a client. */
export interface Watching {
  watchEvents(
    request: { resumeToken: string; channelIds: string[]; cursors: ChannelCursor[] },
    options: CallOptions,
  ): AsyncIterable<WatchEventsResponse>;
  renew(): Promise<unknown>;
  rhythm: Rhythm;
}

/**
 * Iterate over it: `for await (const event of client.watch())`.
 *
 * Yields every event once and in order within its channel, for as long as it is iterated, whatever
 * breaks underneath. A `gap` event says that history is gone: load the channel again. Throws only what
 * trying again cannot cure, such as `SignedOut` or a channel that is not the caller's. An aborted
 * signal ends it without an error.
 */
export class EventStream implements AsyncIterable<ChatEvent> {
  /** Settles once the stream has caught up for the first time: from here on nothing is missed. */
  readonly live: Promise<void>;
  /** How often the stream was opened. */
  connections = 0;

  readonly #watching: Watching;
  readonly #channelIds: string[];
  readonly #position: Position;
  readonly #signal: AbortSignal | undefined;
  readonly #onState: (state: StreamState) => void;
  #state: StreamState | undefined;
  #caughtUp!: () => void;
  #over!: (error: unknown) => void;
  #connection: AbortController | undefined;
  #failures = 0;
  #renewals = 0;

  constructor(watching: Watching, options: WatchOptions = {}) {
    this.#watching = watching;
    this.#channelIds = [...(options.channelIds ?? [])];
    this.#position = new Position(options.resumeToken, options.cursors);
    this.#signal = options.signal;
    this.#onState = options.onState ?? (() => undefined);
    this.live = new Promise((resolve, reject) => {
      this.#caughtUp = resolve;
      this.#over = reject;
    });
    // Whoever does not wait for it need not hear that it never came.
    this.live.catch(() => undefined);
  }

  /** Opens another stream at the last token; keep {@link cursors} beside it. */
  get resumeToken(): string {
    return this.#position.resumeToken;
  }

  /** Positions that are newer than the token. */
  get cursors(): ChannelCursor[] {
    return this.#position.cursors;
  }

  /** How the stream stands; `undefined` before it is iterated. */
  get state(): StreamState | undefined {
    return this.#state;
  }

  /** Breaks the present connection, as a network would; the iteration goes on over a new one. */
  cut(): void {
    this.#connection?.abort(new ConnectError("cut", Code.Unavailable));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChatEvent, void, undefined> {
    let failure: unknown = new ConnectError("the stream has ended", Code.Canceled);
    try {
      while (!this.#signal?.aborted) {
        this.#enter("connecting");
        const pause = yield* this.#connected();
        if (this.#signal?.aborted) return;
        this.#enter("waiting");
        await this.#watching.rhythm.sleep(pause, this.#signal);
      }
    } catch (error) {
      if (this.#signal?.aborted) return;
      failure = error;
      throw error;
    } finally {
      this.#over(failure);
      this.#enter("ended");
    }
  }

  /** One connection to its end; returns the pause before the next. */
  async *#connected(): AsyncGenerator<ChatEvent, number, undefined> {
    const connection = new AbortController();
    this.#connection = connection;
    const stop = () => connection.abort(this.#signal?.reason);
    this.#signal?.addEventListener("abort", stop, { once: true });
    this.connections++;
    try {
      const { resumeToken, cursors } = this.#position;
      const request = { resumeToken, channelIds: this.#channelIds, cursors };
      const replies = this.#watching
        .watchEvents(request, { signal: connection.signal, timeoutMs: 0 })
        [Symbol.asyncIterator]();
      for (;;) {
        const { value: reply, done } = await this.#heard(replies.next(), connection);
        if (done) return this.#backoff();
        for (const event of reply.events) {
          if (this.#position.take(event)) yield event;
        }
        const delay = this.#control(reply);
        if (delay !== undefined) return delay;
      }
    } catch (error) {
      if (this.#signal?.aborted) return 0;
      return await this.#survive(error);
    } finally {
      this.#signal?.removeEventListener("abort", stop);
      connection.abort();
    }
  }

  /** The next reply, or an error when the connection is cut or has been silent for too long. */
  async #heard<T>(next: Promise<T>, connection: AbortController): Promise<T> {
    const heard = new AbortController();
    this.#watching.rhythm.sleep(SILENCE, heard.signal).then(
      () => connection.abort(new ConnectError("no heartbeat", Code.Unavailable)),
      () => undefined,
    );
    try {
      return await unlessAborted(next, connection.signal);
    } finally {
      heard.abort();
    }
  }

  /** Word about the stream itself: the pause before the next one when this one is over. */
  #control({ control }: WatchEventsResponse): number | undefined {
    this.#failures = this.#renewals = 0;
    if (control.case === "heartbeat") {
      this.#position.renew(control.value.resumeToken);
      this.#enter("live");
      this.#caughtUp();
    } else if (control.case === "end") {
      this.#position.renew(control.value.resumeToken);
      return milliseconds(control.value.retryDelay);
    }
    return undefined;
  }

  /** The pause before another try; throws what trying again cannot cure. */
  async #survive(error: unknown): Promise<number> {
    const reason = reasonOf(error);
    if (reason === "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID" && this.#position.resumeToken !== "") {
      this.#position.distrustToken();
      return 0;
    }
    if (reason === "WIRE_ERROR_REASON_CREDENTIALS_INVALID" && this.#renewals < MOST_RENEWALS) {
      this.#renewals++;
      try {
        await unlessAborted(this.#watching.renew(), this.#signal);
      } catch (failure) {
        if (!this.#isPassing(failure)) throw failure;
        return this.#backoff();
      }
      return 0;
    }
    if (!this.#isPassing(error)) throw error;
    return Math.max(this.#backoff(), retryAfterOf(error) ?? 0);
  }

  #isPassing(error: unknown): boolean {
    if (isUnreachable(error)) return true;
    if (!(error instanceof ConnectError)) return false;
    return [Code.ResourceExhausted, Code.DeadlineExceeded, Code.Internal].includes(error.code);
  }

  #backoff(): number {
    this.#failures++;
    return backoff(this.#failures, LONGEST_PAUSE, this.#watching.rhythm);
  }

  #enter(state: StreamState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#onState(state);
  }
}
