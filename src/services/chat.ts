// The service of a chat with one room. Each line goes to all members, also to its speaker, so that all see the same order. It uses
// only what a handler file has, too: a copy of this file is one.
//
//     ann: hello        * ann joined        * here: ann, bob        ann → bob: hello
//
// A line that begins with one slash is a command. Of two slashes the first is removed, and the line is said.

import { setTimeout as delay } from "node:timers/promises";
import type { Session, Room, Service } from "./service.ts";

/** Earlier lines that a new member gets. */
const MAX_HISTORY = 50;
/** Characters of a message. Keeps the history small. */
const MAX_LENGTH = 4000;
/** A guest's name: no character of it is invisible. */
const NAME = /^(?!.*\p{DI})[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,31}$/u;
/** Lines of a message. */
const MAX_LINES = 50;
/** What one member may say in a second; further lines wait. A person types one line in a second. */
const RATION = { lines: 50, bytes: 32 * 1024 };
/** The time for which a member may say that much at once. */
const AT_ONCE_MS = 4000;
/** Members whose rations are remembered: more than connect at once. */
const MAX_RATIONS = 4096;

/** How often a member hears that its lines wait, at most. */
const WARN_AGAIN_MS = 60_000;

/** How much a user, or an address without a login, says to all. */
class Ration {
  /** The times until which the lines and the bytes are used up, by `performance.now`. */
  #lines = 0;
  #bytes = 0;
  /** The time of the last warning to its member. */
  warnedAt = -Infinity;

  /** Counts a line; the milliseconds until the next one may follow. */
  spend(line: string): number {
    const now = performance.now();
    this.#lines = usedUp(this.#lines, 1 / RATION.lines, now);
    this.#bytes = usedUp(this.#bytes, Buffer.byteLength(line) / RATION.bytes, now);
    return Math.max(0, Math.max(this.#lines, this.#bytes) - now - AT_ONCE_MS);
  }
}

/** The time until which a ration is used up, `seconds` of it more than before; no wait is longer than AT_ONCE_MS. */
function usedUp(until: number, seconds: number, now: number): number {
  return Math.min(Math.max(until, now) + 1000 * seconds, now + 2 * AT_ONCE_MS);
}

export function chat(): Service {
  const history: string[] = [];
  const rations = new Map<string, Ration>();
  let guests = 0;

  const nameOf = (session: Session) => String(session.data);
  const hall = (session: Session) => session.join("chat"); // its members stay in it
  const names = (room: Room) => [...new Set([...room.members].map(nameOf))].sort();
  const isTaken = (room: Room, name: string) =>
    names(room).some((other) => other.toLowerCase() === name.toLowerCase());
  const named = (room: Room, name: string) =>
    [...room.members].filter((member) => nameOf(member).toLowerCase() === name.toLowerCase());

  function rationOf({ user, peer }: Session): Ration {
    const source = user ?? peer.slice(0, peer.lastIndexOf(":"));
    const ration = rations.get(source) ?? new Ration();
    rations.delete(source); // the one that has waited longest is the first
    for (const oldest of rations.keys()) {
      if (rations.size < MAX_RATIONS) break;
      rations.delete(oldest);
    }
    rations.set(source, ration);
    return ration;
  }

  /** The milliseconds until `session` may say more. */
  function say(session: Session, line: string): number {
    history.push(line);
    if (history.length > MAX_HISTORY) history.shift();
    hall(session).broadcast(line);
    return rationOf(session).spend(line);
  }

  /** Waits before more is heard from `session`. */
  function pause(session: Session, waitMs: number): Promise<void> | undefined {
    const ration = rationOf(session);
    if (waitMs === 0) return undefined;
    const now = performance.now();
    if (now - ration.warnedAt >= WARN_AGAIN_MS) {
      ration.warnedAt = now;
      session.send(`* you send too fast: the chat sends ${RATION.lines} of your lines a second`);
    }
    return delay(waitMs, undefined, { signal: session.signal, ref: false });
  }

  function rename(session: Session, wanted: string): void | number {
    const name = wanted.normalize("NFKC");
    const room = hall(session);
    if (session.user !== null)
      return session.send("* you cannot change your name: it is the name of your login");
    if (!NAME.test(name))
      return session.send("* a name has 1 to 32 letters, digits, dots, dashes and underscores");
    const isOwn = name.toLowerCase() === nameOf(session).toLowerCase();
    if (!isOwn && isTaken(room, name)) return session.send(`* the name ${name} is taken`);
    const before = nameOf(session);
    session.data = name;
    return say(session, `* ${before} is now ${name}`);
  }

  function whisper(session: Session, to: string, text: string): void | number {
    const listeners = named(hall(session), to);
    const [listener] = listeners;
    if (listener === undefined) return session.send(`* ${to} is not here; /who lists the names`);
    const line = `${nameOf(session)} → ${nameOf(listener)}: ${text}`;
    for (const one of new Set([...listeners, session])) one.send(line);
    return rationOf(session).spend(line);
  }

  /** The milliseconds until `session` may say more, where it has said something. */
  function command(session: Session, line: string): void | number {
    const [, name = "", rest = ""] = /^\/(\S*)\s*(.*)$/u.exec(line) ?? [];
    const [, to = "", text = ""] = /^(\S+)\s+(.+)$/u.exec(rest) ?? [];
    if (name === "who") session.send(`* here: ${names(hall(session)).join(", ")}`);
    else if (name === "name" && rest !== "") return rename(session, rest);
    else if (name === "msg" && text !== "") return whisper(session, to, text);
    else
      session.send(
        `* commands: /who, /msg NAME TEXT${session.user === null ? ", /name NAME" : ""}; //x sends /x`,
      );
  }

  return {
    open(session) {
      let name = session.user;
      while (name === null || (session.user === null && isTaken(hall(session), name)))
        name = `guest-${++guests}`;
      session.data = name;
      for (const line of history) session.send(line);
      const isHere = [...hall(session).members].some(
        (member) => member !== session && nameOf(member) === nameOf(session),
      );
      const wait = isHere ? 0 : say(session, `* ${nameOf(session)} joined`);
      session.send(`* here: ${names(hall(session)).join(", ")}`);
      return pause(session, wait);
    },

    message(session, message) {
      const text = message.text();
      if (text.length > MAX_LENGTH) return session.send(`* not sent: longer than ${MAX_LENGTH} characters`);
      // Each line gets the speaker's name: otherwise a second line could begin with another name.
      const lines = text.split(/[\r\n\u2028\u2029\v\f\u0085]+/);
      if (lines.length > MAX_LINES) return session.send(`* not sent: more than ${MAX_LINES} lines at once`);
      let wait = 0;
      for (const line of lines) {
        if (line.trim() === "") continue;
        const isSlashed = line.startsWith("//");
        if (line.startsWith("/") && !isSlashed) wait = command(session, line) ?? wait;
        else wait = say(session, `${nameOf(session)}: ${isSlashed ? line.slice(1) : line}`);
      }
      return pause(session, wait);
    },

    close(session) {
      if (!isTaken(hall(session), nameOf(session))) say(session, `* ${nameOf(session)} left`);
    },
  };
}

export default chat();
