// What the client says beside its messages: `ack` and `pong` to what it receives, and the size of its window. A server may send
// without end and read nothing: while much output waits, only the last reply of each kind is kept, which says as much as those before
// it (RFC 6455, 5.5.3, for pongs). client.ts makes one for each connection.

import type { Connection } from "../net/connection.ts";

type ReplyKind = "ack" | "pong" | "window";

export class Replies {
  readonly #connection: Pick<Connection, "writable" | "sendControl">;
  /** The replies that wait, as text, by kind. */
  readonly #waiting = new Map<ReplyKind, string>();

  constructor(connection: Pick<Connection, "writable" | "sendControl">) {
    this.#connection = connection;
  }

  send(kind: ReplyKind, text: string): void {
    const room = this.#connection.writable();
    if (room === undefined) return this.#connection.sendControl(text);
    if (this.#waiting.size === 0) void room.then(() => this.flush());
    this.#waiting.set(kind, text);
  }

  /** Sends what waits, whether there is room or not. */
  flush(): void {
    for (const text of this.#waiting.values()) this.#connection.sendControl(text);
    this.#waiting.clear();
  }
}
