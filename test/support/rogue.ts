// Servers of an attacker: one that speaks TLS with a certificate of its own and does what the test says, and one that
// sits in the middle and passes everything on in both directions, reading along.

import type { AddressInfo, Socket } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import type { TlsIdentity } from "../../src/net/tls.ts";

export interface Rogue extends Disposable {
  port: number;
  address: string;
  /** Every byte that clients sent inside TLS, as latin-1. */
  received: string;
  /** Every byte that went to clients inside TLS, as latin-1. */
  passed: string;
  /** Channels that came about. */
  channels: number;
}

/** Listens with `identity`; `greet` gets each channel once it is established. */
export async function tlsServer(
  { key, certificate }: TlsIdentity,
  greet: (socket: TLSSocket, rogue: Rogue) => void,
): Promise<Rogue> {
  const sockets = new Set<Socket>();
  const server = createServer({ key, cert: certificate, minVersion: "TLSv1.3" }, (socket) => {
    rogue.channels++;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => (rogue.received += chunk.toString("latin1")));
    greet(socket, rogue);
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const rogue: Rogue = {
    port,
    address: `127.0.0.1:${port}`,
    received: "",
    passed: "",
    channels: 0,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return rogue;
}

/** A channel to the server at `port`, whoever that is. */
export function tlsClient(port: number, options: { maxVersion?: "TLSv1.2" } = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
    socket.once("error", reject);
    socket.once("secureConnect", () => {
      socket.on("error", () => undefined);
      resolve(socket);
    });
  });
}

/** In the middle, before the TLS server at `target`. */
export function manInTheMiddle(identity: TlsIdentity, target: number): Promise<Rogue> {
  return tlsServer(identity, (client, rogue) => {
    const server = connect({ port: target, host: "127.0.0.1", rejectUnauthorized: false });
    server.on("data", (chunk: Buffer) => (rogue.passed += chunk.toString("latin1")));
    server.on("error", () => client.destroy());
    client.on("close", () => server.destroy());
    client.pipe(server);
    server.pipe(client);
  });
}
