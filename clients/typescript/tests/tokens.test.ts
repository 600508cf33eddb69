import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { AuthService } from "../src/gen/greenroom/auth/v1/auth_service_pb.js";
import { MfaService } from "../src/gen/greenroom/auth/v1/mfa_service_pb.js";
import { VerifiedContactSchema } from "../src/gen/greenroom/auth/v1/otp_service_pb.js";
import { MfaChallengeSchema, SignedInSchema } from "../src/gen/greenroom/auth/v1/sign_in_pb.js";
import { FileTokenStore, MemoryTokenStore, MfaMethod, SecondFactorNeeded, SignedOut } from "../src/node.js";
import { freshTokens, NOW, pairPb, refusal, stage, stale, unavailable } from "./stage.js";

/** Takes the newest access token only, and hands out the next pair for the newest refresh token. */
function rotating(present: number) {
  const served = { refreshes: 0, calls: 0, present };
  const routes = ({ service }: ConnectRouter) =>
    service(AuthService, {
      getMe: (_request, { requestHeader }) => {
        served.calls++;
        if (requestHeader.get("authorization") !== `Bearer access-${served.present}`) throw stale();
        return { user: { id: "ada" } };
      },
      refreshToken: async ({ refreshToken }) => {
        served.refreshes++;
        await new Promise((resolve) => setImmediate(resolve));
        if (refreshToken !== `refresh-${served.present}`) {
          throw refusal(Code.Unauthenticated, "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED");
        }
        served.present++;
        return { tokens: pairPb(freshTokens(served.present)) };
      },
      logIn: ({ identifier }) => {
        assert.deepEqual(identifier, { case: "email", value: "ada@example.com" });
        return {
          outcome: { case: "signedIn", value: { tokens: pairPb(freshTokens(served.present)), user: { id: "ada" } } },
        };
      },
      logOut: () => {
        throw unavailable();
      },
    });
  return { served, routes };
}

test("logging in keeps the tokens, logging out forgets them even when the server is away", async () => {
  const { routes } = rotating(1);
  const tokenStore = new MemoryTokenStore();
  const { client } = stage(routes, { tokenStore });
  assert.equal(client.isSignedIn, false);
  await assert.rejects(client.auth.getMe({}), SignedOut);
  const { user } = await client.logIn({ email: "ada@example.com", password: "x" });
  assert.equal(user?.id, "ada");
  assert.deepEqual(tokenStore.load(), freshTokens(1));
  assert.equal(client.isSignedIn, true);
  await assert.rejects(client.logOut(), ConnectError);
  assert.equal(tokenStore.load(), undefined);
  assert.equal(client.isSignedIn, false);
});

test("an account with a second factor is signed in by two steps", async () => {
  const { client } = stage(
    (router) => {
      router.service(AuthService, {
        logIn: () => ({ outcome: { case: "mfaChallenge", value: { challengeToken: "grm_1", methods: [MfaMethod.TOTP] } } }),
      });
      router.service(MfaService, {
        completeMfaChallenge: ({ challengeToken, proof }) => {
          assert.equal(challengeToken, "grm_1");
          if (proof.value !== "123456" && proof.value !== "ABCDE-12345") {
            throw refusal(Code.InvalidArgument, "AUTH_ERROR_REASON_MFA_CODE_INVALID");
          }
          return { signedIn: { tokens: pairPb(freshTokens(1)), user: { id: proof.case } } };
        },
      });
    },
    { tokenStore: new MemoryTokenStore() },
  );
  const error: unknown = await client.logIn({ email: "ada@example.com", password: "x" }).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof SecondFactorNeeded);
  assert.equal(client.isSignedIn, false);
  await assert.rejects(client.completeMfa(error.challenge, { totp: "000000" }), ConnectError);
  assert.equal((await client.completeMfa(error.challenge, { totp: "123456" })).user?.id, "totpCode");
  assert.equal(client.isSignedIn, true);
  assert.equal((await client.completeMfa(error.challenge, { backupCode: "ABCDE-12345" })).user?.id, "backupCode");
});

test("other ways in end like logIn", () => {
  const { client } = stage(() => undefined, { tokenStore: new MemoryTokenStore() });
  const value = create(SignedInSchema, { tokens: pairPb(freshTokens(1)), user: { id: "ada" } });
  assert.equal(client.enter({ case: "signedIn", value }).user?.id, "ada");
  assert.equal(client.keeper.tokens?.refresh, freshTokens(1).refresh);
  const challenge = create(MfaChallengeSchema, { challengeToken: "grm_1" });
  assert.throws(() => client.enter({ case: "mfaChallenge", value: challenge }), SecondFactorNeeded);
  const contact = create(VerifiedContactSchema, { phone: "+491701234567" });
  assert.throws(() => client.enter({ case: "verifiedContact", value: contact }), TypeError);
  assert.throws(() => client.enter({ case: undefined }), TypeError);
});

test("each proof makes a session fresh", async () => {
  const seen: unknown[] = [];
  const privilegedUntilTime = timestampFromMs(NOW + 600_000);
  const { client } = stage(
    (router) => {
      router.service(AuthService, {
        reauthenticate: ({ proof }) => {
          seen.push([proof.case, proof.value]);
          return { privilegedUntilTime };
        },
      });
    },
    { tokens: freshTokens(1) },
  );
  for (const proof of [{ password: "p" }, { totp: "123456" }, { backupCode: "b" }, { passkeyJson: "{}" }]) {
    assert.equal((await client.reauthenticate(proof))?.getTime(), NOW + 600_000);
  }
  const cases = [["password", "p"], ["totpCode", "123456"], ["backupCode", "b"], ["passkeyJson", "{}"]];
  assert.deepEqual(seen, cases);
});

test("a token is renewed before it ends, once for all who wait", async () => {
  const { served, routes } = rotating(1);
  const tokens = { ...freshTokens(1), accessExpires: NOW + 29_000 };
  const { client } = stage(routes, { tokens });
  await Promise.all(Array.from({ length: 32 }, () => client.auth.getMe({})));
  assert.deepEqual(served, { refreshes: 1, calls: 32, present: 2 });
});

test("a token that the server refuses is renewed once, and the call goes on", async () => {
  const { served, routes } = rotating(2);
  const { client } = stage(routes, { tokens: { ...freshTokens(1), refresh: "refresh-2" } });
  await Promise.all(Array.from({ length: 8 }, () => client.auth.getMe({})));
  assert.equal(served.refreshes, 1);
  assert.equal(served.calls, 16);
});

test("a call is not repeated for ever with tokens that never help", async () => {
  let calls = 0;
  const { client } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        calls++;
        throw stale();
      },
      refreshToken: () => ({ tokens: pairPb(freshTokens(calls + 1)) }),
    }),
  );
  await assert.rejects(client.auth.getMe({}), ConnectError);
  assert.equal(calls, 2);
});

test("a dead family signs out", async () => {
  const { routes } = rotating(5);
  const tokenStore = new MemoryTokenStore(freshTokens(1));
  const { client } = stage(routes, { tokenStore });
  await assert.rejects(client.auth.getMe({}), SignedOut);
  assert.equal(tokenStore.load(), undefined);
});

test("a renewal that only fails for now leaves the session", async () => {
  const { client } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        throw stale();
      },
      refreshToken: () => {
        throw unavailable();
      },
    }),
  );
  await assert.rejects(client.auth.getMe({}), ConnectError);
  assert.equal(client.isSignedIn, true);
});

test("whoever gives up waiting for a renewal does so at once, and does not end it for the others", { timeout: 10_000 }, async () => {
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { client } = stage(
    ({ service }) =>
      service(AuthService, {
        getMe: () => ({ user: { id: "ada" } }),
        refreshToken: async () => {
          await released;
          return { tokens: pairPb(freshTokens(2)) };
        },
      }),
    { tokens: { ...freshTokens(1), accessExpires: NOW } },
  );
  const gone = new AbortController();
  const first = client.auth.getMe({}, { signal: gone.signal });
  const second = client.auth.getMe({});
  gone.abort();
  await assert.rejects(first, (error) => error instanceof ConnectError && error.code === Code.Canceled);
  release();
  assert.equal((await second).user?.id, "ada");
});

test("what another page renewed is taken from the store instead of being renewed again", async () => {
  const { served, routes } = rotating(2);
  const tokenStore = new MemoryTokenStore(freshTokens(1));
  const { client } = stage(routes, { tokenStore });
  tokenStore.save(freshTokens(2));
  await client.auth.getMe({});
  assert.equal(served.refreshes, 0);
});

test("whoever logs out while the tokens are renewed stays out", async () => {
  const { routes } = rotating(1);
  const tokenStore = new MemoryTokenStore({ ...freshTokens(1), accessExpires: NOW });
  const { client } = stage(routes, { tokenStore });
  const renewing = client.auth.getMe({});
  await new Promise((resolve) => queueMicrotask(() => resolve(undefined)));
  client.keeper.keep(undefined);
  await assert.rejects(renewing, SignedOut);
  assert.equal(tokenStore.load(), undefined);
});

test("a file keeps tokens for its owner only, and survives nonsense", () => {
  const folder = mkdtempSync(join(tmpdir(), "greenroom-"));
  try {
    const path = join(folder, "deep", "tokens.json");
    const store = new FileTokenStore(path);
    assert.equal(store.load(), undefined);
    store.save(freshTokens());
    assert.deepEqual(new FileTokenStore(path).load(), freshTokens());
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(join(folder, "deep")), ["tokens.json"]);
    for (const nonsense of ["", "{", "null", "[]", '{"access": 1}']) {
      writeFileSync(path, nonsense);
      assert.equal(store.load(), undefined);
    }
    store.save(undefined);
    store.save(undefined);
    assert.deepEqual(readdirSync(join(folder, "deep")), []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a token that is still good serves while it cannot be renewed early", async () => {
  const seen: (string | null)[] = [];
  const routes = ({ service }: ConnectRouter) =>
    service(AuthService, {
      getMe: (_request, { requestHeader }) => {
        seen.push(requestHeader.get("authorization"));
        return { user: { id: "ada" } };
      },
      refreshToken: () => {
        throw unavailable();
      },
    });
  const tokens = { ...freshTokens(1), accessExpires: NOW + 10_000 };
  const { client, time } = stage(routes, { tokens });
  await client.auth.getMe({});
  assert.deepEqual(seen, ["Bearer access-1"]);
  time.wall = NOW + 10_000;
  await assert.rejects(client.auth.getMe({}), ConnectError);
  assert.equal(seen.length, 1);
});
