// The states of the link to an engine, and every way from one to another. Nothing else changes them.
//
//     waiting ── try ──→ connecting ── session ──→ established
//        ↑                   │                          │
//        └────── loss ───────┴────────── loss ──────────┘         and from each of them ── close ──→ closed

/**
 * `waiting`: there is no session, and no try to get one. `connecting`: a try is made. `established`: there is a session. `closed`: there
 * will be no session any more.
 */
export type LinkState = "waiting" | "connecting" | "established" | "closed";

/** `loss`: the try has failed, or the session has ended. */
export type LinkEvent = "try" | "session" | "loss" | "close";

/** Undefined: that cannot happen in this state. */
const TRANSITIONS: Readonly<Record<LinkState, Readonly<Partial<Record<LinkEvent, LinkState>>>>> = {
  waiting: { try: "connecting", close: "closed" },
  connecting: { session: "established", loss: "waiting", close: "closed" },
  established: { loss: "waiting", close: "closed" },
  closed: {},
};

/** The state after `event`. @throws {Error} when it cannot happen in `state`: a fault of parley. */
export function nextState(state: LinkState, event: LinkEvent): LinkState {
  const next = TRANSITIONS[state][event];
  if (next === undefined) throw new Error(`a link that is ${state} has no ${event}`);
  return next;
}
