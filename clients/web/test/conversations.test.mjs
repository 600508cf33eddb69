// node --test clients/web/test/conversations.test.mjs
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const { build } = createRequire(new URL("../../typescript/package.json", import.meta.url))("esbuild");
const entry = fileURLToPath(new URL("../src/conversations.ts", import.meta.url));
const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: "esm", write: false });
const { Conversations } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`);

const ME = "me";
const BOB = "bob";

class Shelf extends Map {
  getItem = (key) => this.get(key) ?? null;
  setItem = (key, value) => this.set(key, value);
}

const happened = (name, value, epoch = 1n) => ({ channelId: "c", epoch, seq: value.seq ?? 0n, payload: { case: name, value } });
const said = (seq, senderId, clientId = `${senderId}-${seq}`) => ({ seq: BigInt(seq), senderId, clientId, text: `m${seq}`, change: 0n });
const texts = (conversation) => conversation.messages.map(({ text }) => text);

test("messages stand in order and once, wherever they come from", () => {
  const all = new Conversations(ME, new Shelf());
  const talk = all.take(happened("message", said(3, BOB)), 0);
  talk.add([said(2, ME), said(1, BOB), said(3, BOB)], ME);
  all.take(happened("message", said(2, ME)), 0);
  assert.deepEqual(texts(talk), ["m1", "m2", "m3"]);
  assert.equal(talk.otherId, BOB);
  assert.equal(talk.newestOf(BOB), 3n);
  assert.equal(talk.newestOf("nobody"), 0n);
});

test("a draft goes when its message comes", () => {
  const talk = new Conversations(ME, new Shelf()).at("c", BOB);
  talk.drafts.set("d", { clientId: "d", text: "m1", failed: false });
  talk.take(happened("message", said(1, BOB, "d")), ME, 0);
  assert.equal(talk.drafts.size, 1);
  talk.take(happened("message", said(2, ME, "d")), ME, 0);
  assert.equal(talk.drafts.size, 0);
});

test("what the other wrote after my mark is unread, and marks only move forward", () => {
  const talk = new Conversations(ME, new Shelf()).at("c", BOB);
  talk.add([said(1, BOB), said(2, ME), said(3, BOB)], ME);
  assert.equal(talk.unread(ME), 2);
  talk.take(happened("read", { userId: ME, seq: 2n }), ME, 0);
  talk.take(happened("read", { userId: ME, seq: 1n }), ME, 0);
  assert.equal(talk.unread(ME), 1);
  talk.take(happened("read", { userId: BOB, seq: 3n }), ME, 0);
  assert.equal(talk.readByOther, 3n);
});

test("an edit replaces what is shown, older versions do not, and what is deleted is not unread", () => {
  const talk = new Conversations(ME, new Shelf()).at("c", BOB);
  talk.add([said(1, BOB), said(2, BOB)], ME);
  talk.take(happened("changed", { ...said(1, BOB), text: "better", change: 2n }), ME, 0);
  talk.take(happened("message", said(1, BOB)), ME, 0);
  talk.take(happened("changed", { ...said(7, BOB), change: 3n }), ME, 0);
  assert.deepEqual(texts(talk), ["better", "m2"]);
  talk.take(happened("changed", { ...said(2, BOB), text: "", change: 4n, deleteTime: {} }), ME, 0);
  assert.equal(talk.unread(ME), 1);
});

test("only the other's presence is shown", () => {
  const talk = new Conversations(ME, new Shelf()).at("c", BOB);
  talk.take(happened("presence", { userId: "cid", online: true }), ME, 0);
  assert.equal(talk.presence, undefined);
  talk.take(happened("presence", { userId: BOB, online: true }), ME, 0);
  assert.equal(talk.presence.online, true);
});

test("a sign of typing lasts five seconds, or until the message", () => {
  const talk = new Conversations(ME, new Shelf()).at("c", BOB);
  talk.take(happened("typing", { userId: ME }), ME, 1000);
  assert.equal(talk.typingUntil, 0);
  talk.take(happened("typing", { userId: BOB }), ME, 1000);
  assert.equal(talk.typingUntil, 6000);
  talk.take(happened("message", said(1, BOB)), ME, 2000);
  assert.equal(talk.typingUntil, 0);
});

test("a gap empties it; a new epoch forgets the marks too", () => {
  const talk = new Conversations(ME, new Shelf()).at("c", BOB);
  talk.take(happened("message", said(9, BOB)), ME, 0);
  talk.take(happened("read", { userId: ME, seq: 9n }), ME, 0);
  talk.take(happened("gap", { firstSeq: 20n }), ME, 0);
  assert.deepEqual(texts(talk), []);
  assert.equal(talk.readByMe, 9n);
  talk.take(happened("message", said(1, BOB), 2n), ME, 0);
  assert.deepEqual(texts(talk), ["m1"]);
  assert.equal(talk.readByMe, 0n);
});

test("conversations are remembered by user, and nonsense is not", () => {
  const shelf = new Shelf();
  new Conversations(ME, shelf).at("c", BOB);
  assert.deepEqual(new Conversations(ME, shelf).all.map(({ id, otherId }) => [id, otherId]), [["c", BOB]]);
  assert.deepEqual(new Conversations(BOB, shelf).all, []);
  for (const nonsense of ["", "{", "null", "{}", '[1, {"id": 2}]']) {
    shelf.setItem(`greenroom.conversations.${ME}`, nonsense);
    assert.deepEqual(new Conversations(ME, shelf).all, []);
  }
});
