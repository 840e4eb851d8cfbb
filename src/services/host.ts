// What all sessions of a server share for its service: the rooms, the open sessions, and timers that belong to no session.

import { Rooms } from "./room.ts";
import type { Room, ServiceHost, Session } from "./service.ts";
import { Timers } from "./timers.ts";

export class Host implements ServiceHost {
  readonly rooms = new Rooms();
  readonly sessions = new Set<Session>();
  readonly fail: (error: unknown) => void;
  readonly #timers: Timers;

  /** @param fail called with an error that belongs to no session. */
  constructor(fail: (error: unknown) => void) {
    this.fail = fail;
    this.#timers = new Timers(fail);
  }

  room(name: string): Room {
    return this.rooms.find(name);
  }

  after(ms: number, callback: () => unknown): () => void {
    return this.#timers.after(ms, callback);
  }

  every(ms: number, callback: () => unknown): () => void {
    return this.#timers.every(ms, callback);
  }

  stopTimers(): void {
    this.#timers.stopAll();
  }

  /** Stops the timers for good. */
  end(): void {
    this.#timers.end();
  }
}
