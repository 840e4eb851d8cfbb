// The states of a connection's two directions and of its socket, and what each event makes of them.

import { expect, test } from "bun:test";
import { ConnectionState } from "../../src/net/connection-state.ts";

type Event = (state: ConnectionState) => void;
const fin: Event = (state) => state.peerEnded();
const end: Event = (state) => state.endSending();
const sent: Event = (state) => state.finSent();
const reset: Event = (state) => state.wasReset();
const closed: Event = (state) => state.closed(false);
const failed: Event = (state) => state.closed(true);

/** Events, and then: read, write, socket, may it send, can nothing more arrive? */
const TABLE: [string, Event[], [string, string, string, boolean, boolean]][] = [
  ["nothing", [], ["open", "open", "open", true, false]],
  ["the peer's FIN", [fin], ["ended", "open", "open", true, true]],
  ["the end of sending", [end], ["open", "flushing", "open", false, false]],
  ["the end of sending, FIN sent", [end, sent], ["open", "fin-sent", "open", false, false]],
  ["FIN sent, and no second end", [end, sent, end], ["open", "fin-sent", "open", false, false]],
  ["both FINs", [end, sent, fin], ["ended", "fin-sent", "open", false, true]],
  ["a failed write", [reset], ["open", "open", "reset", false, false]],
  ["a failed write, and its close", [reset, failed], ["open", "open", "closed", false, true]],
  [
    "a close after our FIN, which stands for the peer's",
    [end, sent, closed],
    ["ended", "fin-sent", "closed", false, true],
  ],
  ["a reset", [failed], ["open", "open", "closed", false, true]],
  ["a failed write after the close", [closed, reset], ["ended", "open", "closed", false, true]],
];

for (const [name, events, expected] of TABLE) {
  test(`after ${name}`, () => {
    const state = new ConnectionState();
    for (const event of events) event(state);
    const { read, write, socket, canSend, inputEnded } = state;
    expect<unknown[]>([read, write, socket, canSend, inputEnded]).toEqual(expected);
  });
}
