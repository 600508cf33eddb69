/**
 * Signs in through the real @auth/core with the adapter, over a running server: by a mailed link and
 * with an OpenID provider, and asks the adapter what the test suite of Auth.js asks of every adapter.
 * Run by tests/e2e/test_typescript.py, which says where the server is.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { AuthConfig } from "@auth/core";
import { Auth } from "@auth/core";
import type { AdapterUser } from "@auth/core/adapters";
import { GreenroomAdapter } from "../src/authjs.js";
import { newId, reasonOf } from "../src/node.js";

const plan = JSON.parse(process.argv[2] ?? "{}") as { url: string; apiKey: string };
const adapter = GreenroomAdapter({ baseUrl: plan.url, apiKey: plan.apiKey });
const SITE = "http://127.0.0.1:3000";
const DAY = 86_400_000;

/** A time without what the storage keeps beyond JavaScript. */
const inDays = (days: number) => new Date(Date.now() + days * DAY);

// What every adapter has to do (the suite in packages/utils/adapter.ts of Auth.js, in our words).

async function storage(): Promise<void> {
  const proposed = { id: crypto.randomUUID(), email: "fill@murray.com", emailVerified: new Date(), name: "Fill Murray" };
  const image = "https://www.fillmurray.com/460/300";
  const user = await adapter.createUser({ ...proposed, image });
  assert.deepEqual(user, { ...proposed, image, id: user.id });
  assert.deepEqual(await adapter.getUser(user.id), user);
  assert.deepEqual(await adapter.getUserByEmail("fill@murray.com"), user);
  assert.equal(await adapter.getUser(crypto.randomUUID()), null);
  assert.equal(await adapter.getUser("no id of ours"), null);
  assert.equal(await adapter.getUserByEmail("nobody@example.com"), null);
  const renamed = await adapter.updateUser({ id: user.id, name: "Bill Murray" });
  assert.deepEqual(renamed, { ...user, name: "Bill Murray" });
  await accountsOf(renamed);
  await sessionsOf(renamed);
  await verificationTokens();
  await authenticatorsOf(renamed);

  // A hard delete takes sessions and accounts along.
  const sessionToken = crypto.randomUUID();
  await adapter.createSession({ sessionToken, userId: user.id, expires: inDays(1) });
  await adapter.linkAccount({ userId: user.id, type: "oauth", provider: "acme", providerAccountId: "last" });
  await adapter.deleteUser(user.id);
  await adapter.deleteUser(user.id);
  assert.equal(await adapter.getUser(user.id), null);
  assert.equal(await adapter.getSessionAndUser(sessionToken), null);
  assert.equal(await adapter.getAccount("last", "acme"), null);
}

async function accountsOf(user: AdapterUser): Promise<void> {
  const key = { provider: "acme", providerAccountId: "4711" };
  const account = {
    ...key,
    userId: user.id,
    type: "oauth" as const,
    access_token: "access",
    expires_at: 1_800_000_000,
    id_token: "id",
    refresh_token: "refresh",
    scope: "user",
    session_state: "state",
    token_type: "bearer" as const,
    oauth_token: "token",
    oauth_token_secret: "secret",
  };
  assert.equal(await adapter.getUserByAccount(key), null);
  await adapter.linkAccount(account);
  assert.deepEqual(await adapter.getAccount("4711", "acme"), account);
  assert.deepEqual(await adapter.getUserByAccount(key), user);
  await adapter.unlinkAccount(key);
  await adapter.unlinkAccount(key);
  assert.equal(await adapter.getUserByAccount(key), null);
  assert.equal(await adapter.getAccount("4711", "acme"), null);
}

async function sessionsOf(user: AdapterUser): Promise<void> {
  const session = { sessionToken: crypto.randomUUID(), userId: user.id, expires: inDays(7) };
  assert.equal(await adapter.getSessionAndUser(session.sessionToken), null);
  assert.deepEqual(await adapter.createSession(session), session);
  assert.deepEqual(await adapter.getSessionAndUser(session.sessionToken), { session, user });
  const expires = new Date(inDays(8).getTime() + 1);
  const moved = { ...session, expires };
  assert.deepEqual(await adapter.updateSession({ sessionToken: session.sessionToken, expires }), moved);
  assert.deepEqual((await adapter.getSessionAndUser(session.sessionToken))?.session, moved);
  assert.deepEqual(await adapter.updateSession({ sessionToken: session.sessionToken }), moved);
  await adapter.deleteSession(session.sessionToken);
  await adapter.deleteSession(session.sessionToken);
  assert.equal(await adapter.getSessionAndUser(session.sessionToken), null);
  assert.equal(await adapter.updateSession({ sessionToken: session.sessionToken, expires }), null);
  const past = { ...session, sessionToken: crypto.randomUUID(), expires: inDays(-1) };
  await adapter.createSession(past);
  assert.equal(await adapter.getSessionAndUser(past.sessionToken), null);
}

async function verificationTokens(): Promise<void> {
  const token = { identifier: "info@example.com", token: newId(), expires: inDays(1) };
  const key = { identifier: token.identifier, token: token.token };
  await adapter.createVerificationToken(token);
  assert.equal(await adapter.useVerificationToken({ ...key, identifier: "other@example.com" }), null);
  const used = await Promise.all(Array.from({ length: 16 }, () => adapter.useVerificationToken(key)));
  assert.deepEqual(used.filter((each) => each !== null), [token]);
  assert.equal(await adapter.useVerificationToken(key), null);
}

async function authenticatorsOf(user: AdapterUser): Promise<void> {
  const authenticator = {
    credentialID: "Y3JlZGVudGlhbA==",
    userId: user.id,
    providerAccountId: "Y3JlZGVudGlhbA==",
    credentialPublicKey: "cHVibGljLWtleQ==",
    counter: 0,
    credentialDeviceType: "multiDevice",
    credentialBackedUp: true,
    transports: "usb,nfc",
  };
  assert.equal(await adapter.getAuthenticator(authenticator.credentialID), null);
  assert.deepEqual(await adapter.listAuthenticatorsByUserId(user.id), []);
  assert.deepEqual(await adapter.listAuthenticatorsByUserId("no id of ours"), []);
  await assert.rejects(async () => adapter.updateAuthenticatorCounter(authenticator.credentialID, 1));
  assert.deepEqual(await adapter.createAuthenticator(authenticator), authenticator);
  await assert.rejects(async () => adapter.createAuthenticator({ ...authenticator, credentialPublicKey: "b3RoZXI=" }));
  assert.deepEqual(await adapter.getAuthenticator(authenticator.credentialID), authenticator);
  const bare = { ...authenticator, credentialID: "YmFyZQ==", transports: null };
  await adapter.createAuthenticator(bare);
  assert.deepEqual(await adapter.listAuthenticatorsByUserId(user.id), [authenticator, bare]);
  assert.equal((await adapter.updateAuthenticatorCounter(authenticator.credentialID, 7)).counter, 7);
}

// A browser that talks with @auth/core.

class Browser {
  readonly #cookies = new Map<string, string>();
  readonly #config: AuthConfig;

  constructor(config: AuthConfig) {
    this.#config = config;
  }

  get isSignedIn(): boolean {
    return this.#cookies.has("authjs.session-token");
  }

  async get(url: string): Promise<Response> {
    return this.#send(new Request(new URL(url, SITE), { headers: this.#headers() }));
  }

  async post(path: string, form: Record<string, string>): Promise<Response> {
    const { csrfToken } = (await (await this.get("/auth/csrf")).json()) as { csrfToken: string };
    const body = new URLSearchParams({ ...form, csrfToken });
    return this.#send(new Request(new URL(path, SITE), { method: "POST", body, headers: this.#headers() }));
  }

  async session(): Promise<{ user?: { name?: string; email?: string; id?: string } } | null> {
    return (await (await this.get("/auth/session")).json()) as { user?: { email?: string } } | null;
  }

  #headers(): HeadersInit {
    return { cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ") };
  }

  async #send(request: Request): Promise<Response> {
    const response = await Auth(request, this.#config);
    for (const line of response.headers.getSetCookie()) {
      const [name = "", value = ""] = line.split(";", 1)[0]!.split(/=(.*)/s);
      if (value === "" || /max-age=0/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return response;
  }
}

const links: string[] = [];
const base: AuthConfig = {
  adapter,
  basePath: "/auth",
  secret: "a secret of the web framework, long enough",
  trustHost: true,
  session: { strategy: "database" },
  providers: [],
  logger: { error: () => undefined, warn: () => undefined },
};
const mail = {
  id: "mail",
  type: "email" as const,
  name: "Mail",
  from: "site@example.com",
  maxAge: 3600,
  options: {},
  sendVerificationRequest: async ({ url }: { url: string }) => {
    links.push(url);
  },
};

async function byMail(): Promise<void> {
  const config: AuthConfig = { ...base, providers: [mail] };
  const address = "ada@example.com";
  const ada = new Browser(config);
  assert.equal(await ada.session(), null);
  await ada.post("/auth/signin/mail", { email: address });
  const link = links.at(-1)!;
  const forged = new URL(link);
  forged.searchParams.set("token", "0".repeat(64));
  const thief = new Browser(config);
  assert.match((await thief.get(forged.href)).headers.get("location") ?? "", /error=Verification/);

  // Of several who follow the link at once, one is signed in.
  const crowd = [ada, ...Array.from({ length: 7 }, () => new Browser(config))];
  await Promise.all(crowd.map((each) => each.get(link)));
  const lucky = crowd.filter((each) => each.isSignedIn);
  assert.equal(lucky.length, 1);
  assert.equal((await lucky[0]!.session())?.user?.email, address);
  const user = await adapter.getUserByEmail(address);
  assert.ok(user?.emailVerified);

  // A second sign-in finds the same account; signing out ends that session alone.
  const again = new Browser(config);
  await again.post("/auth/signin/mail", { email: address });
  await again.get(links.at(-1)!);
  assert.equal((await again.session())?.user?.email, address);
  assert.equal((await adapter.getUserByEmail(address))?.id, user.id);
  await again.post("/auth/signout", {});
  assert.equal(await again.session(), null);
  assert.equal((await lucky[0]!.session())?.user?.email, address);
  await adapter.deleteUser(user.id);
  assert.equal(await lucky[0]!.session(), null);
}

/** An OpenID provider of this process: it vouches for whoever a code names. */
async function openIdProvider() {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: "one", alg: "RS256", use: "sig" };
  const part = (content: object) => Buffer.from(JSON.stringify(content)).toString("base64url");
  const nonces = new Map<string, string>();
  const server = createServer((request, response) => {
    const answer = (body: unknown) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(body));
    };
    const url = new URL(request.url ?? "/", issuer);
    if (url.pathname === "/.well-known/openid-configuration") {
      answer({
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        userinfo_endpoint: `${issuer}/userinfo`,
        jwks_uri: `${issuer}/jwks`,
        response_types_supported: ["code"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["RS256"],
      });
    } else if (url.pathname === "/jwks") answer({ keys: [jwk] });
    else if (url.pathname === "/token") {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => answer(token(new URLSearchParams(Buffer.concat(chunks).toString()))));
    } else response.writeHead(404).end();
  });
  const token = (form: URLSearchParams) => {
    const subject = form.get("code") ?? "";
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer,
      aud: "site",
      sub: subject,
      iat: now,
      exp: now + 300,
      nonce: nonces.get(subject),
      email: `${subject}@example.com`,
      name: subject,
    };
    const text = `${part({ alg: "RS256", kid: "one" })}.${part(claims)}`;
    const signature = sign("sha256", Buffer.from(text), privateKey).toString("base64url");
    return {
      access_token: `access of ${subject}`,
      token_type: "bearer",
      expires_in: 300,
      id_token: `${text}.${signature}`,
      scope: "openid email",
    };
  };
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { issuer, nonces, close: () => server.close() };
}

async function withProvider(): Promise<void> {
  const provider = await openIdProvider();
  const acme = {
    id: "acme",
    name: "Acme",
    type: "oidc" as const,
    issuer: provider.issuer,
    clientId: "site",
    clientSecret: "a secret that is shared with the provider",
    checks: ["pkce" as const, "state" as const, "nonce" as const],
  };
  const config: AuthConfig = { ...base, providers: [acme, mail] };
  const signIn = async (subject: string) => {
    const browser = new Browser(config);
    const away = new URL((await browser.post("/auth/signin/acme", {})).headers.get("location")!);
    assert.equal(away.origin, provider.issuer);
    provider.nonces.set(subject, away.searchParams.get("nonce")!);
    const back = new URL(away.searchParams.get("redirect_uri")!);
    back.searchParams.set("code", subject);
    back.searchParams.set("state", away.searchParams.get("state") ?? "");
    return { browser, response: await browser.get(back.href) };
  };
  try {
    const { browser } = await signIn("bob");
    assert.equal((await browser.session())?.user?.name, "bob");
    const account = await adapter.getAccount("bob", "acme");
    assert.equal(account?.access_token, "access of bob");
    assert.equal(account.userId, (await adapter.getUserByAccount({ provider: "acme", providerAccountId: "bob" }))?.id);
    const second = await signIn("bob");
    assert.equal((await second.browser.session())?.user?.name, "bob");
    // An address that has an account is not taken over by a provider that names it.
    await adapter.createUser({ id: "", email: "carol@example.com", emailVerified: new Date(), name: "Carol" });
    const { browser: taker, response } = await signIn("carol");
    assert.equal(taker.isSignedIn, false);
    assert.match(response.headers.get("location") ?? "", /error=OAuthAccountNotLinked/);
  } finally {
    provider.close();
  }
}

await storage();
await byMail();
await withProvider();
const stranger = GreenroomAdapter({ baseUrl: plan.url, apiKey: `grk_${"0".repeat(16)}_${"A".repeat(43)}` });
await assert.rejects(
  async () => stranger.getUserByEmail("ada@example.com"),
  (error) => reasonOf(error) === "WIRE_ERROR_REASON_CREDENTIALS_INVALID",
);
console.log("done");
