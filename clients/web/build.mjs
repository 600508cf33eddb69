// Builds the console into one file, dist/index.html beside this one: nothing else has to be served.
//   node build.mjs                 builds it
//   node build.mjs --serve [port]  serves it on the loopback and builds it anew for each visit (8081 by default)
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = new URL("./", import.meta.url);
// The console needs nothing that clients/typescript has not installed.
const { build } = createRequire(new URL("../typescript/package.json", here))("esbuild");

async function bundled(entry) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(entry, here))],
    tsconfig: fileURLToPath(new URL("tsconfig.json", here)),
    bundle: true,
    charset: "utf8",
    format: "iife",
    legalComments: "none",
    minify: true,
    target: ["es2022", "chrome123", "firefox124", "safari17.5"],
    write: false,
  });
  return outputFiles[0].text.trim();
}

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** The page as one text. It runs the script and the style that are in it, and nothing else. */
async function page() {
  const [script, style] = await Promise.all([bundled("src/main.ts"), bundled("style.css")]);
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "img-src data:",
    "connect-src http: https:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const parts = {
    policy: `<meta http-equiv="content-security-policy" content="${policy}">`,
    style: `<style>${style}</style>`,
    script: `<script>${script}</script>`,
  };
  const frame = readFileSync(new URL("index.html", here), "utf8");
  return frame.replace(/<!-- (policy|style|script) -->/g, (_mark, name) => parts[name]);
}

async function write() {
  const html = await page();
  const target = new URL("dist/index.html", here);
  mkdirSync(new URL("./", target), { recursive: true });
  // Two builds at once leave a whole file, whichever comes last.
  const beside = new URL(`dist/index.html.${process.pid}`, here);
  writeFileSync(beside, html);
  renameSync(beside, target);
  console.log(`${fileURLToPath(target)}: ${Math.round(Buffer.byteLength(html) / 1000)} KB`);
}

function serve(port) {
  const answer = async (_request, response) => {
    try {
      const html = await page();
      response.writeHead(200, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" }).end(html);
    } catch (error) {
      response.writeHead(500, { "content-type": "text/plain; charset=utf-8" }).end(String(error));
    }
  };
  const server = createServer(answer).listen(port, "127.0.0.1", () => {
    const address = `http://127.0.0.1:${server.address().port}`;
    console.log(`The console is at ${address}/?api=http://127.0.0.1:8080 (api= names the server). Stop with Ctrl-C.`);
  });
}

const [option, port = "8081"] = process.argv.slice(2);
if (option === "--serve") serve(Number(port));
else await write();
