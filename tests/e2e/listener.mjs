// Somebody who listens by the TypeScript client, over gRPC or gRPC-web. Run by test_typescript.py.
//   node listener.mjs '{"baseUrl": ..., "protocol": "grpc" or "grpc-web", "email": ..., "password": ..., "count": 60}'
// Prints "live" once nothing is missed any more, then each message, then how often the stream was opened.
import { createRequire } from "node:module";
import { connect } from "../../clients/typescript/dist/src/node.js";

const { baseUrl, protocol, email, password, count } = JSON.parse(process.argv[2]);
const require = createRequire(new URL("../../clients/typescript/package.json", import.meta.url));
const { createGrpcWebTransport } = require("@connectrpc/connect-node");
const transport = protocol === "grpc-web" && { transport: createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }) };
const client = connect({ baseUrl, ...transport });
await client.logIn({ email, password });
const stream = client.watch();
stream.live.then(() => console.log("live"));
let heard = 0;
for await (const { payload } of stream) {
  if (payload.case !== "message") continue;
  console.log(payload.value.text);
  if (++heard === count) break;
}
console.log(stream.connections);
await client.logOut();
client.close();
