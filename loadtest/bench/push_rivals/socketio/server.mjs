// A server with Socket.IO and its Redis adapter, as in their documentation: node server.mjs <port> <redis url>
// It uses ioredis. The adapter's documentation warns that the package redis may not resubscribe after a reconnect.
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
  // The documentation advises to drop the unused handshake request, to save memory.
  socket.conn.request = null;
  socket.emit("welcome");
});

// The adapter does not wait for its subscription. Redis answers in order, so after this ping it is subscribed.
await subscribed.ping();
http.listen(Number(port), "127.0.0.1");
