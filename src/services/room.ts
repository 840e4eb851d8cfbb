// Rooms: a message to a room goes to all its members, and is encoded once. It waits for no member: one that does not read is closed
// by its own limit, and does not slow down the others. server/server.ts has the rooms of a server; sessions join and leave.

import { encodedOf } from "./sendable.ts";
import type { Room, Sendable, Session } from "./service.ts";

/** The rooms of one server, by name, and the rooms of each member. An empty room is removed. */
export class Rooms {
  readonly #rooms = new Map<string, MemberRoom>();
  readonly #joined = new Map<Session, Set<MemberRoom>>();

  /** The room `name`, without joining it. */
  find(name: string): Room {
    return this.#rooms.get(name) ?? this.#make(name);
  }

  /** Adds `member` to the room `name`. */
  join(name: string, member: Session): Room {
    const room = this.#rooms.get(name) ?? this.#make(name);
    this.#rooms.set(name, room);
    room.members.add(member);
    const joined = this.#joined.get(member) ?? new Set();
    this.#joined.set(member, joined.add(room));
    return room;
  }

  /** Removes `member` from the room `name`. */
  leave(name: string, member: Session): void {
    this.#rooms.get(name)?.remove(member);
  }

  /** Removes `member` from all its rooms. */
  leaveAll(member: Session): void {
    for (const room of this.#joined.get(member) ?? []) room.remove(member);
  }

  #make(name: string): MemberRoom {
    return new MemberRoom(name, (room, member) => this.#onLeave(room, member));
  }

  #onLeave(room: MemberRoom, member: Session): void {
    if (room.members.size === 0) this.#rooms.delete(room.name);
    const joined = this.#joined.get(member);
    joined?.delete(room);
    if (joined?.size === 0) this.#joined.delete(member);
  }
}

class MemberRoom implements Room {
  readonly name: string;
  readonly members = new Set<Session>();
  readonly #onLeave: (room: MemberRoom, member: Session) => void;

  constructor(name: string, onLeave: (room: MemberRoom, member: Session) => void) {
    this.name = name;
    this.#onLeave = onLeave;
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
    const payload = encodedOf(message);
    for (const member of this.members) if (member.user === name) member.send(payload);
  }

  remove(member: Session): void {
    if (this.members.delete(member)) this.#onLeave(this, member);
  }
}
