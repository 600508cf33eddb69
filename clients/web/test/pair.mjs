// Two people at two consoles in a real Chromium. Run by tests/e2e/test_chromium_pair.py, which has the servers:
// what only it can know or do is asked for, one JSON line each way.
//   node pair.mjs '{"page": address, "html": file, "people": [{"id", "email"}, …], "password": …, "folder": for pictures}'
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ask, check, plan } from "./stage.mjs";

const { chromium } = createRequire(new URL("../../typescript/package.json", import.meta.url))("playwright-core");

const complaints = [];
const WAIT = 20_000;
/** Until it is known that somebody has gone for good: a process that was killed is given up after 45 seconds. */
const GONE = 60_000;
const CUTS = 30;
const AROUND = 5;
const ROUNDS = 3;

/** Somebody at a console of their own. */
class Reader {
  sent = [];

  constructor(name, context, { id, email }) {
    Object.assign(this, { name, context, id, email });
  }

  /** Opens the page; whoever has stayed logged in is in at once. */
  async open() {
    this.page = await this.context.newPage();
    this.page.setDefaultTimeout(WAIT);
    this.page.on("pageerror", (error) => complaints.push(`${this.name}: ${error}`));
    await this.page.goto(plan.page);
  }

  async logIn() {
    const entrance = this.page.getByRole("tabpanel", { name: "Log in" });
    await entrance.getByLabel("E-mail").fill(this.email);
    await entrance.getByLabel("Password").fill(plan.password);
    await entrance.getByLabel("Stay logged in").check();
    await entrance.getByRole("button", { name: "Log in" }).click();
    await this.live();
  }

  async live() {
    await this.shows("#link", /^Live$/);
  }

  /** Waits until a place of the page has this text. */
  async shows(place, text, timeout = WAIT) {
    const found = this.page.locator(place, { hasText: text }).first();
    await found.waitFor({ timeout }).catch(async () => {
      const texts = await this.page.locator(place).allTextContents();
      throw new Error(`${this.name} does not see ${text} in ${place}, but ${JSON.stringify(texts)}`);
    });
  }

  async talkTo(other) {
    await this.page.getByLabel("User id").fill(other.id);
    await this.page.getByRole("button", { name: "Open" }).click();
    await this.box.waitFor();
  }

  get box() {
    return this.page.getByRole("textbox", { name: "Message" });
  }

  /**
   * Types until the other page shows it, a letter after each so many milliseconds: within two seconds of an earlier
   * sign the server passes none on.
   */
  async typeFor(other, patience) {
    const sign = other.page.locator("#typing", { hasText: "is typing" });
    await sign.waitFor({ state: "hidden" });
    const end = Date.now() + WAIT;
    for (let seen = false; !seen; ) {
      check(Date.now() < end, `${other.name} does not see that ${this.name} is typing`);
      await this.box.press("o");
      seen = await sign.waitFor({ timeout: patience }).then(() => true, () => false);
    }
  }

  /** Writes a message, whose text it returns, and waits until the server has it; sends again what was not sent. */
  async write() {
    const text = `${this.name} ${this.sent.length + 1}`;
    this.sent.push(text);
    await this.box.fill(text);
    await this.box.press("Enter");
    const entry = this.page.locator("#messages li.mine", { has: this.page.getByText(text, { exact: true }) });
    const confirmed = entry.and(this.page.locator("[data-seq]"));
    const again = entry.getByRole("button", { name: "Try again" });
    for (;;) {
      await confirmed.or(again).first().waitFor();
      if ((await confirmed.count()) > 0) return text;
      // It may have come by the stream meanwhile, and then there is nothing to press.
      await again.click({ timeout: 500 }).catch(() => undefined);
    }
  }

  /** The messages in the page's order. */
  async texts() {
    return await this.page.locator("#messages li > p").allTextContents();
  }

  async connections() {
    return Number(await this.page.locator("#opened").textContent());
  }

  /** Has the page open its stream anew, as after a bad network. */
  async reconnect() {
    const before = await this.connections();
    await this.page.getByRole("button", { name: "Cut the connection" }).click();
    await this.shows("#opened", new RegExp(`^${before + 1}$`));
    await this.live();
  }
}

/** Leaves the two streams in different processes; only the one page's is moved. */
async function separate(moved) {
  for (let cuts = 0; cuts < CUTS; cuts++) {
    const { counts } = await ask("streams", { total: 2 });
    if (counts.every((count) => count === 1)) return;
    await moved.reconnect();
  }
  throw new Error(`after ${CUTS} cuts both streams are in one process`);
}

/** Waits until both pages show every message: once, in one order for both, and in the order of their writing. */
async function nothingIsLost(ann, bob) {
  const all = [...ann.sent, ...bob.sent].sort();
  for (const reader of [ann, bob]) {
    const end = Date.now() + WAIT;
    while ((await reader.texts()).length < all.length) {
      check(Date.now() < end, `${reader.name} waits for ${all.length} messages and sees ${await reader.texts()}`);
      // A page that was opened anew begins with the newest.
      const earlier = reader.page.getByRole("button", { name: "Earlier messages" });
      if (await earlier.isVisible()) await earlier.click({ timeout: 500 }).catch(() => undefined);
      // Not by waitForFunction: that evaluates in the page, and the page's policy forbids it.
      await setTimeout(30);
    }
  }
  const [seen, others] = [await ann.texts(), await bob.texts()];
  check(`${seen}` === `${others}`, `one sees ${seen}, the other ${others}`);
  check(`${[...seen].sort()}` === `${all}`, `wanted ${all}, seen ${seen}`);
  for (const writer of [ann, bob]) {
    const own = seen.filter((text) => text.startsWith(writer.name));
    check(`${own}` === `${writer.sent}`, `${writer.name} wrote ${writer.sent}, seen ${own}`);
  }
}

/** Each types, writes to the other and is read. */
async function talk(ann, bob, patience) {
  const ways = [[ann, bob], [bob, ann]];
  await Promise.all(ways.map(([writer, other]) => writer.typeFor(other, patience)));
  for (const [writer] of ways) {
    const text = await writer.write();
    await writer.shows(`#messages .mine:has(p:text-is("${text}")) small`, "Read");
  }
  await nothingIsLost(ann, bob);
}

/** Both write before, during and after something bad; `hit` are those whose stream does not survive it. */
async function writeThrough(incident, ann, bob, hit, details = {}) {
  const before = await Promise.all(hit.map((reader) => reader.connections()));
  let over = false;
  const writing = [ann, bob].map(async (reader) => {
    while (!over) await reader.write();
    for (let count = 0; count < AROUND; count++) await reader.write();
  });
  const happened = async () => {
    const enough = [ann, bob].map(({ sent }) => sent.length + AROUND);
    while ([ann, bob].some(({ sent }, index) => sent.length < enough[index])) await setTimeout(10);
    await ask(incident, details);
    over = true;
  };
  await Promise.all([happened(), ...writing]);
  await Promise.all([ann.live(), bob.live()]);
  await nothingIsLost(ann, bob);
  for (const [index, reader] of hit.entries()) {
    check((await reader.connections()) > before[index], `the stream of ${reader.name} did not break: ${incident}`);
  }
}

async function visit(ann, bob) {
  await ann.open();
  await ann.logIn();
  await ann.talkTo(bob);
  const home = (await ask("streams", { total: 1 })).counts.indexOf(1);
  await bob.open();
  await bob.logIn();
  await bob.talkTo(ann);
  await separate(bob);
  await ann.shows("#presence", "Online");
  await bob.shows("#presence", "Online");
  // Some of these calls come to the server that has the other's stream, some to the other one. Each sign is seen.
  for (let round = 1; round < ROUNDS; round++) {
    await Promise.all([ann.typeFor(bob, WAIT), bob.typeFor(ann, WAIT)]);
  }
  await talk(ann, bob, WAIT);

  await writeThrough("kill server", ann, bob, [ann], { number: home });
  await separate(bob);
  await writeThrough("restart envoy", ann, bob, [ann, bob]);
  await separate(bob);
  await talk(ann, bob, 200);

  await bob.page.close();
  await ann.shows("#presence", "Last seen", GONE);
  await bob.open();
  await bob.live();
  await ann.shows("#presence", "Online");
  await bob.talkTo(ann);
  await nothingIsLost(ann, bob);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROME ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** A browser of somebody's own, which finds the console where the API is. */
async function reader(name, person) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, locale: "en-GB" });
  await context.route(plan.page, (route) => route.fulfill({ contentType: "text/html", path: plan.html }));
  return new Reader(name, context, person);
}

const ann = await reader("Ann", plan.people[0]);
const bob = await reader("Bob", plan.people[1]);
try {
  await visit(ann, bob);
  check(complaints.length === 0, `a page complained: ${complaints.join("; ")}`);
  console.log(JSON.stringify({ done: true, messages: ann.sent.length + bob.sent.length }));
} catch (error) {
  for (const { page, name } of [ann, bob]) {
    await page?.screenshot({ path: join(plan.folder, `${name}.png`) }).catch(() => undefined);
  }
  console.log(JSON.stringify({ done: false, why: String(error), complaints }));
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit();
}
