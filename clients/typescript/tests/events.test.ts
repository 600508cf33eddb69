import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { Position } from "../src/events.js";
import { AuthService } from "../src/gen/greenroom/auth/v1/auth_service_pb.js";
import type { ChatEvent } from "../src/gen/greenroom/chat/v1/event_pb.js";
import type { WatchEventsRequest, WatchEventsResponse } from "../src/gen/greenroom/chat/v1/event_service_pb.js";
import { EventService, WatchEventsResponseSchema } from "../src/gen/greenroom/chat/v1/event_service_pb.js";
import type { StreamState, WatchOptions } from "../src/node.js";
import { reasonOf, SignedOut } from "../src/node.js";
import {
  CHANNEL,
  end,
  freshTokens,
  heartbeat,
  pairPb,
  refusal,
  said,
  soon,
  stage,
  stale,
  unavailable,
  until,
} from "./stage.js";

type Act = (context: HandlerContext) => AsyncIterable<WatchEventsResponse>;

/** Plays one act for each connection; after the last it stays silent. */
function play(...acts: Act[]) {
  const requests: WatchEventsRequest[] = [];
  let refreshes = 0;
  const scene = stage(({ service }) => {
    service(EventService, {
      async *watchEvents(request, context) {
        requests.push(request);
        const act = acts.shift();
        if (act === undefined) await until(context.signal);
        else yield* act(context);
      },
    });
    service(AuthService, {
      refreshToken: ({ refreshToken }) => {
        if (refreshToken === "dead") throw refusal(Code.Unauthenticated, "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID");
        return { tokens: pairPb(freshTokens(++refreshes + 1)) };
      },
    });
  });
  return { ...scene, requests };
}

/** The texts of a stream up to and with one of them. */
async function textsUntil(last: string, events: AsyncIterable<ChatEvent>): Promise<string[]> {
  const texts: string[] = [];
  for await (const { payload } of events) {
    if (payload.case === "message") texts.push(payload.value.text);
    if (texts.at(-1) === last) break;
  }
  return texts;
}

test("a stream that breaks goes on after what it had, without a double", { timeout: 10_000 }, async () => {
  const { client, requests, time } = play(
    async function* () {
      yield heartbeat("token-1");
      yield said(1, 2);
      throw unavailable();
    },
    async function* () {
      yield said(1, 2, 3);
      yield heartbeat("token-2");
      throw new ConnectError("reset", Code.Aborted);
    },
    async function* () {
      yield said(3, 4);
    },
  );
  const stream = client.watch();
  assert.deepEqual(await textsUntil("m4", stream), ["m1", "m2", "m3", "m4"]);
  assert.equal(stream.connections, 3);
  assert.deepEqual(
    requests.map(({ resumeToken, cursors }) => [resumeToken, cursors.map(({ epoch, seq }) => [epoch, seq])]),
    [
      ["", []],
      ["token-1", [[1n, 2n]]],
      ["token-2", []],
    ],
  );
  assert.deepEqual(time.pauses, [100, 100]);
});

test("an end says how long to wait, and where to go on", { timeout: 10_000 }, async () => {
  const { client, requests, time } = play(
    async function* () {
      yield said(1);
      yield end("after-1", 1234);
    },
    async function* () {
      yield said(2);
    },
  );
  await textsUntil("m2", client.watch({ channelIds: [CHANNEL] }));
  assert.deepEqual(time.pauses, [1234]);
  assert.equal(requests[1]?.resumeToken, "after-1");
  assert.deepEqual(requests[1]?.channelIds, [CHANNEL]);
});

test("a stream that ends without an end is opened again", { timeout: 10_000 }, async () => {
  const { client, time } = play(
    async function* () {},
    async function* () {},
    async function* () {
      yield said(1);
    },
  );
  await textsUntil("m1", client.watch());
  assert.deepEqual(time.pauses, [100, 200]);
});

test("a gap is surfaced, and a new epoch starts the numbers anew", { timeout: 10_000 }, async () => {
  const gap = create(WatchEventsResponseSchema, {
    events: [{ channelId: CHANNEL, epoch: 2n, payload: { case: "gap", value: { firstSeq: 1n } } }],
  });
  const renumbered = said(1);
  renumbered.events[0]!.epoch = 2n;
  const { client } = play(async function* () {
    yield said(8, 9);
    yield gap;
    yield renumbered;
  });
  const kinds: string[] = [];
  const stream = client.watch();
  for await (const { payload, seq } of stream) {
    kinds.push(`${payload.case} ${seq}`);
    if (kinds.length === 4) break;
  }
  assert.deepEqual(kinds, ["message 8", "message 9", "gap 0", "message 1"]);
  assert.deepEqual(
    stream.cursors.map(({ epoch, seq }) => [epoch, seq]),
    [[2n, 1n]],
  );
});

test("it starts from given positions, and drops what lies before them", { timeout: 10_000 }, async () => {
  const { client, requests } = play(async function* () {
    yield said(4, 5, 6);
  });
  const cursors: WatchOptions["cursors"] = [{ channelId: CHANNEL, epoch: 1n, seq: 5n }];
  assert.deepEqual(await textsUntil("m6", client.watch({ cursors, resumeToken: "kept" })), ["m6"]);
  assert.equal(requests[0]?.resumeToken, "kept");
  assert.equal(requests[0]?.cursors[0]?.seq, 5n);
});

test("a refused token is given up for the positions", { timeout: 10_000 }, async () => {
  const { client, requests } = play(
    async function* () {
      yield said(1);
      yield heartbeat("bad");
      throw unavailable();
    },
    async function* () {
      throw refusal(Code.InvalidArgument, "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID");
    },
    async function* () {
      yield said(2);
    },
  );
  await textsUntil("m2", client.watch());
  assert.equal(requests[2]?.resumeToken, "");
  assert.equal(requests[2]?.cursors[0]?.seq, 1n);
});

test("an access token that ended is renewed and the stream goes on", { timeout: 10_000 }, async () => {
  const seen: (string | null)[] = [];
  const { client } = play(
    async function* ({ requestHeader }) {
      seen.push(requestHeader.get("authorization"));
      throw stale();
    },
    async function* ({ requestHeader }) {
      seen.push(requestHeader.get("authorization"));
      yield said(1);
    },
  );
  await textsUntil("m1", client.watch());
  assert.deepEqual(seen, ["Bearer access-1", "Bearer access-2"]);
});

test("a session that ended ends the stream", { timeout: 10_000 }, async () => {
  const { client } = play(async function* () {
    throw stale();
  });
  client.keeper.keep({ ...freshTokens(), refresh: "dead" });
  const stream = client.watch();
  await assert.rejects(textsUntil("never", stream), SignedOut);
  await assert.rejects(stream.live, SignedOut);
  assert.equal(stream.state, "ended");
});

test("what trying again cannot cure is thrown", { timeout: 10_000 }, async () => {
  const { client } = play(async function* () {
    throw refusal(Code.NotFound, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND");
  });
  await assert.rejects(
    textsUntil("never", client.watch()),
    (error) => reasonOf(error) === "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND",
  );
});

test("a busy server is heeded", { timeout: 10_000 }, async () => {
  const { client, time } = play(
    async function* () {
      throw refusal(Code.ResourceExhausted, "WIRE_ERROR_REASON_OVERLOADED", { retryAfter: 7000 });
    },
    async function* () {
      yield said(1);
    },
  );
  await textsUntil("m1", client.watch());
  assert.deepEqual(time.pauses, [7000]);
});

test("a stream without a heartbeat counts as dead", { timeout: 10_000 }, async () => {
  const { client, time } = play(
    async function* ({ signal }) {
      yield said(1);
      await until(signal);
    },
    async function* () {
      yield said(2);
    },
  );
  const stream = client.watch();
  const texts = textsUntil("m2", stream);
  await soon(() => stream.cursors.length === 1 && time.watched === 1);
  time.silence();
  assert.deepEqual(await texts, ["m1", "m2"]);
  assert.equal(time.watched, 0);
});

test("a cut is survived, and every change of state is told", { timeout: 10_000 }, async () => {
  const states: StreamState[] = [];
  const { client } = play(
    async function* ({ signal }) {
      yield heartbeat("one");
      await until(signal);
    },
    async function* () {
      yield said(1);
      yield heartbeat("two");
      yield said(2);
    },
  );
  const stream = client.watch({ onState: (state) => states.push(state) });
  const texts = textsUntil("m2", stream);
  await stream.live;
  stream.cut();
  assert.deepEqual(await texts, ["m1", "m2"]);
  assert.deepEqual(states, ["connecting", "live", "waiting", "connecting", "live", "ended"]);
});

test("an abort ends the iteration quietly and the call with it", { timeout: 10_000 }, async () => {
  let over = false;
  const { client } = play(async function* ({ signal }) {
    signal.addEventListener("abort", () => {
      over = true;
    });
    yield said(1);
    await until(signal);
  });
  const gone = new AbortController();
  const texts: string[] = [];
  for await (const { payload } of client.watch({ signal: gone.signal })) {
    if (payload.case === "message") texts.push(payload.value.text);
    gone.abort();
  }
  assert.deepEqual(texts, ["m1"]);
  await soon(() => over);
  for await (const event of client.watch({ signal: gone.signal })) assert.fail(String(event.seq));
});

test("leaving the loop ends the call", { timeout: 10_000 }, async () => {
  let over = false;
  const { client } = play(async function* ({ signal }) {
    signal.addEventListener("abort", () => {
      over = true;
    });
    yield said(1);
    await until(signal);
  });
  await textsUntil("m1", client.watch());
  await soon(() => over);
});

test("numbers of another epoch are not taken for doubles", () => {
  const position = new Position("", [{ channelId: CHANNEL, epoch: 1n, seq: 9n }]);
  const [event] = said(9).events;
  assert.equal(position.take(event!), false);
  assert.equal(position.take({ ...event!, epoch: 2n }), true);
  assert.equal(position.take({ ...event!, epoch: 2n }), false);
});

test("only two hundred positions travel, the newest", () => {
  const position = new Position();
  for (let n = 0; n < 250; n++) {
    const [event] = said(1).events;
    position.take({ ...event!, channelId: `channel-${n}` });
  }
  assert.equal(position.cursors.length, 200);
  assert.equal(position.cursors.at(-1)?.channelId, "channel-249");
});

test("a change is told once, and is part of the position", () => {
  const position = new Position("token", [{ channelId: CHANNEL, epoch: 1n, seq: 9n }]);
  const [event] = said(9).events;
  const changed: ChatEvent = { ...event!, seq: 0n, change: 4n, payload: { case: "member", value: event as never } };
  assert.equal(position.take(changed), true);
  assert.equal(position.take(changed), false);
  assert.equal(position.cursors[0]?.change, 4n);
  assert.equal(position.take(said(10).events[0]!), true);
  assert.equal(position.cursors[0]?.change, 4n);
  position.renew("fresh");
  assert.deepEqual(position.cursors, []);
});

test("a refused token leaves all changes to be told anew, unless they were seen", () => {
  const position = new Position("token", [{ channelId: CHANNEL, epoch: 1n, seq: 9n }]);
  position.distrustToken();
  assert.equal(position.resumeToken, "");
  assert.equal(position.cursors[0]?.change, 0n);
});

test("a channel that was left is no part of the position", () => {
  const position = new Position("", [{ channelId: CHANNEL, epoch: 1n, seq: 9n }]);
  const [event] = said(9).events;
  assert.equal(position.take({ ...event!, seq: 0n, payload: { case: "ended", value: event as never } }), true);
  assert.deepEqual(position.cursors, []);
});
