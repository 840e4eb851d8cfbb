// A chat: what one says, all hear, the speaker too, so that the order is the same for everybody.
//
//     ann: hello        * ann joined        * here: ann, bob        ann → bob: hello
//
// A line that begins with a slash is a command; one that begins with two is said, with one of them.
//
// Written with nothing that a handler file lacks.

import type { Session, Room, Service } from "./service.ts";

/** What a newcomer hears of what was said before. */
const MAX_HISTORY = 50;
/** In characters: more is no chat, and the history stays small. */
const MAX_LENGTH = 4000;
/** Something to see in each character. */
const NAME = /^(?!.*\p{DI})[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,31}$/u;
/** In one message: whoever pastes a book is not chatting. */
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
      // A line each, so that nobody speaks in another's name.
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
