/** The client of Greenroom for browsers, over gRPC-web. */
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { ConnectOptions } from "./client.js";
import { Client } from "./client.js";
import type { Tokens, TokenStore } from "./tokens.js";
import { tokensFromJson } from "./tokens.js";

export * from "./public.js";

/** A client of the server at `baseUrl`. */
export function connect(options: ConnectOptions): Client {
  return new Client(options.transport ?? createGrpcWebTransport({ baseUrl: options.baseUrl }), options);
}

/**
 * Tokens in the storage of a page. With `localStorage` all pages of an origin share one session, and
 * one of them at a time renews it. Whatever runs scripts in the page can read them.
 */
export class WebTokenStore implements TokenStore {
  readonly #key: string;
  readonly #storage: Storage;

  constructor(key = "greenroom.tokens", storage: Storage = localStorage) {
    this.#key = key;
    this.#storage = storage;
  }

  load(): Tokens | undefined {
    return tokensFromJson(this.#storage.getItem(this.#key));
  }

  save(tokens: Tokens | undefined): void {
    if (tokens === undefined) this.#storage.removeItem(this.#key);
    else this.#storage.setItem(this.#key, JSON.stringify(tokens));
  }

  alone<T>(work: () => Promise<T>): Promise<T> {
    // Missing on pages that were not served securely.
    const locks: LockManager | undefined = navigator.locks;
    return locks === undefined ? work() : locks.request(this.#key, work);
  }
}
