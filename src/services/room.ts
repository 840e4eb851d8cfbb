// Rooms: conversations that hear each other. What is said in one goes to all its members, encoded once, and waits for
// none: a member that does not read is dropped by its own limit, and the others never notice.

import type { Session, Room } from "./service.ts";

/** The rooms of one server, by name. An empty one is forgotten. */
export class Rooms {
  readonly #rooms = new Map<string, MemberRoom>();

  /** The room `name`, as it is for somebody outside. */
  find(name: string): Room {
    return this.#rooms.get(name) ?? this.#make(name);
  }

  /** The room `name`, with `member` in it. */
  join(name: string, member: Session): Room {
    const room = this.#rooms.get(name) ?? this.#make(name);
    this.#rooms.set(name, room);
    room.members.add(member);
    return room;
  }

  #make(name: string): MemberRoom {
    return new MemberRoom(name, () => this.#rooms.delete(name));
  }
}

class MemberRoom implements Room {
  readonly name: string;
  readonly members = new Set<Session>();
  readonly #emptied: () => void;

  constructor(name: string, emptied: () => void) {
    this.name = name;
    this.#emptied = emptied;
  }

  broadcast(message: string | Uint8Array, except?: Session): void {
    const bytes = typeof message === "string" ? Buffer.from(message) : message;
    for (const member of this.members) if (member !== except) member.send(bytes);
  }

  leave(member: Session): void {
    if (this.members.delete(member) && this.members.size === 0) this.#emptied();
  }
}
