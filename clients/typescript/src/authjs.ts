/**
 * An adapter of Auth.js (https://authjs.dev) that keeps its users, accounts, sessions, verification
 * tokens and authenticators in Greenroom. It runs on the framework's server, never in a page: its key
 * opens all of that.
 */
import type {
  Adapter,
  AdapterAccount,
  AdapterAccountType,
  AdapterAuthenticator,
  AdapterSession,
  AdapterUser,
} from "@auth/core/adapters";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate, timestampFromDate, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ContractTransport } from "./calls.js";
import type { WebAccount, WebAccountSchema } from "./gen/greenroom/auth/v1/web_account_service_pb.js";
import { WebAccountService } from "./gen/greenroom/auth/v1/web_account_service_pb.js";
import type { WebAuthenticator } from "./gen/greenroom/auth/v1/web_authenticator_service_pb.js";
import { WebAuthenticatorService } from "./gen/greenroom/auth/v1/web_authenticator_service_pb.js";
import { WebSessionService } from "./gen/greenroom/auth/v1/web_session_service_pb.js";
import type { WebUser } from "./gen/greenroom/auth/v1/web_user_pb.js";
import { WebUserService } from "./gen/greenroom/auth/v1/web_user_service_pb.js";
import { WebVerificationService } from "./gen/greenroom/auth/v1/web_verification_service_pb.js";
import { items } from "./paging.js";
import { realRhythm } from "./rhythm.js";

const LONGEST_NAME = 100;
const LONGEST_URL = 2048;
const TOKENS = ["refresh_token", "access_token", "id_token", "oauth_token", "oauth_token_secret"] as const;
const TEXTS = ["token_type", "scope", "session_state"] as const;

/** Where the storage is, and what opens it. */
export interface AdapterOptions {
  /** The server's address, such as `https://api.example.com`. */
  baseUrl: string;
  /** A key with the scope `auth.web_storage` (CreateApiKey). */
  apiKey: string;
  /** How bytes travel; gRPC-web over `fetch` by default, which every runtime of Auth.js has. */
  transport?: Transport;
}

/** An adapter with every method that Auth.js knows; for the setting `adapter` of `Auth`. */
export function GreenroomAdapter(options: AdapterOptions): Required<Adapter> {
  const wire = options.transport ?? createGrpcWebTransport({ baseUrl: options.baseUrl });
  const transport = keyed(wire, options.apiKey);
  return {
    ...users(transport),
    ...accounts(transport),
    ...sessions(transport),
    ...verification(transport),
    ...authenticators(transport),
  };
}

/** Sends the key with every call. What the contract says of repeats holds as in the client. */
function keyed(wire: Transport, apiKey: string): Transport {
  const noSession = () => {
    throw new TypeError("a call of the adapter went without its key");
  };
  const calls = new ContractTransport(wire, noSession, realRhythm);
  const header = (given: HeadersInit | undefined) => {
    const headers = new Headers(given);
    headers.set("authorization", `Bearer ${apiKey}`);
    return headers;
  };
  return {
    unary: (method, signal, timeoutMs, given, input, values) =>
      calls.unary(method, signal, timeoutMs, header(given), input, values),
    stream: (method, signal, timeoutMs, given, input, values) =>
      calls.stream(method, signal, timeoutMs, header(given), input, values),
  };
}

function users(transport: Transport) {
  const stub = createClient(WebUserService, transport);
  return {
    /** The id that Auth.js proposes is not taken: ours are ordered by time. */
    async createUser(user: AdapterUser): Promise<AdapterUser> {
      const { user: made } = await stub.createWebUser({
        email: user.email ?? "",
        ...(user.emailVerified ? { emailVerifiedTime: timestampFromDate(user.emailVerified) } : {}),
        displayName: nameFor(user.name),
        avatarUrl: pictureFor(user.image),
      });
      return needed(userFromPb(made), "the new user");
    },
    async getUser(id: string): Promise<AdapterUser | null> {
      return isId(id) ? userFromPb((await stub.getWebUser({ userId: id })).user) : null;
    },
    async getUserByEmail(email: string): Promise<AdapterUser | null> {
      return email === "" ? null : userFromPb((await stub.findWebUserByEmail({ email })).user);
    },
    async getUserByAccount(account: Pick<AdapterAccount, "provider" | "providerAccountId">): Promise<AdapterUser | null> {
      const { provider, providerAccountId } = account;
      return userFromPb((await stub.findWebUserByAccount({ provider, providerAccountId })).user);
    },
    /** Changes the fields that are there. */
    async updateUser(user: Partial<AdapterUser> & Pick<AdapterUser, "id">): Promise<AdapterUser> {
      const paths: string[] = [];
      if (user.email !== undefined) paths.push("email");
      if (user.emailVerified !== undefined) paths.push("email_verified_time");
      if (user.name !== undefined) paths.push("display_name");
      if (user.image !== undefined) paths.push("avatar_url");
      if (paths.length === 0) return needed(userFromPb((await stub.getWebUser({ userId: user.id })).user), "the user");
      const { user: changed } = await stub.updateWebUser({
        user: {
          id: user.id,
          email: user.email ?? "",
          ...(user.emailVerified ? { emailVerifiedTime: timestampFromDate(user.emailVerified) } : {}),
          displayName: nameFor(user.name),
          avatarUrl: pictureFor(user.image),
        },
        updateMask: { paths },
      });
      return needed(userFromPb(changed), "the user");
    },
    /** Deletes the user with sessions, accounts and all else, for good. */
    async deleteUser(userId: string): Promise<void> {
      if (isId(userId)) await stub.deleteWebUser({ userId });
    },
  };
}

function accounts(transport: Transport) {
  const stub = createClient(WebAccountService, transport);
  return {
    async linkAccount(account: AdapterAccount): Promise<void> {
      await stub.linkWebAccount({ account: accountToPb(account) });
    },
    async getAccount(providerAccountId: string, provider: string): Promise<AdapterAccount | null> {
      const { account } = await stub.findWebAccount({ provider, providerAccountId });
      return account === undefined ? null : accountFromPb(account);
    },
    async unlinkAccount(account: Pick<AdapterAccount, "provider" | "providerAccountId">): Promise<void> {
      const { provider, providerAccountId } = account;
      await stub.unlinkWebAccount({ provider, providerAccountId });
    },
  };
}

function sessions(transport: Transport) {
  const stub = createClient(WebSessionService, transport);
  return {
    async createSession(session: AdapterSession): Promise<AdapterSession> {
      const { sessionToken, userId, expires } = session;
      const reply = await stub.createWebSession({ sessionToken, userId, expireTime: timestampFromDate(expires) });
      const made = needed(reply.session, "the new session");
      return { sessionToken, userId: made.userId, expires: dateOf(made.expireTime) };
    },
    async getSessionAndUser(sessionToken: string): Promise<{ session: AdapterSession; user: AdapterUser } | null> {
      const { session, user } = await stub.findWebSession({ sessionToken });
      const found = userFromPb(user);
      if (session === undefined || found === null) return null;
      return {
        session: { sessionToken, userId: session.userId, expires: dateOf(session.expireTime) },
        user: found,
      };
    },
    /** Moves the end of the session; it stays the user's that it is. */
    async updateSession(
      session: Partial<AdapterSession> & Pick<AdapterSession, "sessionToken">,
    ): Promise<AdapterSession | null> {
      const { sessionToken, expires } = session;
      if (expires === undefined) return (await this.getSessionAndUser(sessionToken))?.session ?? null;
      const { session: moved } = await stub.setWebSessionExpiry({
        sessionToken,
        expireTime: timestampFromDate(expires),
      });
      if (moved === undefined) return null;
      return { sessionToken, userId: moved.userId, expires: dateOf(moved.expireTime) };
    },
    async deleteSession(sessionToken: string): Promise<void> {
      await stub.deleteWebSession({ sessionToken });
    },
  };
}

function verification(transport: Transport) {
  const stub = createClient(WebVerificationService, transport);
  type Token = { identifier: string; token: string; expires: Date };
  return {
    async createVerificationToken(token: Token): Promise<Token> {
      const { identifier, expires } = token;
      await stub.createWebVerificationToken({
        identifier,
        token: token.token,
        expireTime: timestampFromDate(expires),
      });
      return token;
    },
    /** Of any number of callers with one token one gets it; one that has ended counts as absent. */
    async useVerificationToken(used: { identifier: string; token: string }): Promise<Token | null> {
      const { identifier, token } = used;
      const { expireTime } = await stub.useWebVerificationToken({ identifier, token });
      return expireTime === undefined ? null : { identifier, token, expires: dateOf(expireTime) };
    },
  };
}

function authenticators(transport: Transport) {
  const stub = createClient(WebAuthenticatorService, transport);
  return {
    async createAuthenticator(authenticator: AdapterAuthenticator): Promise<AdapterAuthenticator> {
      const reply = await stub.createWebAuthenticator({
        authenticator: {
          credentialId: authenticator.credentialID,
          userId: authenticator.userId,
          providerAccountId: authenticator.providerAccountId,
          credentialPublicKey: authenticator.credentialPublicKey,
          counter: BigInt(authenticator.counter),
          credentialDeviceType: authenticator.credentialDeviceType,
          credentialBackedUp: authenticator.credentialBackedUp,
          transports: authenticator.transports ?? "",
        },
      });
      return authenticatorFromPb(needed(reply.authenticator, "the new authenticator"));
    },
    async getAuthenticator(credentialID: string): Promise<AdapterAuthenticator | null> {
      const { authenticator } = await stub.findWebAuthenticator({ credentialId: credentialID });
      return authenticator === undefined ? null : authenticatorFromPb(authenticator);
    },
    async listAuthenticatorsByUserId(userId: string): Promise<AdapterAuthenticator[]> {
      const found: AdapterAuthenticator[] = [];
      if (!isId(userId)) return found;
      for await (const each of items(stub.listWebAuthenticators, { userId })) found.push(authenticatorFromPb(each));
      return found;
    },
    async updateAuthenticatorCounter(credentialID: string, newCounter: number): Promise<AdapterAuthenticator> {
      const reply = await stub.setWebAuthenticatorCounter({ credentialId: credentialID, counter: BigInt(newCounter) });
      return authenticatorFromPb(needed(reply.authenticator, "the authenticator"));
    },
  };
}

function userFromPb(user: WebUser | undefined): AdapterUser | null {
  if (user === undefined) return null;
  return {
    id: user.id,
    // Auth.js takes every user to have an address; it is empty where the provider told none.
    email: user.email,
    emailVerified: user.emailVerifiedTime === undefined ? null : timestampDate(user.emailVerifiedTime),
    name: user.displayName,
    image: user.avatarUrl || null,
  };
}

function accountToPb(account: AdapterAccount): MessageInitShape<typeof WebAccountSchema> {
  const text = (name: string) => {
    const value = account[name as keyof AdapterAccount];
    return typeof value === "string" ? value : "";
  };
  return {
    userId: account.userId,
    type: account.type,
    provider: account.provider,
    providerAccountId: account.providerAccountId,
    refreshToken: text("refresh_token"),
    accessToken: text("access_token"),
    idToken: text("id_token"),
    oauthToken: text("oauth_token"),
    oauthTokenSecret: text("oauth_token_secret"),
    tokenType: text("token_type"),
    scope: text("scope"),
    sessionState: text("session_state"),
    ...(account.expires_at == null ? {} : { accessExpireTime: timestampFromMs(account.expires_at * 1000) }),
  };
}

/** With the columns that are filled, and no others. */
function accountFromPb(account: WebAccount): AdapterAccount {
  const stored: Record<(typeof TOKENS | typeof TEXTS)[number], string> = {
    refresh_token: account.refreshToken,
    access_token: account.accessToken,
    id_token: account.idToken,
    oauth_token: account.oauthToken,
    oauth_token_secret: account.oauthTokenSecret,
    token_type: account.tokenType,
    scope: account.scope,
    session_state: account.sessionState,
  };
  const columns = [...TOKENS, ...TEXTS].filter((name) => stored[name] !== "").map((name) => [name, stored[name]]);
  const { accessExpireTime: end } = account;
  return {
    userId: account.userId,
    type: account.type as AdapterAccountType,
    provider: account.provider,
    providerAccountId: account.providerAccountId,
    ...(Object.fromEntries(columns) as Partial<AdapterAccount>),
    ...(end === undefined ? {} : { expires_at: Math.floor(timestampMs(end) / 1000) }),
  };
}

function authenticatorFromPb(authenticator: WebAuthenticator): AdapterAuthenticator {
  return {
    credentialID: authenticator.credentialId,
    userId: authenticator.userId,
    providerAccountId: authenticator.providerAccountId,
    credentialPublicKey: authenticator.credentialPublicKey,
    counter: Number(authenticator.counter),
    credentialDeviceType: authenticator.credentialDeviceType,
    credentialBackedUp: authenticator.credentialBackedUp,
    transports: authenticator.transports || null,
  };
}

function dateOf(time: Timestamp | undefined): Date {
  return timestampDate(needed(time, "a time"));
}

/** A name as it may be here: a longer one is cut, rather than that its owner could not sign in. */
function nameFor(name: string | null | undefined): string {
  return [...(name ?? "")].slice(0, LONGEST_NAME).join("");
}

/** A picture that has an address; others are left out for the same reason. */
function pictureFor(image: string | null | undefined): string {
  return image != null && image.length <= LONGEST_URL && /^https?:\/\/\S+$/.test(image) ? image : "";
}

function isId(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}

function needed<T>(value: T | null | undefined, what: string): T {
  if (value == null) throw new TypeError(`the server did not send ${what}: it is not there`);
  return value;
}
