import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { CallOptions, Client as Stub, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { ContractTransport } from "./calls.js";
import { SecondFactorNeeded } from "./errors.js";
import type { WatchOptions } from "./events.js";
import { EventStream } from "./events.js";
import type { MfaChallenge, SignedIn } from "./gen/greenroom/auth/v1/sign_in_pb.js";
import { AuditService } from "./gen/greenroom/auth/v1/audit_service_pb.js";
import { AuthService } from "./gen/greenroom/auth/v1/auth_service_pb.js";
import { MfaService } from "./gen/greenroom/auth/v1/mfa_service_pb.js";
import { EmailService } from "./gen/greenroom/auth/v1/email_service_pb.js";
import { PasswordService } from "./gen/greenroom/auth/v1/password_service_pb.js";
import { PasskeyService } from "./gen/greenroom/auth/v1/passkey_service_pb.js";
import { RegistrationService } from "./gen/greenroom/auth/v1/registration_service_pb.js";
import { RoleService } from "./gen/greenroom/auth/v1/role_service_pb.js";
import { IdentityService } from "./gen/greenroom/auth/v1/identity_service_pb.js";
import type { VerifiedContact } from "./gen/greenroom/auth/v1/otp_service_pb.js";
import { OtpService } from "./gen/greenroom/auth/v1/otp_service_pb.js";
import { OAuthService } from "./gen/greenroom/auth/v1/oauth_service_pb.js";
import { SessionService } from "./gen/greenroom/auth/v1/session_service_pb.js";
import { ApiKeyService } from "./gen/greenroom/auth/v1/api_key_service_pb.js";
import { TokenService } from "./gen/greenroom/auth/v1/token_service_pb.js";
import { UserService } from "./gen/greenroom/auth/v1/user_service_pb.js";
import { ChannelService } from "./gen/greenroom/chat/v1/channel_service_pb.js";
import { EventService } from "./gen/greenroom/chat/v1/event_service_pb.js";
import { MemberService } from "./gen/greenroom/chat/v1/member_service_pb.js";
import { MessageService } from "./gen/greenroom/chat/v1/message_service_pb.js";
import { PresenceService } from "./gen/greenroom/chat/v1/presence_service_pb.js";
import { ReactionService } from "./gen/greenroom/chat/v1/reaction_service_pb.js";
import { ReadService } from "./gen/greenroom/chat/v1/read_service_pb.js";
import { SyncService } from "./gen/greenroom/chat/v1/sync_service_pb.js";
import type { OutboxOptions } from "./outbox.js";
import { Outbox } from "./outbox.js";
import type { Rhythm } from "./rhythm.js";
import { realRhythm } from "./rhythm.js";
import type { TokenStore } from "./tokens.js";
import { Keeper, MemoryTokenStore, tokensFromPb } from "./tokens.js";

/** Where the server is, and what the client brings along. */
export interface ConnectOptions {
  /** The server's address, such as `https://api.example.com`. */
  baseUrl: string;
  /** Keeps the session between runs; memory by default. */
  tokenStore?: TokenStore;
  /** How bytes travel; gRPC-web in browsers and gRPC in Node by default. */
  transport?: Transport;
  /** Time and chance, for tests. */
  rhythm?: Partial<Rhythm>;
}

/** Who logs in, by one of the identifiers. */
export type Credentials = ({ email: string } | { phone: string } | { username: string }) & {
  password: string;
  /** A name for the device list, such as "Ada's phone". */
  deviceName?: string;
};

/** What proves a second factor. */
export type SecondFactor = { totp: string } | { backupCode: string };

/** What makes a session fresh; `passkeyJson` is what `provePasskey` resolves to. */
export type Proof = SecondFactor | { password: string } | { passkeyJson: string };

/** How every way in ends: the `outcome` of a reply. */
export type Outcome =
  | { case: "signedIn"; value: SignedIn }
  | { case: "mfaChallenge"; value: MfaChallenge }
  | { case: "verifiedContact"; value: VerifiedContact }
  | { case: undefined; value?: undefined };

/** Every service as a typed stub, over one connection and with one session. Made by `connect`. */
export class Client {
  readonly auth: Stub<typeof AuthService>;
  readonly oauth: Stub<typeof OAuthService>;
  readonly otps: Stub<typeof OtpService>;
  readonly identities: Stub<typeof IdentityService>;
  readonly sessions: Stub<typeof SessionService>;
  readonly audit: Stub<typeof AuditService>;
  readonly mfa: Stub<typeof MfaService>;
  readonly passwords: Stub<typeof PasswordService>;
  readonly emails: Stub<typeof EmailService>;
  readonly passkeys: Stub<typeof PasskeyService>;
  readonly apiKeys: Stub<typeof ApiKeyService>;
  readonly tokens: Stub<typeof TokenService>;
  readonly users: Stub<typeof UserService>;
  readonly roles: Stub<typeof RoleService>;
  readonly registrations: Stub<typeof RegistrationService>;
  readonly channels: Stub<typeof ChannelService>;
  readonly members: Stub<typeof MemberService>;
  readonly messages: Stub<typeof MessageService>;
  readonly reactions: Stub<typeof ReactionService>;
  readonly reads: Stub<typeof ReadService>;
  readonly sync: Stub<typeof SyncService>;
  readonly presence: Stub<typeof PresenceService>;
  readonly events: Stub<typeof EventService>;
  /** The tokens of the session. */
  readonly keeper: Keeper;
  readonly #rhythm: Rhythm;
  readonly #close: () => void;

  constructor(wire: Transport, options: Omit<ConnectOptions, "baseUrl">, close: () => void = () => undefined) {
    this.#rhythm = { ...realRhythm, ...options.rhythm };
    this.#close = close;
    const transport = new ContractTransport(wire, () => this.keeper, this.#rhythm);
    this.auth = createClient(AuthService, transport);
    this.oauth = createClient(OAuthService, transport);
    this.otps = createClient(OtpService, transport);
    this.identities = createClient(IdentityService, transport);
    this.sessions = createClient(SessionService, transport);
    this.audit = createClient(AuditService, transport);
    this.mfa = createClient(MfaService, transport);
    this.passwords = createClient(PasswordService, transport);
    this.emails = createClient(EmailService, transport);
    this.passkeys = createClient(PasskeyService, transport);
    this.apiKeys = createClient(ApiKeyService, transport);
    this.tokens = createClient(TokenService, transport);
    this.users = createClient(UserService, transport);
    this.roles = createClient(RoleService, transport);
    this.registrations = createClient(RegistrationService, transport);
    this.channels = createClient(ChannelService, transport);
    this.members = createClient(MemberService, transport);
    this.messages = createClient(MessageService, transport);
    this.reactions = createClient(ReactionService, transport);
    this.reads = createClient(ReadService, transport);
    this.sync = createClient(SyncService, transport);
    this.presence = createClient(PresenceService, transport);
    this.events = createClient(EventService, transport);
    const refresh = async (refreshToken: string) =>
      tokensFromPb((await this.auth.refreshToken({ refreshToken })).tokens);
    this.keeper = new Keeper(options.tokenStore ?? new MemoryTokenStore(), refresh, this.#rhythm);
  }

  /** Whether there are tokens; the server may have ended their session. */
  get isSignedIn(): boolean {
    return this.keeper.tokens !== undefined;
  }

  /**
   * Opens a session with one of the identifiers, and keeps its tokens. Rejects with `SecondFactorNeeded` where the
   * account has a second factor: `completeMfa` goes on.
   */
  async logIn(credentials: Credentials, options?: CallOptions): Promise<SignedIn> {
    const { password, deviceName = "" } = credentials;
    const request = { password, deviceName, identifier: identifier(credentials) };
    const { outcome } = await this.auth.logIn(request, options);
    return this.enter(outcome);
  }

  /**
   * Keeps the tokens of a session that was opened in another way: the `outcome` of `otps.verifyOtp`,
   * `oauth.completeOAuth` or `passkeys.finishPasskeyLogin`. Throws `SecondFactorNeeded` where the account has a
   * second factor: `completeMfa` goes on.
   */
  enter(outcome: Outcome): SignedIn {
    if (outcome.case === "mfaChallenge") throw new SecondFactorNeeded(outcome.value);
    if (outcome.case !== "signedIn") throw new TypeError("the server opened no session");
    return this.#signedIn(outcome.value);
  }

  /**
   * Makes the session fresh for the calls that demand it (the reason WIRE_ERROR_REASON_STEP_UP_REQUIRED), by the
   * password or, where the account has a second factor, by that. Resolves to when that ends.
   */
  async reauthenticate(proof: Proof, options?: CallOptions): Promise<Date | undefined> {
    const { privilegedUntilTime } = await this.auth.reauthenticate({ proof: proofOf(proof) }, options);
    return privilegedUntilTime && timestampDate(privilegedUntilTime);
  }

  /**
   * Opens the session that a challenge stands before, by a code of an authenticator app or a backup code, and keeps
   * its tokens. A wrong code leaves the challenge as it was.
   */
  async completeMfa(challenge: MfaChallenge, proof: SecondFactor, options?: CallOptions): Promise<SignedIn> {
    const request = {
      challengeToken: challenge.challengeToken,
      proof: codeOf(proof),
    };
    const { signedIn } = await this.mfa.completeMfaChallenge(request, options);
    if (signedIn === undefined) throw new TypeError("the server opened no session");
    return this.#signedIn(signedIn);
  }

  #signedIn(signedIn: SignedIn): SignedIn {
    this.keeper.keep(tokensFromPb(signedIn.tokens));
    return signedIn;
  }

  /** Ends the session on the server and forgets its tokens. */
  async logOut(options?: CallOptions): Promise<void> {
    try {
      await this.auth.logOut({}, options);
    } finally {
      this.keeper.keep(undefined);
    }
  }

  /** The events of some channels, or of all of the caller's; survives cuts by itself. */
  watch(options?: WatchOptions): EventStream {
    const watching = {
      watchEvents: this.events.watchEvents,
      renew: () => this.keeper.renewed(this.keeper.tokens?.access ?? ""),
      rhythm: this.#rhythm,
    };
    return new EventStream(watching, options);
  }

  /** Sends messages in order and again until they are stored; goes on with what another run has left unsent. */
  outbox(options?: OutboxOptions): Outbox {
    const sending = { sendMessage: this.messages.sendMessage, keeper: this.keeper, rhythm: this.#rhythm };
    return new Outbox(sending, options);
  }

  /** Closes the connection; the session stays open on the server. */
  close(): void {
    this.#close();
  }
}

function identifier(who: Credentials) {
  if ("email" in who) return { case: "email" as const, value: who.email };
  if ("phone" in who) return { case: "phone" as const, value: who.phone };
  return { case: "username" as const, value: who.username };
}

function codeOf(proof: SecondFactor) {
  return "totp" in proof
    ? { case: "totpCode" as const, value: proof.totp }
    : { case: "backupCode" as const, value: proof.backupCode };
}

function proofOf(proof: Proof) {
  if ("password" in proof) return { case: "password" as const, value: proof.password };
  if ("passkeyJson" in proof) return { case: "passkeyJson" as const, value: proof.passkeyJson };
  return codeOf(proof);
}
