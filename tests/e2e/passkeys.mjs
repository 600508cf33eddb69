// Passkeys in a real Chromium with a virtual authenticator. Run by tests/e2e/test_passkeys.py.
//   node passkeys.mjs '{"site": "http://localhost:port", "email": ..., "password": ..., "folder": where the profile goes}'
// Prints one line of JSON: what happened, step by step.
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const typescript = new URL("../../clients/typescript/", import.meta.url);
const require = createRequire(new URL("package.json", typescript));
const { chromium } = require("playwright-core");
const { build } = require("esbuild");
const plan = JSON.parse(process.argv[2]);

/** The TypeScript client as a page loads it. */
async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("src/browser.ts", typescript))],
    bundle: true,
    charset: "utf8",
    format: "iife",
    globalName: "greenroom",
    write: false,
  });
  return outputFiles[0].text;
}

/** A page of an origin with the client in it. */
async function stand(context, origin) {
  const page = await context.newPage();
  await page.goto(`${origin}/passkeys`);
  await page.evaluate((baseUrl) => {
    globalThis.client = greenroom.connect({ baseUrl });
    // What a step ends with, or how it fails: by a reason of the server or an error of the browser.
    globalThis.outcome = async (step) => {
      try {
        return await step();
      } catch (error) {
        return greenroom.reasonOf(error) || error.name;
      }
    };
  }, plan.site);
  return page;
}

/** A device with a fingerprint reader, as far as the page can tell. */
async function authenticator(context, page) {
  const devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return {
    credentials: async () => (await devtools.send("WebAuthn.getCredentials", { authenticatorId })).credentials,
    add: (credential) => devtools.send("WebAuthn.addCredential", { authenticatorId, credential }),
    verifies: (isUserVerified) => devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified }),
  };
}

const register = () => outcome(async () => (await greenroom.registerPasskey(client, "Ada's laptop")).label);
const logIn = () =>
  outcome(async () => {
    const { user, session } = await greenroom.logInWithPasskey(client, { deviceName: "by passkey" });
    const me = (await client.auth.getMe({})).user;
    return { same: me.id === user.id, device: session.deviceName };
  });
const prove = () =>
  outcome(async () => {
    const value = await greenroom.provePasskey(client);
    await client.auth.reauthenticate({ proof: { case: "passkeyJson", value } });
    return "raised";
  });

/** The same as logIn by nothing but fetch and the browser, over REST. */
const logInOverRest = (site) =>
  outcome(async () => {
    const post = async (path, body) => {
      const headers = { "content-type": "application/json" };
      const reply = await fetch(`${site}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
      return { status: reply.status, ...(await reply.json()) };
    };
    const { optionsJson } = await post("/v1/auth/passkeys:startLogin", {});
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(optionsJson));
    const credentialJson = JSON.stringify(await navigator.credentials.get({ publicKey }));
    const first = await post("/v1/auth/passkeys:finishLogin", { credentialJson, deviceName: "by fetch" });
    const again = await post("/v1/auth/passkeys:finishLogin", { credentialJson });
    const reason = again.details.find((detail) => detail.reason)?.reason;
    return { email: first.signedIn.user.email, again: [again.status, reason] };
  });

async function visit(context) {
  const html = `<!doctype html><meta charset="utf-8"><script>${await bundle()}</script>`;
  // Nothing serves such a page at the site's own address; that of a stranger is served, because browsers guard the
  // loopback from pages that come from nowhere.
  await context.route(`${plan.site}/passkeys`, (route) => route.fulfill({ contentType: "text/html", body: html }));
  const elsewhere = createServer((_request, reply) => reply.writeHead(200, { "content-type": "text/html" }).end(html));
  await once(elsewhere.listen(0, "127.0.0.1"), "listening");
  const happened = {};
  const page = await stand(context, plan.site);
  const device = await authenticator(context, page);
  const { email, password } = plan;
  await page.evaluate((who) => client.logIn(who), { email, password });
  happened.supported = await page.evaluate(() => greenroom.hasPasskeys());
  happened.registered = await page.evaluate(register);
  happened.registeredAgain = await page.evaluate(register);
  happened.proved = await page.evaluate(prove);
  await page.evaluate(() => client.logOut());
  happened.loggedIn = await page.evaluate(logIn);
  happened.overRest = await page.evaluate(logInOverRest, plan.site);
  const [credential] = await device.credentials();
  happened.credential = { resident: credential.isResidentCredential, rpId: credential.rpId, count: credential.signCount };
  await device.verifies(false);
  happened.unverified = await page.evaluate(logIn);
  await device.verifies(true);

  // Of the same domain, so that the browser lets it use the passkey; the server must not.
  const stranger = await stand(context, `http://localhost:${elsewhere.address().port}`);
  const copy = await authenticator(context, stranger);
  await copy.add({ ...credential, signCount: credential.signCount + 100 });
  happened.stranger = await stranger.evaluate(logIn);
  await stranger.close();

  const thief = await stand(context, plan.site);
  const clone = await authenticator(context, thief);
  await clone.add({ ...credential, signCount: 0 });
  happened.clone = await thief.evaluate(logIn);
  await thief.close();

  await page.bringToFront();
  happened.removed = await page.evaluate(() =>
    outcome(async () => {
      const { passkeys } = await client.passkeys.listPasskeys({});
      await client.passkeys.deletePasskey({ passkeyId: passkeys[0].id });
      return passkeys.map(({ label, lastUsedTime }) => [label, lastUsedTime !== undefined]);
    }),
  );
  happened.afterwards = await page.evaluate(logIn);
  return happened;
}

const context = await chromium.launchPersistentContext(join(plan.folder, "profile"), {
  executablePath: process.env.CHROME ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
context.setDefaultTimeout(20_000);
try {
  console.log(JSON.stringify(await visit(context)));
} catch (error) {
  console.log(JSON.stringify({ why: String(error?.stack ?? error) }));
  process.exitCode = 1;
} finally {
  await context.close();
  process.exit();
}
