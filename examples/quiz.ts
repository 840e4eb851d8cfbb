// A quiz for a class. All players get the same question, and the first right answer gets a point. The scores are kept in a file.
//
//     parley serve --handler quiz.ts --watch
//     parley connect ann@127.0.0.1:13131

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Handler, Server, Session } from "./parley.d.ts";

const QUESTIONS = [
  { ask: "2 + 2?", answer: "4" },
  { ask: "the capital of Japan?", answer: "Tokyo" },
  { ask: "the number of bits in a byte?", answer: "8" },
];
const TIME_MS = 1000 * Number(process.env["QUIZ_SECONDS"] ?? 20);
const FILE = process.env["QUIZ_SCORES"] ?? "scores.json";

/** Carried over when this file is loaded again, so that the game goes on. */
export const state = { asked: 0, isPlaying: false, scores: readScores() };

let server: Server;
let stopTimer = () => {};

function readScores(): Record<string, number> {
  return existsSync(FILE) ? JSON.parse(readFileSync(FILE, "utf8")) : {};
}

const hall = () => server.room("quiz");
const nameOf = ({ user, id }: Session) => user ?? `guest-${id}`;
const question = () => QUESTIONS[state.asked % QUESTIONS.length]!;

function scores(): string {
  const all = Object.entries(state.scores).sort((one, other) => other[1] - one[1]);
  return all.map(([name, points]) => `${name} ${points}`).join(", ") || "no points yet";
}

function ask(): void {
  state.isPlaying = hall().members.size > 0;
  stopTimer();
  if (!state.isPlaying) return;
  hall().broadcast(`question ${state.asked + 1}: ${question().ask}`);
  stopTimer = server.after(TIME_MS, () => next(`the time is over: ${question().answer}`));
}

function next(line: string): void {
  hall().broadcast(`* ${line}`);
  state.asked++;
  ask();
}

export default {
  start(started) {
    server = started;
    if (state.isPlaying) ask(); // the code is new, and its timer too
  },
  open(session) {
    hall().broadcast(`* ${nameOf(session)} plays, too`);
    session.join("quiz");
    if (state.isPlaying) session.send(`question ${state.asked + 1}: ${question().ask}`);
    else ask();
  },
  message(session, message) {
    const text = message.text().trim();
    const name = nameOf(session);
    if (text === "/scores") return session.send(`* ${scores()}`);
    if (text.toLowerCase() !== question().answer.toLowerCase()) return session.send(`* ${text} is wrong`);
    state.scores[name] = (state.scores[name] ?? 0) + 1;
    writeFileSync(FILE, JSON.stringify(state.scores));
    next(`${name} is right: ${question().answer}. ${scores()}`);
  },
  detached: (session) => hall().broadcast(`* ${nameOf(session)} is away`),
  attached: (session) => hall().broadcast(`* ${nameOf(session)} is back`),
  close: (session) => hall().broadcast(`* ${nameOf(session)} has left`),
} satisfies Handler;
