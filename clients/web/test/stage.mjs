// How a script in a browser talks with the test that runs it: one JSON line each way.
import { createInterface } from "node:readline";

export const plan = JSON.parse(process.argv[2]);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something, and waits until it is done. */
export async function ask(what, details = {}) {
  console.log(JSON.stringify({ ask: what, ...details }));
  const { value, done } = await answers.next();
  if (done) throw new Error("the test has gone");
  return JSON.parse(value);
}

export function check(condition, what) {
  if (!condition) throw new Error(what);
}
