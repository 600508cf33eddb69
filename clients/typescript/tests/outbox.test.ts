import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { AuthService } from "../src/gen/greenroom/auth/v1/auth_service_pb.js";
import type { SendMessageRequest } from "../src/gen/greenroom/chat/v1/message_service_pb.js";
import { MessageService, SendMessageRequestSchema } from "../src/gen/greenroom/chat/v1/message_service_pb.js";
import type { Outgoing } from "../src/node.js";
import { OutboxClosed, reasonOf, SignedOut } from "../src/node.js";
import { CHANNEL, freshTokens, pairPb, refusal, soon, stage, stale, unavailable, until } from "./stage.js";

const OTHER = "0192f0c0-0000-7000-8000-000000000002";
const missing = () => refusal(Code.NotFound, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND");

type Act = (request: SendMessageRequest, context: HandlerContext) => Promise<void> | void;

/** Stores each message once, after the script's next act let it; an act that throws after `keep` loses the reply. */
function post(...acts: Act[]) {
  const asked: SendMessageRequest[] = [];
  const stored = new Map<string, SendMessageRequest>();
  const credentials: (string | null)[] = [];
  const keep = (request: SendMessageRequest) => {
    if (!stored.has(request.clientId)) stored.set(request.clientId, request);
  };
  let refreshes = 0;
  const refreshed: string[] = [];
  const scene = stage(({ service }) => {
    service(MessageService, {
      sendMessage: async (request, context) => {
        asked.push(request);
        credentials.push(context.requestHeader.get("authorization"));
        await acts.shift()?.(request, context);
        keep(request);
        const seq = BigInt([...stored.keys()].indexOf(request.clientId) + 1);
        return { message: { clientId: request.clientId, seq } };
      },
    });
    service(AuthService, {
      refreshToken: ({ refreshToken }) => {
        refreshed.push(refreshToken);
        if (refreshToken === "away" && refreshed.length < 6) throw unavailable();
        if (refreshToken === "dead") throw refusal(Code.Unauthenticated, "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID");
        return { tokens: pairPb(freshTokens(++refreshes + 1)) };
      },
    });
  });
  const texts = () => [...stored.values()].map(({ text }) => text);
  return { ...scene, acts, asked, stored, credentials, refreshed, keep, texts };
}

const times = (count: number, act: Act): Act[] => Array.from({ length: count }, () => act);
const fail = (error: () => ConnectError): Act => () => {
  throw error();
};

test("messages of a channel are stored once and in order over an outage", { timeout: 10_000 }, async () => {
  const { client, asked, acts, keep, texts, time } = post(...times(15, fail(unavailable)));
  acts.push((request) => {
    keep(request);
    throw unavailable();
  });
  const outbox = client.outbox();
  const deliveries = [0, 1, 2, 3, 4].map((n) => outbox.send({ channelId: CHANNEL, text: `m${n}` }));
  assert.deepEqual(new Set(deliveries.map(({ state }) => state)), new Set(["waiting"]));
  assert.deepEqual(outbox.unsent, deliveries.map(({ outgoing }) => outgoing));
  await outbox.flush();
  assert.deepEqual(texts(), ["m0", "m1", "m2", "m3", "m4"]);
  assert.deepEqual(deliveries.map(({ state, message }) => `${state} ${message?.seq}`), [
    "sent 1",
    "sent 2",
    "sent 3",
    "sent 4",
    "sent 5",
  ]);
  assert.equal(asked.length, 21);
  assert.equal(new Set(asked.slice(0, 17).map(({ clientId }) => clientId)).size, 1);
  assert.equal(Math.max(...time.pauses), 5_000);
  assert.deepEqual([outbox.unsent, outbox.failed], [[], []]);
});

test("everything of a message travels", { timeout: 10_000 }, async () => {
  const { client, asked } = post();
  const outgoing = {
    channelId: CHANNEL,
    clientId: "mine",
    text: "hi",
    type: 5,
    attachmentMediaIds: [OTHER],
    replyToId: "r",
    mentionedUserIds: ["u"],
  };
  await client.outbox().send(outgoing).done;
  assert.deepEqual(asked, [create(SendMessageRequestSchema, outgoing)]);
});

test("channels do not wait for each other", { timeout: 10_000 }, async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { client, texts } = post(() => held);
  const outbox = client.outbox();
  const slow = ["slow 1", "slow 2"].map((text) => outbox.send({ channelId: CHANNEL, text }));
  await outbox.send({ channelId: OTHER, text: "quick" }).done;
  assert.deepEqual(slow.map(({ state }) => state), ["waiting", "waiting"]);
  release();
  await outbox.flush();
  assert.deepEqual(texts(), ["quick", "slow 1", "slow 2"]);
});

test("only so many are sent at once", { timeout: 10_000 }, async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { client, asked, stored } = post(...times(20, () => held));
  const outbox = client.outbox();
  for (let n = 0; n < 20; n++) outbox.send({ channelId: `channel-${n}`, text: "hi" });
  await soon(() => asked.length === 8);
  release();
  await outbox.flush();
  assert.equal(stored.size, 20);
});

test("a busy server is heeded", { timeout: 10_000 }, async () => {
  const busy = () => refusal(Code.ResourceExhausted, "WIRE_ERROR_REASON_RATE_LIMITED", { retryAfter: 7000 });
  const { client, time, texts } = post(...times(12, fail(busy)));
  await client.outbox().send({ channelId: CHANNEL, text: "patient" }).done;
  assert.deepEqual(texts(), ["patient"]);
  assert.equal(Math.min(...time.pauses), 7000);
});

test("a refused message has failed, and those behind it go on", { timeout: 10_000 }, async () => {
  const { client, time, texts } = post(fail(missing));
  const outbox = client.outbox();
  const refused = outbox.send({ channelId: CHANNEL, text: "refused" });
  const good = outbox.send({ channelId: CHANNEL, text: "good" });
  await outbox.flush();
  assert.deepEqual([refused.state, good.state], ["failed", "sent"]);
  assert.deepEqual(outbox.failed, [refused]);
  assert.equal(reasonOf(refused.error), "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND");
  await assert.rejects(refused.done, ConnectError);
  await outbox.send(refused.outgoing).done;
  assert.deepEqual(outbox.failed, []);
  assert.deepEqual(texts(), ["good", "refused"]);
  assert.deepEqual(time.pauses, []);
});

test("a message that the server stumbles over does not hold up its channel", { timeout: 10_000 }, async () => {
  const { client } = post(...times(8, fail(() => refusal(Code.Internal, "WIRE_ERROR_REASON_INTERNAL"))));
  const outbox = client.outbox();
  const poison = outbox.send({ channelId: CHANNEL, text: "poison" });
  const good = outbox.send({ channelId: CHANNEL, text: "good" });
  await outbox.flush();
  assert.deepEqual([poison.state, good.state], ["failed", "sent"]);
  outbox.forget(poison.outgoing.clientId);
  assert.deepEqual(outbox.failed, []);
});

test("connections that break are no fault of the message", { timeout: 10_000 }, async () => {
  const codes = [Code.Internal, Code.Unknown, Code.Canceled, Code.Aborted];
  const { client, texts } = post(...codes.flatMap((code) => times(20, fail(() => new ConnectError("cut", code)))));
  await client.outbox().send({ channelId: CHANNEL, text: "hi" }).done;
  assert.deepEqual(texts(), ["hi"]);
});

test("it gives up where it was told to", { timeout: 10_000 }, async () => {
  const busy = () => refusal(Code.ResourceExhausted, "WIRE_ERROR_REASON_RATE_LIMITED", { retryAfter: 7000 });
  const { client, texts } = post(fail(busy));
  const outbox = client.outbox({ giveUpAfter: 5000 });
  const late = outbox.send({ channelId: CHANNEL, text: "late" });
  const good = outbox.send({ channelId: CHANNEL, text: "good" });
  await outbox.flush();
  assert.deepEqual([late.state, good.state], ["failed", "sent"]);
  assert.equal((late.error as ConnectError).code, Code.DeadlineExceeded);
  assert.equal(reasonOf((late.error as ConnectError).cause), "WIRE_ERROR_REASON_RATE_LIMITED");
  assert.deepEqual(texts(), ["good"]);
});

test("a stale token is renewed, also by a server that was away", { timeout: 10_000 }, async () => {
  const { client, credentials, refreshed, texts } = post(fail(stale));
  client.keeper.keep({ ...freshTokens(), refresh: "away" });
  const outbox = client.outbox();
  outbox.send({ channelId: CHANNEL, text: "one" });
  outbox.send({ channelId: CHANNEL, text: "two" });
  await outbox.flush();
  assert.deepEqual(credentials, ["Bearer access-1", "Bearer access-2", "Bearer access-2"]);
  assert.deepEqual(texts(), ["one", "two"]);
  assert.equal(refreshed.length, 6);
});

test("a session that is over ends it and leaves what is unsent", { timeout: 10_000 }, async () => {
  const { client, stored, texts } = post(fail(stale), fail(stale));
  client.keeper.keep({ ...freshTokens(), refresh: "dead" });
  const outbox = client.outbox();
  const first = outbox.send({ channelId: CHANNEL, text: "one" });
  const second = outbox.send({ channelId: OTHER, text: "two" });
  await assert.rejects(outbox.flush(), SignedOut);
  await assert.rejects(first.done, SignedOut);
  assert.throws(() => outbox.send({ channelId: CHANNEL, text: "three" }), SignedOut);
  assert.equal(second.state, "waiting");
  const unsent = JSON.parse(JSON.stringify(outbox.unsent)) as Outgoing[];
  client.keeper.keep(freshTokens(2));
  await client.outbox({ unsent }).flush();
  assert.deepEqual(texts().sort(), ["one", "two"]);
  assert.deepEqual(new Set(stored.keys()), new Set([first.outgoing.clientId, second.outgoing.clientId]));
});

test("a token that no renewal cures ends it", { timeout: 10_000 }, async () => {
  const { client, refreshed } = post(...times(9, fail(stale)));
  const outbox = client.outbox();
  const { done } = outbox.send({ channelId: CHANNEL, text: "hi" });
  await assert.rejects(outbox.flush(), (error) => reasonOf(error) === "WIRE_ERROR_REASON_CREDENTIALS_INVALID");
  await assert.rejects(done);
  assert.equal(refreshed.length, 3);
  assert.equal(outbox.unsent.length, 1);
});

test("closing leaves what waits, ends the call and says so", { timeout: 10_000 }, async () => {
  let over = false;
  const { client, asked } = post((_request, { signal }) => {
    signal.addEventListener("abort", () => {
      over = true;
    });
    return until(signal);
  });
  const outbox = client.outbox();
  const { done, outgoing } = outbox.send({ channelId: CHANNEL, text: "hi" });
  await soon(() => asked.length === 1);
  outbox.close();
  await assert.rejects(done, OutboxClosed);
  assert.deepEqual(outbox.unsent, [outgoing]);
  assert.throws(() => outbox.send({ channelId: CHANNEL, text: "more" }), OutboxClosed);
  await soon(() => over);
});

test("one message is not taken twice, and every change is told", { timeout: 10_000 }, async () => {
  const told: string[] = [];
  const { client } = post(fail(missing));
  const outbox = client.outbox({ onChange: ({ outgoing, state }) => told.push(`${outgoing.text} ${state}`) });
  const first = outbox.send({ channelId: CHANNEL, text: "a" });
  assert.equal(outbox.send(first.outgoing), first);
  assert.throws(() => outbox.send({ ...first.outgoing, text: "b" }), TypeError);
  assert.throws(() => outbox.send({ channelId: CHANNEL, type: 1.5 as never }));
  outbox.send({ channelId: CHANNEL, text: "c" });
  await outbox.flush();
  assert.deepEqual(told, ["a waiting", "c waiting", "a failed", "c sent"]);
});
