/**
 * A visit to a real server, over gRPC or gRPC-web. Run by tests/e2e/test_typescript.py, which does what only
 * others can do: it is asked by a line and answers by a line.
 *   node dist/tests/visit.js '{"transport": "grpc", "url": ..., "email": ..., "password": ..., "bob": user id, "file": ...}'
 */
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { ConnectOptions } from "../src/node.js";
import { Code, connect, ConnectError, FileTokenStore, items, newId, reasonOf, SignedOut, violationsOf } from "../src/node.js";

const plan = JSON.parse(process.argv[2] ?? "{}") as Record<"transport" | "url" | "email" | "password" | "bob" | "file", string>;
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ask(what: string): Promise<void> {
  console.log(what);
  assert.equal((await answers.next()).done, false);
}

function open() {
  const options: ConnectOptions = { baseUrl: plan.url, tokenStore: new FileTokenStore(plan.file) };
  return connect(
    plan.transport === "grpc" ? options : { ...options, transport: createGrpcWebTransport({ baseUrl: plan.url }) },
  );
}

const client = open();

// What the server refuses says why, across the wire.
const wrong = await client.logIn({ email: plan.email, password: "not the password" }).catch((error: unknown) => error);
assert.ok(wrong instanceof ConnectError && wrong.code === Code.Unauthenticated, String(wrong));
assert.equal(reasonOf(wrong), "AUTH_ERROR_REASON_BAD_CREDENTIALS");
const faulty = await client.auth.signUp({ email: "nobody", password: "short" }).catch((error: unknown) => error);
assert.equal(reasonOf(faulty), "WIRE_ERROR_REASON_INVALID_FIELD");
assert.deepEqual(Object.keys(violationsOf(faulty)).sort(), ["email", "password"]);

// A session that is kept in a file, and renewed.
const { user } = await client.logIn({ email: plan.email, password: plan.password, deviceName: "visit" });
const before = client.keeper.tokens!.access;
assert.notEqual(await client.keeper.renewed(before), before);
assert.equal((await client.auth.getMe({})).user?.id, user?.id);
const again = open();
const devices = [];
for await (const session of items(again.sessions.listSessions, { pageSize: 1 })) devices.push(session);
assert.equal(devices.find(({ current }) => current)?.deviceName, "visit");
assert.ok(devices.length > 1);

// A stream that is cut, by the network and by itself, while the other writes.
const { channel } = await client.channels.getDirectChannel({ userId: plan.bob });
const channelId = channel!.id;
const send = (text: string) => client.messages.sendMessage({ channelId, clientId: newId(), text });
const stopped = new AbortController();
const stream = client.watch({ channelIds: [channelId], signal: stopped.signal });
const heard: string[] = [];
let enough: { count: number; reached: () => void } | undefined;
const listening = (async () => {
  for await (const { payload } of stream) {
    if (payload.case === "message") heard.push(payload.value.text);
    if (enough !== undefined && heard.length >= enough.count) enough.reached();
  }
})();
const hear = (count: number) =>
  new Promise<void>((reached) => {
    enough = { count, reached };
    if (heard.length >= count) reached();
  });
await stream.live;
await send("one");
await hear(1);
await ask("cut, send two and three, mend");
await hear(3);
stream.cut();
await send("four");
await hear(4);
assert.deepEqual(heard, ["one", "two", "three", "four"]);
assert.ok(stream.connections >= 3, `${stream.connections} connections`);
stopped.abort();
await listening;

// The history, a page at a time.
const history: string[] = [];
for await (const { text } of items(client.messages.listMessages, { channelId, pageSize: 2 })) history.push(text);
assert.deepEqual(history, ["four", "three", "two", "one"]);

// The end of the session is one everywhere.
await client.logOut();
await assert.rejects(client.auth.getMe({}), SignedOut);
await assert.rejects(again.auth.getMe({}), SignedOut);
assert.equal(new FileTokenStore(plan.file).load(), undefined);
client.close();
again.close();
console.log("done");
process.exit();
