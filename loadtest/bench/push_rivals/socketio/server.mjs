// Socket.IO with its Redis adapter, as its documentation has it: node server.mjs <port> <redis url>
// ioredis and not redis, because the adapter's documentation warns that the latter may not subscribe again.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const [port, redisUrl] = process.argv.slice(2);
const publishing = new Redis(redisUrl);
const subscribed = publishing.duplicate();

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publishing, subscribed),
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});
io.on("connection", async (socket) => {
  await socket.join(socket.handshake.query.user);
  // Its documentation advises to drop the request of the handshake, for memory, when it is not needed again.
  socket.conn.request = null;
  socket.emit("welcome");
});

// The adapter does not wait until it is subscribed. Redis answers in order.
await subscribed.ping();
http.listen(Number(port), "127.0.0.1");
