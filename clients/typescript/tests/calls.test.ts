import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { AuthService } from "../src/gen/greenroom/auth/v1/auth_service_pb.js";
import { MessageService } from "../src/gen/greenroom/chat/v1/message_service_pb.js";
import { SessionService } from "../src/gen/greenroom/auth/v1/session_service_pb.js";
import { items, pages, reasonOf, requestIdOf, retryAfterOf, SignedOut, violationsOf } from "../src/node.js";
import { CHANNEL, freshTokens, NOW, refusal, soon, stage, unavailable, until } from "./stage.js";

const code = (expected: Code) => (error: unknown) => error instanceof ConnectError && error.code === expected;

test("a read is repeated until it is answered, with growing pauses", async () => {
  let calls = 0;
  const { client, time } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        if (++calls < 4) throw unavailable();
        return { user: { id: "ada" } };
      },
    }),
  );
  const { user } = await client.auth.getMe({});
  assert.equal(user?.id, "ada");
  assert.deepEqual(time.pauses, [100, 200, 400]);
});

test("four attempts are the most", async () => {
  let calls = 0;
  const { client } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        calls++;
        throw unavailable();
      },
    }),
  );
  await assert.rejects(client.auth.getMe({}), code(Code.Unavailable));
  assert.equal(calls, 4);
});

test("a method that acts again on a repeat is called once", async () => {
  let calls = 0;
  const { client } = stage(({ service }) =>
    service(AuthService, {
      logIn: () => {
        calls++;
        throw unavailable();
      },
    }),
  );
  await assert.rejects(client.logIn({ email: "ada@example.com", password: "x" }), code(Code.Unavailable));
  assert.equal(calls, 1);
});

test("each call has one request id over all its attempts, and the caller's own is left alone", async () => {
  const ids: string[] = [];
  let calls = 0;
  const { client } = stage(({ service }) =>
    service(AuthService, {
      verifyEmail: (request) => {
        ids.push(request.requestId);
        if (++calls % 2 === 1) throw unavailable();
        return {};
      },
    }),
  );
  const request = { token: "t" };
  await client.auth.verifyEmail(request);
  await client.auth.verifyEmail(request);
  await client.auth.verifyEmail({ token: "t", requestId: "mine" });
  assert.match(ids[0]!, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(ids[1], ids[0]);
  assert.equal(ids[3], ids[2]);
  assert.notEqual(ids[2], ids[0]);
  assert.deepEqual(ids.slice(4), ["mine", "mine"]);
  assert.deepEqual(request, { token: "t" });
});

test("a busy server is asked again only when it says when", async () => {
  const answers = [
    refusal(Code.ResourceExhausted, "WIRE_ERROR_REASON_RATE_LIMITED", { retryAfter: 2500 }),
    refusal(Code.ResourceExhausted, "WIRE_ERROR_REASON_OVERLOADED"),
  ];
  const { client, time } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        throw answers.shift() ?? unavailable();
      },
    }),
  );
  await assert.rejects(client.auth.getMe({}), (error) => reasonOf(error) === "WIRE_ERROR_REASON_OVERLOADED");
  assert.deepEqual(time.pauses, [2500]);
});

test("no pause goes beyond the deadline", async () => {
  const { client, time } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        throw refusal(Code.ResourceExhausted, "WIRE_ERROR_REASON_RATE_LIMITED", { retryAfter: 40_000 });
      },
    }),
  );
  await assert.rejects(client.auth.getMe({}), (error) => retryAfterOf(error) === 40_000);
  assert.deepEqual(time.pauses, []);
});

test("a call has its method's deadline, the caller's own, or none", async () => {
  const left: (number | undefined)[] = [];
  const { client } = stage(({ service }) =>
    service(AuthService, {
      getMe: (_request, context) => {
        left.push(context.timeoutMs());
        return {};
      },
    }),
  );
  await client.auth.getMe({});
  await client.auth.getMe({}, { timeoutMs: 1500.7 });
  await client.auth.getMe({}, { timeoutMs: 0 });
  const [its, mine, none] = left;
  assert.ok(its !== undefined && its > 25_000 && its <= 30_000, String(its));
  assert.ok(mine !== undefined && mine > 500 && mine <= 1500, String(mine));
  assert.equal(none, undefined);
});

test("a call does not wait for a renewal beyond its deadline", async ({ mock }) => {
  let asked = false;
  const expired = { ...freshTokens(), accessExpires: NOW };
  const { client } = stage(
    ({ service }) =>
      service(AuthService, {
        refreshToken: (_request, { signal }) => {
          asked = true;
          return until(signal);
        },
      }),
    { tokens: expired },
  );
  mock.timers.enable({ apis: ["setTimeout"] });
  const call = assert.rejects(client.auth.getMe({}, { timeoutMs: 5000 }), code(Code.DeadlineExceeded));
  await soon(() => asked);
  mock.timers.tick(5000);
  await call;
});

test("an outage is not made worse: after five failures nothing is repeated", async () => {
  let calls = 0;
  const { client } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        calls++;
        throw unavailable();
      },
    }),
  );
  await assert.rejects(client.auth.getMe({}));
  await assert.rejects(client.auth.getMe({}));
  await assert.rejects(client.auth.getMe({}));
  assert.equal(calls, 4 + 1 + 1);
});

test("an abort ends a call and its repeats", async () => {
  let calls = 0;
  const gone = new AbortController();
  const { client } = stage(({ service }) =>
    service(AuthService, {
      getMe: () => {
        calls++;
        const answer = until(gone.signal);
        gone.abort();
        return answer;
      },
    }),
  );
  await assert.rejects(client.auth.getMe({}, { signal: gone.signal }), code(Code.Canceled));
  await assert.rejects(client.auth.getMe({}, { signal: gone.signal }), code(Code.Canceled));
  assert.equal(calls, 1);
});

test("an error says its reason, its fields and its request id", async () => {
  const { client } = stage(({ service }) =>
    service(AuthService, {
      signUp: () => {
        throw refusal(Code.InvalidArgument, "WIRE_ERROR_REASON_INVALID_FIELD", {
          fields: { email: "must be an address", password: "is too short" },
          requestId: "r-1",
        });
      },
    }),
  );
  const error = await client.auth.signUp({}).catch((caught: unknown) => caught);
  assert.equal(reasonOf(error), "WIRE_ERROR_REASON_INVALID_FIELD");
  assert.deepEqual(violationsOf(error), { email: "must be an address", password: "is too short" });
  assert.equal(requestIdOf(error), "r-1");
  assert.equal(retryAfterOf(error), undefined);
  assert.equal(reasonOf(new Error("another")), "");
  assert.equal(reasonOf(new SignedOut("log in first")), "");
});

test("a list is read page by page, or item by item, from its own token on", async () => {
  const asked: string[] = [];
  const { client } = stage(({ service }) =>
    service(MessageService, {
      listMessages: ({ channelId, pageSize, pageToken }) => {
        assert.equal(channelId, CHANNEL);
        assert.equal(pageSize, 2);
        asked.push(pageToken);
        const first = pageToken === "" ? 1n : 3n;
        const messages = first === 1n ? [{ seq: 1n }, { seq: 2n }] : [{ seq: 3n }];
        return { messages, nextPageToken: first === 1n ? "second" : "" };
      },
    }),
  );
  const request = { channelId: CHANNEL, pageSize: 2 };
  const seqs: bigint[] = [];
  for await (const message of items(client.messages.listMessages, request)) seqs.push(message.seq);
  assert.deepEqual(seqs, [1n, 2n, 3n]);
  const sizes: number[] = [];
  for await (const page of pages(client.messages.listMessages, { ...request, pageToken: "second" })) {
    sizes.push(page.messages.length);
  }
  assert.deepEqual(sizes, [1]);
  assert.deepEqual(asked, ["", "second", "second"]);
});

test("an empty list has no items", async () => {
  const { client } = stage(({ service }) => service(SessionService, { listSessions: () => ({}) }));
  for await (const session of items(client.sessions.listSessions, {})) assert.fail(session.id);
});

test("credentials travel where a caller is wanted, and nowhere else", async () => {
  const seen: (string | null)[] = [];
  const note = (_request: unknown, { requestHeader }: { requestHeader: Headers }) => {
    seen.push(requestHeader.get("authorization"));
    return {};
  };
  const { client } = stage(({ service }) => service(AuthService, { getMe: note, getJwks: note }), {
    tokens: freshTokens(7),
  });
  await client.auth.getMe({});
  await client.auth.getJwks({});
  await client.auth.getMe({}, { headers: { authorization: "Bearer another" } });
  assert.deepEqual(seen, ["Bearer access-7", null, "Bearer another"]);
});
