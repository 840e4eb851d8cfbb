// What all sessions of a server share for its service: the rooms, the open sessions, and timers that belong to no session.

import { Rooms } from "./room.ts";
import type { Room, ServiceHost, Session } from "./service.ts";
import { Timers } from "./timers.ts";

export class Host implements ServiceHost {
  readonly rooms: Rooms;
  readonly sessions: Set<Session>;
  readonly fail: (error: unknown) => void;
  readonly #timers: Timers;
  #next: ServiceHost | undefined;

  /** @param fail called with an error that belongs to no session. */
  constructor(fail: (error: unknown) => void, rooms = new Rooms(), sessions = new Set<Session>()) {
    this.fail = fail;
    this.rooms = rooms;
    this.sessions = sessions;
    this.#timers = new Timers(fail);
  }

  room(name: string): Room {
    return this.rooms.find(name);
  }

  after(ms: number, callback: () => unknown): () => void {
    return (this.#next ?? this.#timers).after(ms, callback);
  }

  every(ms: number, callback: () => unknown): () => void {
    return (this.#next ?? this.#timers).every(ms, callback);
  }

  fork(): Host {
    return new Host(this.fail, this.rooms, this.sessions);
  }

  end(next?: ServiceHost): void {
    this.#timers.end();
    this.#next = next;
  }
}
