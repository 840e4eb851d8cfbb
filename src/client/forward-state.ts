// The states of a forwarded connection, and every way from one to another. Nothing else changes them.
//
//     waiting ── login ──→ open ── loss ──→ away
//                          │ │ ←─ resume ──┘ │
//                          │ └──── ended ────┴──→ confirming
//                         done
//                          ↓
//                      finishing                    and from each of them ── close ──→ closed

/**
 * `waiting`: the local program is connected, and the login to the server is not done. `open`: the conversation has a connection.
 * `away`: it has lost that, and may get another one. `finishing`: the conversation has ended, and everything that came is with the
 * local kernel; the local program has not closed its side. `confirming`: the local connection has ended in both directions, and the
 * server has not confirmed everything. `closed`: both are over.
 */
export type ForwardState = "waiting" | "open" | "away" | "finishing" | "confirming" | "closed";

/** `ended`: both directions of the local connection have come to their end. `close`: nothing more is to be done. */
export type ForwardEvent = "login" | "loss" | "resume" | "done" | "ended" | "close";

/** Undefined: that cannot happen in this state. */
const TRANSITIONS: Readonly<Record<ForwardState, Readonly<Partial<Record<ForwardEvent, ForwardState>>>>> = {
  waiting: { login: "open", close: "closed" },
  open: { loss: "away", done: "finishing", ended: "confirming", close: "closed" },
  away: { resume: "open", ended: "confirming", close: "closed" },
  finishing: { close: "closed" },
  confirming: { close: "closed" },
  closed: {},
};

/** The state after `event`. @throws {Error} when it cannot happen in `state`: a fault of parley. */
export function nextState(state: ForwardState, event: ForwardEvent): ForwardState {
  const next = TRANSITIONS[state][event];
  if (next === undefined) throw new Error(`a forwarded connection that is ${state} has no ${event}`);
  return next;
}
