// The service of a chat with one room. Each line goes to all members, also to its speaker, so that all see the same order. It uses
// only what a handler file has, too.
//
//     ann: hello        * ann joined        * here: ann, bob        ann → bob: hello
//
// A line that begins with one slash is a command. Of two slashes the first is removed, and the line is said.

import type { Session, Room, Service } from "./service.ts";

/** Earlier lines that a new member gets. */
const MAX_HISTORY = 50;
/** Characters of a message. Keeps the history small. */
const MAX_LENGTH = 4000;
/** A guest's name: no character of it is invisible. */
const NAME = /^(?!.*\p{DI})[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,31}$/u;
/** Lines of a message. */
const MAX_LINES = 50;

export function chat(): Service {
  const history: string[] = [];
  let guests = 0;

  const nameOf = (session: Session) => String(session.data);
  const hall = (session: Session) => session.room("chat");
  const names = (room: Room) => [...new Set([...room.members].map(nameOf))].sort();
  const isTaken = (room: Room, name: string) =>
    names(room).some((other) => other.toLowerCase() === name.toLowerCase());
  const named = (room: Room, name: string) =>
    [...room.members].filter((member) => nameOf(member).toLowerCase() === name.toLowerCase());

  function say(session: Session, line: string): void {
    history.push(line);
    if (history.length > MAX_HISTORY) history.shift();
    hall(session).broadcast(line);
  }

  function rename(session: Session, wanted: string): void {
    const name = wanted.normalize("NFKC");
    const room = hall(session);
    if (session.user !== null) return session.send("* your name is that of your login");
    if (!NAME.test(name))
      return session.send("* a name has 1 to 32 letters, digits, dots, dashes and underscores");
    const isOwn = name.toLowerCase() === nameOf(session).toLowerCase();
    if (!isOwn && isTaken(room, name)) return session.send(`* somebody is called ${name} already`);
    const before = nameOf(session);
    session.data = name;
    say(session, `* ${before} is now ${name}`);
  }

  function whisper(session: Session, to: string, text: string): void {
    const listeners = named(hall(session), to);
    const [listener] = listeners;
    if (listener === undefined) return session.send(`* nobody here is called ${to}: /who`);
    const line = `${nameOf(session)} → ${nameOf(listener)}: ${text}`;
    for (const one of new Set([...listeners, session])) one.send(line);
  }

  function command(session: Session, line: string): void {
    const [, name = "", rest = ""] = /^\/(\S*)\s*(.*)$/u.exec(line) ?? [];
    const [, to = "", text = ""] = /^(\S+)\s+(.+)$/u.exec(rest) ?? [];
    if (name === "who") session.send(`* here: ${names(hall(session)).join(", ")}`);
    else if (name === "name" && rest !== "") rename(session, rest);
    else if (name === "msg" && text !== "") whisper(session, to, text);
    else session.send(`* /who, /msg NAME TEXT${session.user === null ? ", /name NAME" : ""}; //x says /x`);
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
      if (!isHere) say(session, `* ${nameOf(session)} joined`);
      session.send(`* here: ${names(hall(session)).join(", ")}`);
    },

    message(session, payload) {
      const text = session.text(payload);
      if (text.length > MAX_LENGTH) return session.send(`* not said: over ${MAX_LENGTH} characters`);
      // Each line gets the speaker's name: otherwise a second line could begin with another name.
      const lines = text.split(/[\r\n\u2028\u2029\v\f\u0085]+/);
      if (lines.length > MAX_LINES) return session.send(`* not said: over ${MAX_LINES} lines at once`);
      for (const line of lines) {
        if (line.trim() === "") continue;
        const isSlashed = line.startsWith("//");
        if (line.startsWith("/") && !isSlashed) command(session, line);
        else say(session, `${nameOf(session)}: ${isSlashed ? line.slice(1) : line}`);
      }
    },

    close(session) {
      if (!isTaken(hall(session), nameOf(session))) say(session, `* ${nameOf(session)} left`);
    },
  };
}
