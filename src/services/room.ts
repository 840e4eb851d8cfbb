// Rooms: a message to a room goes to all its members, and is encoded once. It waits for no member: one that does not read is closed
// by its own limit, and does not slow down the others. server/server.ts has the rooms of a server; sessions join and leave.

import { checkText } from "./arguments.ts";
import { encodedOf } from "./sendable.ts";
import type { Room, Sendable, Session } from "./service.ts";

/** The members of each room of one server, and the rooms of each member. An empty room takes no memory. */
export class Rooms {
  readonly #members = new Map<string, Set<Session>>();
  readonly #joined = new Map<Session, Set<string>>();

  /** The room `name`, without joining it. It may be kept: its members are always the present ones. */
  find(name: string): Room {
    return new NamedRoom(name, this.#members);
  }

  /** Adds `member` to the room `name`. */
  join(name: string, member: Session): Room {
    const room = this.find(name);
    add(this.#members, name, member);
    add(this.#joined, member, name);
    return room;
  }

  /** Removes `member` from the room `name`. */
  leave(name: string, member: Session): void {
    checkText("the name of a room", name);
    remove(this.#members, name, member);
    remove(this.#joined, member, name);
  }

  /** Removes `member` from all its rooms. */
  leaveAll(member: Session): void {
    for (const name of this.#joined.get(member) ?? []) this.leave(name, member);
  }
}

function add<Key, Value>(sets: Map<Key, Set<Value>>, key: Key, value: Value): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}

function remove<Key, Value>(sets: Map<Key, Set<Value>>, key: Key, value: Value): void {
  const set = sets.get(key);
  if (set?.delete(value) === true && set.size === 0) sets.delete(key);
}

class NamedRoom implements Room {
  readonly name: string;
  readonly #all: ReadonlyMap<string, ReadonlySet<Session>>;

  /** @throws {TypeError} for a name that is no text. */
  constructor(name: string, all: ReadonlyMap<string, ReadonlySet<Session>>) {
    checkText("the name of a room", name);
    this.name = name;
    this.#all = all;
  }

  get members(): ReadonlySet<Session> {
    return this.#all.get(this.name) ?? new Set();
  }

  names(): string[] {
    const users = [...this.members].map(({ user }) => user).filter((user) => user !== null);
    return [...new Set(users)].sort();
  }

  broadcast(message: Sendable, except?: Session): void {
    const payload = encodedOf(message);
    for (const member of this.members) if (member !== except) member.send(payload);
  }

  tell(name: string, message: Sendable): void {
    checkText("the name of a user", name);
    const payload = encodedOf(message);
    for (const member of this.members) if (member.user === name) member.send(payload);
  }
}
