import { create, toBinary } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { contractOf } from "./contract.js";
import { isUnreachable, reasonOf, retryAfterOf } from "./errors.js";
import type { Message, MessageType } from "./gen/greenroom/chat/v1/channel_pb.js";
import type { SendMessageRequest, SendMessageResponse } from "./gen/greenroom/chat/v1/message_service_pb.js";
import { MessageService, SendMessageRequestSchema } from "./gen/greenroom/chat/v1/message_service_pb.js";
import { newId } from "./ids.js";
import type { Rhythm } from "./rhythm.js";
import { backoff, unlessAborted } from "./rhythm.js";
import type { Keeper } from "./tokens.js";

const LONGEST_PAUSE = 5_000;
const MOST_AT_ONCE = 8;
const MOST_DOUBTS = 8;
const MOST_RENEWALS = 3;
const STALE = "WIRE_ERROR_REASON_CREDENTIALS_INVALID";

/** A message to be sent, as plain data: JSON keeps it between runs. */
export interface Outgoing {
  channelId: string;
  /** Exactly one message comes of it, however often and from wherever it is sent. */
  clientId: string;
  text?: string;
  /** Chosen by the server when it is not given. */
  type?: MessageType;
  attachmentMediaIds?: string[];
  replyToId?: string;
  mentionedUserIds?: string[];
}

/** A message that may still be without its client id. */
export type Draft = Omit<Outgoing, "clientId"> & { clientId?: string };

export type DeliveryState = "waiting" | "sent" | "failed";

/** What becomes of one message. */
export interface Delivery {
  /** The message, with its client id. */
  readonly outgoing: Outgoing;
  readonly state: DeliveryState;
  /** The message as stored, once it is sent. */
  readonly message: Message | undefined;
  /** Why it failed for good. */
  readonly error: unknown;
  /** The message as stored; rejects with why there is none. */
  readonly done: Promise<Message>;
}

/** What an outbox begins with, and whom it tells. */
export interface OutboxOptions {
  /** What another outbox has left `unsent`. */
  unsent?: Iterable<Outgoing>;
  /** Milliseconds that a message may take; as many as it needs by default. */
  giveUpAfter?: number;
  /** Hears of every message when it is taken, and when it is sent or has failed. */
  onChange?: (delivery: Delivery) => void;
}

/** What the outbox uses of a client. */
export interface Sending {
  sendMessage(request: SendMessageRequest, options: CallOptions): Promise<SendMessageResponse>;
  keeper: Pick<Keeper, "accessToken" | "renewed">;
  rhythm: Rhythm;
}

/** The outbox was closed before the server answered; the message may be stored or not. It is in `unsent`. */
export class OutboxClosed extends Error {
  override readonly name = "OutboxClosed";
}

/**
 * `const outbox = client.outbox(); outbox.send({ channelId, text: "Hello!" }); await outbox.flush();`
 *
 * Messages of one channel are sent one after the other, in the order in which they were given; channels do not wait
 * for each other. What a server that is away, busy or being replaced leaves unanswered is sent again under the same
 * client id. A message that the server refuses has failed, and those behind it go on. When the session is over the
 * outbox ends, and `unsent` has what is left for another one of the same user.
 */
export class Outbox {
  readonly #sending: Sending;
  readonly #giveUpAfter: number;
  readonly #onChange: (delivery: Delivery) => void;
  readonly #waiting = new Map<string, Entry>();
  readonly #failed = new Map<string, Entry>();
  readonly #lanes = new Map<string, Entry[]>();
  readonly #slots = new Slots(MOST_AT_ONCE);
  readonly #end = new AbortController();

  constructor(sending: Sending, options: OutboxOptions = {}) {
    this.#sending = sending;
    this.#giveUpAfter = options.giveUpAfter ?? Number.POSITIVE_INFINITY;
    this.#onChange = options.onChange ?? (() => undefined);
    for (const outgoing of options.unsent ?? []) this.send(outgoing);
  }

  /** What waits, in the order in which it was given; keep it to go on in another run. */
  get unsent(): Outgoing[] {
    return [...this.#waiting.values()].map(({ outgoing }) => outgoing);
  }

  /** What the server refused, or what took too long, until it is forgotten or given again. */
  get failed(): Delivery[] {
    return [...this.#failed.values()];
  }

  /**
   * Takes a message, gives it a client id unless it has one, and returns at once. One that waits already is not
   * taken twice.
   */
  send(draft: Draft): Delivery {
    this.#end.signal.throwIfAborted();
    const outgoing = { ...draft, clientId: draft.clientId ?? newId() };
    const end = this.#sending.rhythm.monotonic() + this.#giveUpAfter;
    const entry = new Entry(outgoing, end);
    const waiting = this.#waiting.get(outgoing.clientId);
    if (waiting !== undefined) {
      if (waiting.isSameAs(entry)) return waiting;
      throw new TypeError(`another message with the client id ${outgoing.clientId} waits`);
    }
    this.#failed.delete(outgoing.clientId);
    this.#waiting.set(outgoing.clientId, entry);
    const lane = this.#lanes.get(outgoing.channelId);
    if (lane === undefined) {
      const queue = [entry];
      this.#lanes.set(outgoing.channelId, queue);
      void this.#drain(outgoing.channelId, queue);
    } else {
      lane.push(entry);
    }
    this.#onChange(entry);
    return entry;
  }

  /** Drops a message that has failed. */
  forget(clientId: string): void {
    this.#failed.delete(clientId);
  }

  /**
   * Resolves when all that was given by now is sent or has failed; rejects with what has ended the outbox, such as
   * `SignedOut`.
   */
  async flush(): Promise<void> {
    await Promise.allSettled([...this.#waiting.values()].map(({ done }) => done));
    this.#end.signal.throwIfAborted();
  }

  /** Stops at once; what waits stays in `unsent`. `flush` first to wait for it. */
  close(): void {
    this.#stop(new OutboxClosed("the outbox was closed"));
  }

  /** Sends what one channel has, one after the other. Never rejects. */
  async #drain(channelId: string, queue: Entry[]): Promise<void> {
    try {
      // Whoever gave the first message has its delivery before anything becomes of it.
      await Promise.resolve();
      for (let entry = queue[0]; entry !== undefined; entry = queue[0]) {
        const outcome = await this.#outcome(entry);
        queue.shift();
        this.#settle(entry, outcome);
      }
    } catch (error) {
      this.#stop(error);
    } finally {
      this.#lanes.delete(channelId);
    }
  }

  #settle(entry: Entry, outcome: Outcome): void {
    this.#waiting.delete(entry.outgoing.clientId);
    if ("error" in outcome) {
      this.#failed.set(entry.outgoing.clientId, entry);
      entry.fail(outcome.error);
    } else {
      entry.succeed(outcome.message);
    }
    this.#onChange(entry);
  }

  /** What becomes of a message after as many attempts as it takes; throws what stands in the way of all. */
  async #outcome(entry: Entry): Promise<Outcome> {
    const { rhythm } = this.#sending;
    const { signal } = this.#end;
    const trouble = new Trouble();
    for (;;) {
      const left = entry.end - rhythm.monotonic();
      if (left <= 0) return { error: tooLate(trouble) };
      const outcome = await this.#slots.use(signal, () => this.#attempt(entry, trouble));
      if (outcome === "stale") continue;
      if (outcome !== undefined) return outcome;
      const told = retryAfterOf(trouble.last) ?? 0;
      const pause = Math.max(backoff(trouble.failures, LONGEST_PAUSE, rhythm), told);
      if (pause >= entry.end - rhythm.monotonic()) return { error: tooLate(trouble) };
      await rhythm.sleep(pause, signal);
    }
  }

  /** One attempt; `undefined` when another one may do better, `"stale"` when it needs another token. */
  async #attempt(entry: Entry, trouble: Trouble): Promise<Outcome | "stale" | undefined> {
    const { signal } = this.#end;
    const token = await this.#token(trouble);
    if (token === undefined) return undefined;
    const left = entry.end - this.#sending.rhythm.monotonic();
    const timeoutMs = Math.max(1, Math.min(left, contractOf(MessageService.method.sendMessage).deadline));
    // Our own credentials: what comes back is then about this message alone.
    const headers = { authorization: `Bearer ${token}` };
    try {
      const { message } = await this.#sending.sendMessage(entry.request, { signal, timeoutMs, headers });
      if (message === undefined) throw new TypeError("the server returned no message");
      return { message };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ConnectError)) throw error;
      if (error.code === Code.Unauthenticated) {
        if (!trouble.isStale(error)) throw error;
        trouble.refused = token;
        return "stale";
      }
      return trouble.isPassing(error) ? undefined : { error };
    }
  }

  /** A token for the next attempt; `undefined` while the server cannot renew it. */
  async #token(trouble: Trouble): Promise<string | undefined> {
    const { keeper } = this.#sending;
    const { signal } = this.#end;
    try {
      const stale = trouble.refused;
      const token = await unlessAborted(stale === "" ? keeper.accessToken() : keeper.renewed(stale), signal);
      trouble.refused = "";
      return token;
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(error)) throw error;
      trouble.note(error);
      return undefined;
    }
  }

  /** Ends the outbox; what waits keeps its state, for it can be sent by another one. */
  #stop(error: unknown): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort(error);
    for (const entry of this.#waiting.values()) entry.leave(error);
  }
}

type Outcome = { message: Message } | { error: unknown };

class Entry implements Delivery {
  readonly outgoing: Outgoing;
  readonly request: SendMessageRequest;
  /** When it has taken too long. */
  readonly end: number;
  readonly done: Promise<Message>;
  state: DeliveryState = "waiting";
  message: Message | undefined;
  error: unknown;
  readonly #bytes: Uint8Array;
  #resolve!: (message: Message) => void;
  #reject!: (error: unknown) => void;

  constructor(outgoing: Outgoing, end: number) {
    this.outgoing = outgoing;
    this.end = end;
    this.request = create(SendMessageRequestSchema, outgoing);
    // What cannot be written at all is told to whoever gives it.
    this.#bytes = toBinary(SendMessageRequestSchema, this.request);
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever does not wait for it reads the state.
    this.done.catch(() => undefined);
  }

  isSameAs(other: Entry): boolean {
    return this.#bytes.length === other.#bytes.length && this.#bytes.every((byte, at) => byte === other.#bytes[at]);
  }

  succeed(message: Message): void {
    this.state = "sent";
    this.message = message;
    this.#resolve(message);
  }

  fail(error: unknown): void {
    this.state = "failed";
    this.error = error;
    this.#reject(error);
  }

  leave(error: unknown): void {
    this.#reject(error);
  }
}

/** What has stood in the way of one message. */
class Trouble {
  last: unknown;
  /** The token that the server would not take, which is to be renewed. */
  refused = "";
  failures = 0;
  #doubts = 0;
  #renewals = 0;

  note(error: unknown): void {
    this.last = error;
    this.failures++;
  }

  /** Whether a renewed token may cure it. */
  isStale(error: ConnectError): boolean {
    return reasonOf(error) === STALE && ++this.#renewals <= MOST_RENEWALS;
  }

  /** Whether another attempt at the same message may cure it. */
  isPassing(error: ConnectError): boolean {
    this.note(error);
    this.#renewals = 0;
    return isPassing(error) && !(isDoubtful(error) && ++this.#doubts >= MOST_DOUBTS);
  }
}

const PASSING = new Set([Code.ResourceExhausted, Code.DeadlineExceeded, Code.Aborted, Code.Internal, Code.Unknown]);

function isPassing(error: unknown): boolean {
  return isUnreachable(error) || (error instanceof ConnectError && PASSING.has(error.code));
}

/**
 * Whether it may be the message's own fault, so that it must not hold up its channel for ever: the server stumbled
 * over it, or it is too large for the way there. Without Greenroom's reason, INTERNAL is a connection that broke.
 */
function isDoubtful(error: ConnectError): boolean {
  if (error.code === Code.ResourceExhausted) return reasonOf(error) === "" && retryAfterOf(error) === undefined;
  return error.code === Code.Internal && reasonOf(error) !== "";
}

function tooLate({ last }: Trouble): ConnectError {
  const error = new ConnectError("the message was not sent in the time it had", Code.DeadlineExceeded);
  error.cause = last;
  return error;
}

/** Lets a few at a time through. */
class Slots {
  #free: number;
  readonly #queue: (() => void)[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  async use<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
