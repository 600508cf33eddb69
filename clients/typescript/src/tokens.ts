import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { reasonOf, SignedOut } from "./errors.js";
import type { TokenPair } from "./gen/greenroom/auth/v1/session_pb.js";
import type { Rhythm } from "./rhythm.js";

/** A token is renewed this long before it ends, so that no call travels with a dying one. */
const EARLY = 30_000;

const DEAD = new Set([
  "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID",
  "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED",
]);

/** A pair of tokens, and when each ends (milliseconds since 1970). */
export interface Tokens {
  readonly access: string;
  readonly accessExpires: number;
  readonly refresh: string;
  readonly refreshExpires: number;
}

/** Where tokens lie between calls, and between runs if the store lasts. */
export interface TokenStore {
  /** The tokens, if there are any. */
  load(): Tokens | undefined;
  /** Keeps the tokens; `undefined` forgets them. */
  save(tokens: Tokens | undefined): void;
  /** Runs some work while nobody else who shares the store renews its tokens. */
  alone?<T>(work: () => Promise<T>): Promise<T>;
}

/** Tokens of this process, or of this visit of a page, only. */
export class MemoryTokenStore implements TokenStore {
  #tokens: Tokens | undefined;

  constructor(tokens?: Tokens) {
    this.#tokens = tokens;
  }

  load(): Tokens | undefined {
    return this.#tokens;
  }

  save(tokens: Tokens | undefined): void {
    this.#tokens = tokens;
  }
}

/** The pair of a reply. */
export function tokensFromPb(pair: TokenPair | undefined): Tokens {
  if (pair === undefined) throw new TypeError("the server sent no tokens");
  const time = (end: Timestamp | undefined) => (end === undefined ? 0 : timestampMs(end));
  return {
    access: pair.accessToken,
    accessExpires: time(pair.accessExpireTime),
    refresh: pair.refreshToken,
    refreshExpires: time(pair.refreshExpireTime),
  };
}

/** Reads tokens that were written as JSON; `undefined` when the text is none. */
export function tokensFromJson(text: string | null): Tokens | undefined {
  try {
    const tokens = JSON.parse(text ?? "null") as Partial<Tokens> | null;
    const whole =
      typeof tokens?.access === "string" &&
      typeof tokens.refresh === "string" &&
      typeof tokens.accessExpires === "number" &&
      typeof tokens.refreshExpires === "number";
    return whole ? (tokens as Tokens) : undefined;
  } catch {
    return undefined;
  }
}

/** Hands out an access token that is still good, and renews it once for all who wait. */
export class Keeper {
  readonly #store: TokenStore;
  readonly #refresh: (refreshToken: string) => Promise<Tokens>;
  readonly #rhythm: Rhythm;
  #tokens: Tokens | undefined;
  #renewing: Promise<string> | undefined;

  constructor(store: TokenStore, refresh: (refreshToken: string) => Promise<Tokens>, rhythm: Rhythm) {
    this.#store = store;
    this.#refresh = refresh;
    this.#rhythm = rhythm;
    this.#tokens = store.load();
  }

  /** The present pair; `undefined` when signed out. */
  get tokens(): Tokens | undefined {
    return this.#tokens;
  }

  /** Takes a new pair, or forgets the old one. */
  keep(tokens: Tokens | undefined): void {
    this.#tokens = tokens;
    this.#store.save(tokens);
  }

  /** A token for the next call; rejects with {@link SignedOut} when there is none to be had. */
  async accessToken(): Promise<string> {
    const tokens = this.#tokens;
    if (tokens === undefined) throw new SignedOut("log in first");
    if (tokens.accessExpires - this.#rhythm.now() > EARLY) return tokens.access;
    try {
      return await this.renewed(tokens.access);
    } catch (error) {
      // The renewal came early, so the old one may still do while the server is away.
      const kept = this.#tokens?.access === tokens.access;
      if (kept && tokens.accessExpires > this.#rhythm.now()) return tokens.access;
      throw error;
    }
  }

  /** A token other than `stale`. Concurrent callers share one renewal. */
  async renewed(stale: string): Promise<string> {
    if (this.#renewing !== undefined) {
      const renewed = await this.#renewing;
      if (renewed !== stale) return renewed;
    }
    const tokens = this.#tokens;
    if (tokens?.access !== stale) return this.#access();
    this.#renewing ??= this.#alone(() => this.#renew(stale)).finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renew(stale: string): Promise<string> {
    // Another page or process that shares the store may have renewed them already.
    this.#tokens = this.#store.load();
    const tokens = this.#tokens;
    if (tokens?.access !== stale) return this.#access();
    let renewed: Tokens;
    try {
      renewed = await this.#refresh(tokens.refresh);
    } catch (error) {
      if (!DEAD.has(reasonOf(error))) throw error;
      if (this.#tokens === tokens) this.keep(undefined);
      throw new SignedOut("the session has ended", { cause: error });
    }
    // Whoever logged out or in meanwhile is left so.
    if (this.#tokens === tokens) this.keep(renewed);
    return this.#access();
  }

  #access(): string {
    if (this.#tokens === undefined) throw new SignedOut("the session has ended");
    return this.#tokens.access;
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#store.alone === undefined ? work() : this.#store.alone(work);
  }
}
