// A server of the test's own that says and does exactly what the test tells it to.

import { createServer, type AddressInfo, type Socket } from "node:net";
import { Watched } from "./watched.ts";
import { frame } from "./peer.ts";

export const HELLO = {
  type: "hello",
  protocol: "parley/1",
  service: "fake",
  auth: ["none"],
  nonce: Buffer.alloc(24).toString("base64"),
  max_frame: 1048576,
};
export const WELCOME = { type: "welcome", user: null, known: false, control: true };

export interface FakeServer extends Disposable {
  port: number;
  address: string;
  /** Everything that any client sent, as latin-1. */
  received: Watched;
}

/** Listens on a free port; `greet` gets each connection. */
export async function fakeServer(greet: (socket: Socket, received: Watched) => void): Promise<FakeServer> {
  const received = new Watched();
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => received.append(chunk.toString("latin1")));
    greet(socket, received);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    address: `127.0.0.1:${port}`,
    received,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** hello, any login, welcome. */
export async function letIn(socket: Socket, received: Watched): Promise<void> {
  socket.write(frame(JSON.stringify(HELLO)));
  await received.see('"login"');
  socket.write(frame(JSON.stringify(WELCOME)));
}
