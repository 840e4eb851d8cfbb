// A chat with a bot that knows the time: it reminds, counts down, and wakes up those who are silent.
//
//     parley serve --auth none --handler chat-bot.ts
//     parley connect 127.0.0.1:13131

import type { Handler, Message, Server, Session } from "./parley.d.ts";

const SECOND = Number(process.env["SECOND_MS"] ?? 1000); // shorter in a test
const SILENCE_SECONDS = 300;

interface Guest {
  name: string;
  /** Stops the timer that runs while the guest is silent. */
  stopTimer(): void;
}

let server: Server;

const say = (line: string) => server.room("chat").broadcast(line);

function waitFor(session: Session<Guest>): void {
  session.data.stopTimer();
  session.data.stopTimer = session.after(SILENCE_SECONDS * SECOND, () => {
    session.send(`bot: are you still there, ${session.data.name}?`);
  });
}

function countDown(session: Session<Guest>, from: number): void {
  let left = from;
  const stop = session.every(SECOND, () => {
    say(left > 0 ? `bot: ${left}` : `bot: go, says ${session.data.name}`);
    if (left-- === 0) stop();
  });
}

function command(session: Session<Guest>, text: string): void {
  const [, name, number, rest = ""] = /^\/(\w+)(?: (\d{1,5}))?(?: (.*))?$/.exec(text) ?? [];
  if (name === "remind" && number !== undefined) {
    session.after(Number(number) * SECOND, () => session.send(`bot: ${rest}`));
    session.send(`bot: I remind you in ${number} s`);
  } else if (name === "count" && number !== undefined) countDown(session, Number(number));
  else session.send("bot: /remind SECONDS TEXT, /count SECONDS");
}

export default {
  start(started) {
    server = started;
    server.every(3600 * SECOND, () => say(`bot: it is ${new Date().toLocaleTimeString()}`));
  },
  open(session) {
    session.data = { name: session.user ?? `guest-${session.id}`, stopTimer() {} };
    session.join("chat");
    say(`* ${session.data.name} joined`);
    waitFor(session);
  },
  message(session, message: Message) {
    const text = message.text();
    waitFor(session);
    if (text.startsWith("/")) command(session, text);
    else say(`${session.data.name}: ${text}`);
  },
  close(session) {
    say(`* ${session.data.name} left`);
  },
} satisfies Handler<Guest>;
