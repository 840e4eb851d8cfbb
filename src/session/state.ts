// The states of a session, and all transitions between them.
//
//     attached ─── loss ──→ detached ────── expired ──→ closed
//        │  ←── resume ───     │
//       bye                   bye
//        ↓                     ↓
//     closing ──── loss ──→ detached-closing ─────────→ closed
//        │  ←── resume ───
//        └─── the last acknowledgement, or a loss for good ───→ closed

/**
 * `attached`: it has a connection. `detached`: its connection is lost, and its client may resume. `closing`: `bye`
 * was sent, and its arrival is not confirmed yet. `detached-closing`: the connection was lost before that. `closed`: the session has
 * ended.
 */
export type SessionState = "attached" | "detached" | "closing" | "detached-closing" | "closed";

/**
 * `bye`: `bye` was sent, or is kept until the client resumes. `loss`: the connection is lost or released, and the client may
 * resume. `resume`: the client has resumed over another connection. `end`: no further event is awaited.
 */
export type SessionEvent = "bye" | "loss" | "resume" | "end";

/** Undefined: the event is impossible in this state. */
const TRANSITIONS: Readonly<Record<SessionState, Readonly<Record<SessionEvent, SessionState | undefined>>>> =
  {
    attached: { bye: "closing", loss: "detached", resume: undefined, end: "closed" },
    detached: { bye: "detached-closing", loss: undefined, resume: "attached", end: "closed" },
    closing: { bye: undefined, loss: "detached-closing", resume: undefined, end: "closed" },
    "detached-closing": { bye: undefined, loss: undefined, resume: "closing", end: "closed" },
    closed: { bye: undefined, loss: undefined, resume: undefined, end: undefined },
  };

/** The state after `event`. @throws {Error} when the event is impossible in `state`, which is a fault of parley. */
export function transition(state: SessionState, event: SessionEvent): SessionState {
  const next = TRANSITIONS[state][event];
  if (next === undefined) throw new Error(`a session that is ${state} has no ${event}`);
  return next;
}

/** True when the session has a connection for output. */
export function isAttached(state: SessionState): boolean {
  return state === "attached" || state === "closing";
}

/** True while the session waits for its client to resume. */
export function isDetached(state: SessionState): boolean {
  return state === "detached" || state === "detached-closing";
}
