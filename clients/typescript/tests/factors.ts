/**
 * Two factors and a device list on a real server. Run by tests/e2e/test_typescript.py.
 *   node dist/tests/factors.js '{"url": ..., "email": ..., "password": ...}'
 */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import type { Session } from "../src/node.js";
import { connect, items, MfaMethod, reasonOf, SecondFactorNeeded, SignedOut } from "../src/node.js";

const plan = JSON.parse(process.argv[2] ?? "{}") as Record<"url" | "email" | "password", string>;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const STEP_MS = 30_000;
const WRONG = (error: unknown) => reasonOf(error) === "AUTH_ERROR_REASON_MFA_CODE_INVALID";

/** What an authenticator app does with the secret that it is shown (RFC 6238). */
function codeAt(secret: string, step: number): string {
  const bits = [...secret].map((letter) => LETTERS.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g)!.map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac("sha1", key).update(counter).digest();
  const number = digest.readUInt32BE(digest[19]! & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, "0");
}

/** A log-in by the password, up to the demand for the second factor. */
async function challenged(client: ReturnType<typeof connect>, deviceName: string): Promise<SecondFactorNeeded> {
  const { email, password } = plan;
  const error: unknown = await client.logIn({ email, password, deviceName }).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof SecondFactorNeeded, String(error));
  assert.equal(client.isSignedIn, false);
  return error;
}

const laptop = connect({ baseUrl: plan.url });
const phone = connect({ baseUrl: plan.url });
await laptop.logIn({ email: plan.email, password: plan.password, deviceName: "laptop" });

// The app is enrolled with the code of the half minute before, so that the present one is left to log in with.
const { factor, secret } = await laptop.mfa.createMfaFactor({ label: "app" });
const step = Math.floor(Date.now() / STEP_MS);
const totpCode = codeAt(secret, step - 1);
const { backupCodes } = await laptop.mfa.activateMfaFactor({ factorId: factor!.id, totpCode });
assert.equal(backupCodes.length, 10);

const { challenge } = await challenged(phone, "phone");
assert.deepEqual(challenge.methods, [MfaMethod.TOTP, MfaMethod.BACKUP_CODE]);
await assert.rejects(phone.completeMfa(challenge, { totp: totpCode }), WRONG);
const { user } = await phone.completeMfa(challenge, { totp: codeAt(secret, step) });
assert.equal((await phone.auth.getMe({})).user?.id, user?.id);

// A backup code logs in too, once; and makes a session fresh.
const tablet = connect({ baseUrl: plan.url });
const [first = "", second = ""] = backupCodes;
await tablet.completeMfa((await challenged(tablet, "tablet")).challenge, { backupCode: first });
const until = await tablet.reauthenticate({ backupCode: second });
assert.ok(until !== undefined && until.getTime() > Date.now());
await assert.rejects(tablet.reauthenticate({ backupCode: first }), WRONG);
const weaker: unknown = await tablet.reauthenticate({ password: plan.password }).catch((error: unknown) => error);
assert.equal(reasonOf(weaker), "AUTH_ERROR_REASON_SECOND_FACTOR_REQUIRED");

// The device list, one of its sessions ended from elsewhere, then all others.
async function devices(): Promise<Session[]> {
  const found: Session[] = [];
  for await (const session of items(phone.sessions.listSessions, { pageSize: 2 })) found.push(session);
  return found;
}
const named = (sessions: Session[]) => sessions.map(({ deviceName }) => deviceName).filter((name) => name !== "").sort();
const listed = await devices();
assert.deepEqual(named(listed), ["laptop", "phone", "tablet"]);
assert.equal(listed.find(({ current }) => current)?.deviceName, "phone");
await phone.sessions.revokeSession({ sessionId: listed.find(({ deviceName }) => deviceName === "laptop")!.id });
await assert.rejects(laptop.auth.getMe({}), SignedOut);
assert.equal((await tablet.auth.getMe({})).user?.id, user?.id);
await phone.sessions.revokeOtherSessions({});
await assert.rejects(tablet.auth.getMe({}), SignedOut);
assert.deepEqual(named(await devices()), ["phone"]);
for (const client of [laptop, phone, tablet]) client.close();
console.log("done");
process.exit();
