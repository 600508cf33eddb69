/** The client of Greenroom for Node, over gRPC. */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ConnectOptions } from "./client.js";
import { Client } from "./client.js";
import type { Tokens, TokenStore } from "./tokens.js";
import { tokensFromJson } from "./tokens.js";

export * from "./public.js";

/** A client of the server at `baseUrl`; connects when it is first used. */
export function connect(options: ConnectOptions): Client {
  if (options.transport !== undefined) return new Client(options.transport, options);
  const { baseUrl } = options;
  const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 });
  const transport = createGrpcTransport({ baseUrl, sessionManager });
  return new Client(transport, options, () => sessionManager.abort());
}

/** Tokens in a file that only its owner may read (0600), replaced as a whole. */
export class FileTokenStore implements TokenStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  load(): Tokens | undefined {
    try {
      return tokensFromJson(readFileSync(this.#path, "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  save(tokens: Tokens | undefined): void {
    if (tokens === undefined) {
      rmSync(this.#path, { force: true });
      return;
    }
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    const fresh = `${this.#path}.${randomUUID()}`;
    writeFileSync(fresh, JSON.stringify(tokens), { mode: 0o600 });
    renameSync(fresh, this.#path);
  }
}
