// Rooms: conversations that hear each other. What is said in one goes to all its members, encoded once, and waits for
// none: a member that does not read is dropped by its own limit, and the others never notice.

import type { Session, Room } from "./service.ts";

/** The rooms of one server, by name, and who is in which. An empty one is forgotten. */
export class Rooms {
  readonly #rooms = new Map<string, MemberRoom>();
  readonly #joined = new Map<Session, Set<MemberRoom>>();

  /** The room `name`, as it is for a session that is not in it. */
  find(name: string): Room {
    return this.#rooms.get(name) ?? this.#make(name);
  }

  /** The room `name`, with `member` in it. */
  join(name: string, member: Session): Room {
    const room = this.#rooms.get(name) ?? this.#make(name);
    this.#rooms.set(name, room);
    room.members.add(member);
    const joined = this.#joined.get(member) ?? new Set();
    this.#joined.set(member, joined.add(room));
    return room;
  }

  /** Takes `member` out of every room that it is in. */
  leaveAll(member: Session): void {
    for (const room of this.#joined.get(member) ?? []) room.leave(member);
  }

  #make(name: string): MemberRoom {
    return new MemberRoom(name, (room, member) => this.#left(room, member));
  }

  #left(room: MemberRoom, member: Session): void {
    if (room.members.size === 0) this.#rooms.delete(room.name);
    const joined = this.#joined.get(member);
    joined?.delete(room);
    if (joined?.size === 0) this.#joined.delete(member);
  }
}

class MemberRoom implements Room {
  readonly name: string;
  readonly members = new Set<Session>();
  readonly #left: (room: MemberRoom, member: Session) => void;

  constructor(name: string, left: (room: MemberRoom, member: Session) => void) {
    this.name = name;
    this.#left = left;
  }

  broadcast(message: string | Uint8Array, except?: Session): void {
    const bytes = typeof message === "string" ? Buffer.from(message) : message;
    for (const member of this.members) if (member !== except) member.send(bytes);
  }

  leave(member: Session): void {
    if (this.members.delete(member)) this.#left(this, member);
  }
}
