/** Passkeys in a browser: what stands between the server's options and the browser's dialog. */
import type { CallOptions } from "@connectrpc/connect";
import type { Client } from "./client.js";
import type { Passkey } from "./gen/greenroom/auth/v1/passkey_pb.js";
import type { SignedIn } from "./gen/greenroom/auth/v1/sign_in_pb.js";

/** Whose passkey has to answer; anybody's when none is given. */
export type PasskeyOwner = { email: string } | { phone: string } | { username: string };

/** What a log-in by passkey can be told. */
export interface PasskeyLogIn {
  /** Whose passkey has to answer. */
  owner?: PasskeyOwner;
  /** A name for the device list, such as "Ada's phone". */
  deviceName?: string;
  /** `conditional` offers passkeys where the browser fills in user names, without a dialog. */
  mediation?: CredentialMediationRequirement;
  /** Ends the wait for the user. */
  signal?: AbortSignal;
}

/** Whether this browser has what passkeys need; older ones, and Node, have not. */
export function hasPasskeys(): boolean {
  return (
    typeof PublicKeyCredential === "function" &&
    "parseCreationOptionsFromJSON" in PublicKeyCredential &&
    "parseRequestOptionsFromJSON" in PublicKeyCredential
  );
}

/**
 * Makes a passkey for the signed-in user, under a name for the list. The session must be fresh: the reason
 * WIRE_ERROR_REASON_STEP_UP_REQUIRED asks for `auth.reauthenticate` first. Rejects with the browser's DOMException
 * where the user declines (NotAllowedError) or this authenticator holds one already (InvalidStateError).
 */
export async function registerPasskey(client: Client, label = "", options?: CallOptions): Promise<Passkey> {
  const { optionsJson } = await client.passkeys.startPasskeyRegistration({}, options);
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(optionsJson));
  const credentialJson = answered(await navigator.credentials.create({ publicKey }));
  const { passkey } = await client.passkeys.finishPasskeyRegistration({ credentialJson, label }, options);
  if (passkey === undefined) throw new TypeError("the server kept no passkey");
  return passkey;
}

/** Opens a session by a passkey, and keeps its tokens. */
export async function logInWithPasskey(
  client: Client,
  { owner, deviceName = "", ...how }: PasskeyLogIn = {},
  options?: CallOptions,
): Promise<SignedIn> {
  const credentialJson = await provePasskey(client, { ...(owner && { owner }), ...how }, options);
  const { outcome } = await client.passkeys.finishPasskeyLogin({ credentialJson, deviceName }, options);
  return client.enter(outcome);
}

/**
 * What a passkey answers to a fresh challenge, as JSON: `client.reauthenticate({ passkeyJson })` makes the session
 * fresh again by it.
 */
export async function provePasskey(
  client: Client,
  { owner, mediation, signal }: Omit<PasskeyLogIn, "deviceName"> = {},
  options?: CallOptions,
): Promise<string> {
  const { optionsJson } = await client.passkeys.startPasskeyLogin(
    owner === undefined ? {} : { identifier: identifier(owner) },
    options,
  );
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(optionsJson));
  return answered(
    await navigator.credentials.get({ publicKey, ...(mediation && { mediation }), ...(signal && { signal }) }),
  );
}

function answered(credential: Credential | null): string {
  if (!(credential instanceof PublicKeyCredential)) throw new TypeError("the browser answered with no passkey");
  return JSON.stringify(credential);
}

function identifier(owner: PasskeyOwner) {
  if ("email" in owner) return { case: "email" as const, value: owner.email };
  if ("phone" in owner) return { case: "phone" as const, value: owner.phone };
  return { case: "username" as const, value: owner.username };
}
