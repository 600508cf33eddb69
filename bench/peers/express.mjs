// The REST peer: Express, jsonwebtoken and one table. Nothing in it that the two routes do not need.

import { randomUUID } from "node:crypto";
import express from "express";
import jwt from "jsonwebtoken";
import { openStore } from "./store.mjs";

const secret = process.env.PEER_SECRET;
const store = await openStore(process.env.PEER_DATABASE);

function signedIn(request, response, next) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  try {
    if (scheme !== "Bearer") throw new Error("no token");
    request.user = jwt.verify(token, secret, { algorithms: ["HS256"] });
  } catch {
    response.status(401).json({ error: "unauthenticated" });
    return;
  }
  next();
}

const app = express();
app.disable("x-powered-by");
app.disable("etag");

app.post("/v1/channels/:id/messages", signedIn, express.json(), async (request, response) => {
  const { client_id: clientId, text } = request.body;
  const row = await store.insert(randomUUID(), request.params.id, request.user.sub, clientId, text);
  response.status(201).json(row);
});

app.get("/v1/channels/:id/messages", signedIn, async (request, response) => {
  const limit = Math.min(Number(request.query.limit ?? 50), 200);
  response.json({ messages: await store.newest(request.params.id, limit) });
});

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
server.keepAliveTimeout = 60_000;
