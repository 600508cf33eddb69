// The live peer: a Socket.IO room to which each message goes once it is stored.

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";
import { openStore } from "./store.mjs";

const secret = process.env.PEER_SECRET;
const store = await openStore(process.env.PEER_DATABASE);

const server = createServer();
const io = new Server(server, {
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
});

io.use((socket, next) => {
  try {
    socket.data.user = jwt.verify(socket.handshake.auth.token, secret, { algorithms: ["HS256"] });
    next();
  } catch {
    next(new Error("unauthenticated"));
  }
});

io.on("connection", (socket) => {
  socket.on("watch", (channelIds, done) => {
    socket.join(channelIds);
    done();
  });
  socket.on("send", async (channelId, clientId, text, done) => {
    const row = await store.insert(randomUUID(), channelId, socket.data.user.sub, clientId, text);
    io.to(channelId).emit("message", row);
    done(row);
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
