// The yardstick: Bun's own socket writing every chunk back, with no frames, no login and no limits.
//
// It keeps what the kernel would not take, in order, as every correct echo must; nothing else is done for it.

import type { Socket } from "bun";

interface Queue {
  chunks: Uint8Array[];
}

/** Writes until the kernel is full; what is left stays queued. */
function write(socket: Socket<Queue>, chunk: Uint8Array): void {
  const { chunks } = socket.data;
  const taken = chunks.length > 0 ? 0 : Math.max(0, socket.write(chunk));
  if (taken < chunk.length) chunks.push(chunk.subarray(taken));
}

function drain(socket: Socket<Queue>): void {
  const waiting = socket.data.chunks;
  socket.data.chunks = [];
  for (const chunk of waiting) write(socket, chunk);
}

const server = Bun.listen<Queue>({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    open: (socket) => void (socket.data = { chunks: [] }),
    data: write,
    drain,
    error: (socket) => void socket.end(),
  },
});
process.stdout.write(`listening on 127.0.0.1:${server.port}\n`);
