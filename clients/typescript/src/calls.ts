import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { clone, create } from "@bufbuild/protobuf";
import type { ContextValues, StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { MethodContract } from "./contract.js";
import { contractOf } from "./contract.js";
import { isUnreachable, reasonOf, retryAfterOf } from "./errors.js";
import { newId } from "./ids.js";
import type { Rhythm } from "./rhythm.js";
import { backoff, unlessAborted } from "./rhythm.js";
import type { Keeper } from "./tokens.js";

const MAX_ATTEMPTS = 4;
const LONGEST_PAUSE = 1_000;
/** What a timer can count to; over that it would go off at once. */
const LONGEST_TIMER = 2 ** 31 - 1;
const STALE = "WIRE_ERROR_REASON_CREDENTIALS_INVALID";

/**
 * Keeps retries from adding to an outage: each failure costs one token, each success earns a tenth,
 * and below half of ten nothing is retried (the rule of gRPC's own retries, gRFC A6).
 */
export class RetryThrottle {
  #tokens = 10;

  /** Whether a retry may be made. */
  get allows(): boolean {
    return this.#tokens > 5;
  }

  /** Notes a call that the server could not answer. */
  failed(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  /** Notes a call that it did answer. */
  succeeded(): void {
    this.#tokens = Math.min(10, this.#tokens + 0.1);
  }
}

/** Completes each call from its method's contract, and repeats it where the contract says that it may. */
export class ContractTransport implements Transport {
  readonly #wire: Transport;
  readonly #keeper: () => Keeper;
  readonly #rhythm: Rhythm;
  readonly #throttle = new RetryThrottle();

  constructor(wire: Transport, keeper: () => Keeper, rhythm: Rhythm) {
    this.#wire = wire;
    this.#keeper = keeper;
    this.#rhythm = rhythm;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>> {
    const contract = contractOf(method);
    const request = withRequestId(method.input, input, contract);
    // As everywhere in connect, 0 or less asks for no limit at all.
    const limit = timeoutMs ?? contract.deadline;
    const end = limit > 0 ? this.#rhythm.monotonic() + limit : Number.POSITIVE_INFINITY;
    // Timeouts travel in whole milliseconds.
    const left = () => Math.max(1, Math.floor(end - this.#rhythm.monotonic()));
    let renewed = false;
    for (let attempt = 1; ; attempt++) {
      const { headers, token } = await this.#completed(method, header, signal, left());
      const timeout = limit > 0 ? left() : 0;
      try {
        const reply = await this.#wire.unary(method, signal, timeout, headers, request, contextValues);
        this.#throttle.succeeded();
        return reply;
      } catch (error) {
        throwIfCancelled(signal);
        if (token !== "" && !renewed && reasonOf(error) === STALE) {
          renewed = true;
          await asConnectError(unlessLate(this.#keeper().renewed(token), left(), signal), signal);
          continue;
        }
        const pause = this.#pause(contract, error, attempt);
        if (pause === undefined || pause >= end - this.#rhythm.monotonic()) throw error;
        await asConnectError(this.#rhythm.sleep(pause, signal), signal);
      }
    }
  }

  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ): Promise<StreamResponse<I, O>> {
    // Streams have no deadline unless the caller sets one.
    const limit = timeoutMs !== undefined && timeoutMs > 0 ? timeoutMs : Number.POSITIVE_INFINITY;
    const { headers } = await this.#completed(method, header, signal, limit);
    return this.#wire.stream(method, signal, timeoutMs ?? 0, headers, input, contextValues);
  }

  /** The headers with credentials, and the token among them that is ours. */
  async #completed(
    method: DescMethod,
    header: HeadersInit | undefined,
    signal: AbortSignal | undefined,
    left: number,
  ): Promise<{ headers: Headers; token: string }> {
    throwIfCancelled(signal);
    const headers = new Headers(header);
    let token = "";
    if (!contractOf(method).isPublic && !headers.has("authorization")) {
      token = await asConnectError(unlessLate(this.#keeper().accessToken(), left, signal), signal);
      headers.set("authorization", `Bearer ${token}`);
    }
    return { headers, token };
  }

  /** Milliseconds before the next attempt; `undefined` when there is none. */
  #pause(contract: MethodContract, error: unknown, attempt: number): number | undefined {
    const busy = error instanceof ConnectError && error.code === Code.ResourceExhausted;
    if (!busy && !isUnreachable(error)) return undefined;
    this.#throttle.failed();
    const told = retryAfterOf(error);
    if (!contract.repeatable || attempt >= MAX_ATTEMPTS || !this.#throttle.allows) return undefined;
    if (busy && told === undefined) return undefined;
    return Math.max(backoff(attempt, LONGEST_PAUSE, this.#rhythm), told ?? 0);
  }
}

/** The request as a message; with a fresh id where the method wants one and the caller gave none. */
function withRequestId<I extends DescMessage>(
  type: I,
  input: MessageInitShape<I>,
  contract: MethodContract,
): MessageShape<I> {
  const request: MessageShape<I> = create(type, input);
  if (!contract.requestId) return request;
  const completed = clone(type, request) as MessageShape<I> & { requestId: string };
  completed.requestId ||= newId();
  return completed;
}

function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw ConnectError.from(signal.reason, Code.Canceled);
}

/** The promise for so long, counted by a real clock: it guards against what hangs. */
async function unlessLate<T>(promise: Promise<T>, milliseconds: number, signal: AbortSignal | undefined): Promise<T> {
  const late = new AbortController();
  const stop = () => late.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
  const timer = milliseconds <= LONGEST_TIMER ? setTimeout(stop, milliseconds) : undefined;
  try {
    return await unlessAborted(unlessAborted(promise, late.signal), signal);
  } finally {
    clearTimeout(timer);
  }
}

/** The promise; when it fails because the caller gave up, that is told as connect tells it. */
async function asConnectError<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throwIfCancelled(signal);
    throw error;
  }
}
