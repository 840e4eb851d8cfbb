// A way that breaks: passes bytes on in both directions, and cuts each connection after a random number of them, with a
// reset or an end. It knows nothing of what it carries, so that it works under TLS too.

import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface CuttingOptions {
  /** Where to. It may change: a server that is started again may have another port. */
  port: number;
  /** Cuts in all; after them nothing is cut any more. */
  cuts?: number;
  seed?: number;
  /** Bytes until a cut, both directions together: from `least` up to `most`. */
  least?: number;
  most?: number;
  /** At least so many on the first connection: one that never got through is not come back to. */
  first?: number;
  /** Sees what is passed on, over which connection: 1 is the first. */
  tap?(direction: "up" | "down", bytes: Buffer, connection: number): void;
  /**
   * How many of the cuts, from 0 to 1, keep what the client said last, and hand it to the server over the old connection once
   * the next one is in use: a resume that arrives late, messages of a connection that was replaced.
   */
  late?: number;
  /** A client hears all that its server said, and then an end, however the server came to its own. */
  gentle?: boolean;
}

export interface CuttingProxy extends Disposable {
  port: number;
  address: string;
  /** Cuts so far. */
  done: number;
  /** Connections so far. */
  connections: number;
  /** Chunks that arrived late. */
  late: number;
  options: CuttingOptions;
  /** Cuts every connection that is open now. */
  cutAll(how: "reset" | "end"): void;
}

/** Numbers from 0 up to 1 that are the same for the same seed: mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export async function cuttingProxy(options: CuttingOptions): Promise<CuttingProxy> {
  const random = seeded(options.seed ?? 1);
  const pairs = new Set<[Socket, Socket]>();
  const held: { connection: number; to: Socket; bytes: Buffer }[] = [];
  /** Hands on what was held of connections before `connection`. */
  const release = (connection: number) => {
    for (const one of held.splice(0)) {
      if (one.connection >= connection) held.push(one);
      else {
        proxy.late++;
        one.to.write(one.bytes);
      }
    }
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const connection = ++proxy.connections;
    const upstream = connect({
      port: options.port,
      host: "127.0.0.1",
      allowHalfOpen: true,
      noDelay: true,
    });
    const pair: [Socket, Socket] = [client, upstream];
    pairs.add(pair);
    const { cuts = 0, least = 100, most = 3000, first = 2000, late = 0 } = options;
    const mayBeLate = late > 0 && connection > 1 && proxy.done < cuts;
    // The first that a client says on a plain connection is its resume.
    const isResumeLate = mayBeLate && random() < late / 2;
    let isHeld = false;
    let answers = 0;
    const start = proxy.connections === 1 ? first : 0;
    let left = proxy.done < cuts ? Math.floor(start + least + random() * (most - least)) : Infinity;
    const carry = (from: Socket, to: Socket, direction: "up" | "down") => {
      from.on("data", (chunk: Buffer) => {
        if (left <= 0) return;
        const part = chunk.length < left ? chunk : chunk.subarray(0, left);
        left -= chunk.length;
        options.tap?.(direction, part, connection);
        // After `hello` and `welcome`, before anything is acknowledged over it.
        if (direction === "down" && ++answers === 2) release(connection);
        if (direction === "up" && (isResumeLate || (left <= 0 && mayBeLate && random() < late))) {
          isHeld = true;
          proxy.done++;
          held.push({ connection, to, bytes: chunk });
          from.resetAndDestroy();
          return;
        }
        if (to.destroyed) return; // what it says to nobody is read, or its end would be a reset
        if (left > 0) {
          if (to.write(part)) return;
          from.pause();
          to.once("drain", () => from.resume());
          return;
        }
        proxy.done++;
        const how = random() < 0.5 ? "reset" : "end";
        // What was passed on is to arrive before the cut, mostly.
        to.write(part, () => cut(pair, how));
      });
      from.on("end", () => {
        if (!isHeld) to.end();
      });
      from.on("error", () => {
        if (isHeld) return;
        if (options.gentle === true) to.end();
        else to.resetAndDestroy();
      });
      from.on("close", () => {
        if (isHeld && from === client) return;
        pairs.delete(pair);
        if (!to.destroyed) to.end();
      });
    };
    carry(client, upstream, "up");
    carry(upstream, client, "down");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const proxy: CuttingProxy = {
    port,
    address: `127.0.0.1:${port}`,
    done: 0,
    connections: 0,
    late: 0,
    options,
    cutAll(how) {
      for (const pair of pairs) cut(pair, how);
    },
    [Symbol.dispose]() {
      server.close();
      for (const sockets of pairs) for (const socket of sockets) socket.destroy();
    },
  };
  return proxy;
}

function cut(pair: [Socket, Socket], how: "reset" | "end"): void {
  for (const socket of pair) {
    if (how === "reset") socket.resetAndDestroy();
    else socket.destroySoon();
  }
}
