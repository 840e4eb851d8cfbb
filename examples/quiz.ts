// A quiz for a class. All players get the same question, and the first right answer gets a point. The scores are kept in a file.
//
//     parley serve --handler quiz.ts --watch
//     parley connect ann@127.0.0.1:13131

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Handler, Server, Session } from "./parley.d.ts";

const QUESTIONS = [
  { ask: "2 + 2?", answer: "4" },
  { ask: "the capital of Japan?", answer: "Tokyo" },
  { ask: "the number of bits in a byte?", answer: "8" },
];
const TIME_MS = 1000 * Number(process.env["QUIZ_SECONDS"] ?? 20);
const FILE = process.env["QUIZ_SCORES"] ?? `${import.meta.dir}/scores.json`;
const readScores = (): Record<string, number> =>
  existsSync(FILE) ? JSON.parse(readFileSync(FILE, "utf8")) : {};

/** Carried over when this file is loaded again, so that the game goes on. */
export const state = { number: 1, index: 0, scores: readScores() };
let server: Server;
let stopTimer = () => {};

const hall = () => server.room("quiz");
const nameOf = ({ user, id }: Session) => user ?? `guest-${id}`;
const question = () => QUESTIONS[state.index] ?? QUESTIONS[0]!; // fewer of them may be left
const asking = () => `question ${state.number}: ${question().ask}`;

function scores(): string {
  const all = Object.entries(state.scores).sort((one, other) => other[1] - one[1]);
  return all.map(([name, points]) => `${name} ${points}`).join(", ") || "no points yet";
}

/** Says something of a player to the others, unless the same person plays in another window, too. */
function announce(player: Session, what: string): void {
  const isOther = (one: Session) => one !== player && one.attached && nameOf(one) === nameOf(player);
  if (![...hall().members].some(isOther)) hall().broadcast(`* ${nameOf(player)} ${what}`, player);
}

function ask(): void {
  stopTimer();
  if (hall().members.size === 0) return;
  hall().broadcast(asking());
  stopTimer = server.after(TIME_MS, () => next(`the time is over: ${question().answer}`));
}

function next(line: string): void {
  hall().broadcast(`* ${line}`);
  state.number++;
  state.index = (state.index + 1) % QUESTIONS.length;
  ask();
}

export default {
  start(started) {
    server = started;
    ask(); // the code is new, and its timer too
  },
  open(session) {
    announce(session, "plays, too");
    session.join("quiz");
    if (hall().members.size === 1) ask();
    else session.send(asking());
  },
  message(session, message) {
    const text = message.text().trim();
    if (text === "") return;
    if (text === "/scores") return session.send(`* ${scores()}`);
    if (text.toLowerCase() !== question().answer.toLowerCase()) return session.send(`* ${text} is wrong`);
    const name = nameOf(session);
    state.scores[name] = (state.scores[name] ?? 0) + 1;
    writeFileSync(`${FILE}.new`, JSON.stringify(state.scores));
    renameSync(`${FILE}.new`, FILE); // the file is always whole
    next(`${name} is right: ${question().answer}. ${scores()}`);
  },
  detached: (session) => announce(session, "is away"),
  attached: (session) => announce(session, "is back"),
  close: (session) => announce(session, "has left"),
} satisfies Handler;
