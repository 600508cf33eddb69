// A person at the console, in a real Chromium. Run by tests/e2e/test_chromium.py, which plays everybody else:
// what only others can do is asked for, one JSON line each way.
//   node tour.mjs '{"page": address, "api": address, "bob": user id, "folder": where pictures go, "steps": "all"}'
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ask, check, plan } from "./stage.mjs";

const { chromium } = createRequire(new URL("../../typescript/package.json", import.meta.url))("playwright-core");

const complaints = [];
const WAIT = 15_000;

async function signUpAndLogIn(page, email, password) {
  await page.getByRole("tab", { name: "Sign up" }).click();
  const form = page.getByRole("tabpanel", { name: "Sign up" });
  await form.getByLabel("Name", { exact: true }).fill("Ada");
  await form.getByLabel("E-mail").fill(email);
  await form.getByLabel("Password").fill("short");
  await form.getByRole("button", { name: "Sign up" }).click();
  await form.getByRole("alert").waitFor();
  check(await form.getByLabel("Password").getAttribute("aria-invalid"), "the short password is not marked");
  await form.getByLabel("Password").fill(password);
  await form.getByRole("button", { name: "Sign up" }).click();
  const { token } = await ask("token", { email });
  const confirmation = page.getByRole("tabpanel", { name: "Confirm address" });
  await confirmation.getByLabel("Token").fill(token);
  await confirmation.getByRole("button", { name: "Confirm" }).click();
  const entrance = page.getByRole("tabpanel", { name: "Log in" });
  await entrance.getByLabel("Password").fill(password);
  await entrance.getByRole("button", { name: "Log in" }).click();
  await state(page, "Live");
}

/** Waits for a state of the connection. */
async function state(page, text) {
  await page.locator("#link", { hasText: text }).waitFor({ timeout: WAIT });
}

async function openTalk(page) {
  await page.getByLabel("User id").fill(plan.bob);
  await page.getByRole("button", { name: "Open" }).click();
  await page.getByRole("textbox", { name: "Message" }).waitFor();
}

/** Waits until the messages are these, in this order and each once. */
async function messagesAre(page, texts) {
  const shown = () => [...document.querySelectorAll("#messages li > p")].map(({ textContent }) => textContent).join(" | ");
  const wanted = texts.join(" | ");
  const end = Date.now() + WAIT;
  // Not by waitForFunction: that evaluates in the page, and the page's policy forbids it.
  for (let found = ""; found !== wanted; ) {
    check(Date.now() < end, `wanted ${wanted}; the page shows ${found}`);
    await setTimeout(30);
    found = await page.evaluate(shown);
  }
}

async function talk(page) {
  const me = await page.locator("#my-id").textContent();
  await openTalk(page);
  await ask("send", { to: me, texts: ["Hello from Python"] });
  await messagesAre(page, ["Hello from Python"]);
  await ask("read", { by: me });
  const box = page.getByRole("textbox", { name: "Message" });
  await box.pressSequentially("Hello back");
  await ask("typing");
  await box.press("Enter");
  await messagesAre(page, ["Hello from Python", "Hello back"]);
  await ask("received", { texts: ["Hello back"] });
  await page.locator("#messages .mine small", { hasText: "Read" }).waitFor({ timeout: WAIT });
  await page.locator("#typing", { hasText: "is typing" }).waitFor({ timeout: WAIT });
  return me;
}

/** Nothing is lost while the server cannot be reached, nor by a connection that is given up. */
async function survive(page, me) {
  await ask("cut");
  await state(page, "trying again");
  await ask("send", { to: me, texts: ["one", "two", "three"] });
  await ask("mend");
  await messagesAre(page, ["Hello from Python", "Hello back", "one", "two", "three"]);
  await state(page, "Live");
  await page.getByRole("button", { name: "Cut the connection" }).click();
  await ask("send", { to: me, texts: ["four"] });
  await messagesAre(page, ["Hello from Python", "Hello back", "one", "two", "three", "four"]);
}

/** Another device is logged out from here; this one stays logged in over a reload. */
async function devices(page) {
  await ask("phone");
  await page.reload();
  await state(page, "Live");
  await page.getByRole("button", { name: "Log out Ada's phone" }).click();
  await ask("phone is out");
  await page.locator("#devices", { hasText: "this device" }).waitFor();
  await page.getByRole("list").getByRole("button", { name: /^User / }).click();
  await messagesAre(page, ["Hello from Python", "Hello back", "one", "two", "three", "four"]);
}

async function picture(page, name) {
  await page.screenshot({ path: join(plan.folder, `${name}.png`) });
}

async function visit(page) {
  await page.goto(`${plan.page}?api=${encodeURIComponent(plan.api)}`);
  const { email, password } = await ask("person");
  await picture(page, "entrance");
  if (plan.steps === "refused") {
    const entrance = page.getByRole("tabpanel", { name: "Log in" });
    await entrance.getByLabel("E-mail").fill(email);
    await entrance.getByLabel("Password").fill(password);
    await entrance.getByRole("button", { name: "Log in" }).click();
    await entrance.getByRole("alert").filter({ hasText: "cannot be reached" }).waitFor({ timeout: WAIT });
    return;
  }
  await signUpAndLogIn(page, email, password);
  const me = await talk(page);
  if (plan.steps === "all") {
    await survive(page, me);
    await devices(page);
  }
  await picture(page, "talk");
  await page.setViewportSize({ width: 390, height: 844 });
  await picture(page, "narrow");
  await page.getByRole("button", { name: "Log out", exact: true }).click();
  await page.getByRole("tabpanel", { name: "Log in" }).waitFor();
  check((await page.evaluate("localStorage.length + sessionStorage.length")) <= 1, "tokens are left in the page");
}

/** The page under an address where nothing serves it: the API's own, or that of a stranger. */
async function stand(context) {
  if (plan.html === undefined) return;
  await context.route(`${plan.page}*`, (route) => route.fulfill({ contentType: "text/html", path: plan.html }));
}

const context = await chromium.launchPersistentContext(join(plan.folder, "profile"), {
  executablePath: process.env.CHROME ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1200, height: 800 },
  locale: "en-GB",
  colorScheme: plan.colours ?? "light",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(WAIT);
page.on("pageerror", (error) => complaints.push(`${error}`));
page.on("console", (message) => {
  // A browser logs every request that fails, also those that are meant to.
  if (message.type() === "error" && !message.text().includes("Failed to load resource")) complaints.push(message.text());
});
try {
  await stand(context);
  await visit(page);
  if (plan.steps !== "refused") check(complaints.length === 0, `the page complained: ${complaints.join("; ")}`);
  console.log(JSON.stringify({ done: true }));
} catch (error) {
  await picture(page, "failure").catch(() => undefined);
  console.log(JSON.stringify({ done: false, why: String(error), complaints }));
  process.exitCode = 1;
} finally {
  await context.close();
  process.exit();
}
