// The states of a session, and every way from one to another. Nothing else changes them.
//
//     attached ─── loss ──→ detached ────── expired ──→ closed
//        │  ←── resume ───     │
//       bye                   bye
//        ↓                     ↓
//     closing ──── loss ──→ detached-closing ─────────→ closed
//        │  ←── resume ───
//        └─── the last acknowledgement, or a loss for good ───→ closed

/**
 * `attached`: it has a connection. `detached`: its connection is lost, and its client may come back. `closing`: `bye` is
 * said, and it is not known yet that everything has arrived. `detached-closing`: the connection was lost before that was
 * known. `closed`: it is over.
 */
export type SessionState = "attached" | "detached" | "closing" | "detached-closing" | "closed";

/**
 * `bye`: the last thing is said, or kept until the client is back. `loss`: the connection is gone, or given to nothing, and
 * the client may come back. `resume`: the client has come back over another connection. `end`: there is nothing to wait for.
 */
export type SessionEvent = "bye" | "loss" | "resume" | "end";

/** Undefined: that cannot happen in this state. */
const TRANSITIONS: Readonly<Record<SessionState, Readonly<Record<SessionEvent, SessionState | undefined>>>> =
  {
    attached: { bye: "closing", loss: "detached", resume: undefined, end: "closed" },
    detached: { bye: "detached-closing", loss: undefined, resume: "attached", end: "closed" },
    closing: { bye: undefined, loss: "detached-closing", resume: undefined, end: "closed" },
    "detached-closing": { bye: undefined, loss: undefined, resume: "closing", end: "closed" },
    closed: { bye: undefined, loss: undefined, resume: undefined, end: undefined },
  };

/** The state after `event`. @throws {Error} when it cannot happen in `state`: a fault of parley. */
export function transition(state: SessionState, event: SessionEvent): SessionState {
  const next = TRANSITIONS[state][event];
  if (next === undefined) throw new Error(`a session that is ${state} has no ${event}`);
  return next;
}

/** Has the session a connection on which it can say something? */
export function isAttached(state: SessionState): boolean {
  return state === "attached" || state === "closing";
}

/** Does the session wait for its client to come back? */
export function isDetached(state: SessionState): boolean {
  return state === "detached" || state === "detached-closing";
}
