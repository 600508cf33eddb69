// The pages that mails link to, in a real Chromium. Run by tests/e2e/test_pages.py.
//   node pages.mjs '{"visits": [{"link": ..., "passwords": [...], "locale": ...}]}'
// Prints one line of JSON: for each visit what was seen, step by step.
import { createRequire } from "node:module";

const typescript = new URL("../../clients/typescript/", import.meta.url);
const require = createRequire(new URL("package.json", typescript));
const { chromium } = require("playwright-core");
const plan = JSON.parse(process.argv[2]);

const said = (page) => page.locator("#said").innerText();

/** Waits for the page to say something else. */
async function heard(page, before) {
  await page.waitForFunction((text) => document.getElementById("said").innerText !== text, before);
  return said(page);
}

async function visit(browser, { link, passwords, locale }) {
  const context = await browser.newContext({ locale: locale ?? "en-GB" });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const seen = { errors: [], requests: [], said: [] };
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.requests.push(`${request.method()} ${request.url()}`));
  await page.goto(link);
  seen.title = await page.title();
  seen.language = await page.evaluate(() => document.documentElement.lang);
  seen.address = page.url();
  seen.said.push(await said(page));
  seen.before = seen.requests.length;
  for (const [password, again] of passwords ?? [[]]) {
    const before = await said(page);
    if (password !== undefined) {
      await page.fill("#password", password);
      await page.fill("#again", again ?? password);
    }
    if (!(await page.locator("#go").isVisible())) break;
    await page.click("#go");
    seen.said.push(await heard(page, before));
  }
  seen.button = await page.locator("#go").isVisible();
  if (await page.locator("#next").isVisible()) {
    await page.waitForURL("**/log-in");
    seen.end = await page.locator("body").innerText();
  }
  await context.close();
  return seen;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROME ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const seen = [];
  for (const each of plan.visits) seen.push(await visit(browser, each));
  console.log(JSON.stringify(seen));
} catch (error) {
  console.log(JSON.stringify({ why: String(error?.stack ?? error) }));
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit();
}
