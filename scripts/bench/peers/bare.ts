// The yardstick: Bun's own socket writing every chunk back, with no frames, no login and no limits.
//
//     bun bare.ts [--tls CERTIFICATE KEY | --to-all]
//
// It keeps what the kernel would not take, in order, as every correct echo must; nothing else is done for it.

import type { Socket } from "bun";

interface Queue {
  chunks: Uint8Array[];
}

const [mode, certificate = "", key = ""] = process.argv.slice(2);
const everybody = new Set<Socket<Queue>>();

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

function writeToAll(_: Socket<Queue>, chunk: Uint8Array): void {
  for (const socket of everybody) write(socket, chunk);
}

const server = Bun.listen<Queue>({
  hostname: "127.0.0.1",
  port: 0,
  tls: mode === "--tls" ? { cert: Bun.file(certificate), key: Bun.file(key) } : undefined,
  socket: {
    open(socket) {
      socket.data = { chunks: [] };
      if (mode === "--to-all") everybody.add(socket);
    },
    data: mode === "--to-all" ? writeToAll : write,
    drain,
    close: (socket) => void everybody.delete(socket),
    error: (socket) => void socket.end(),
  },
});
process.stdout.write(`listening on 127.0.0.1:${server.port}\n`);
