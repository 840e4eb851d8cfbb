// Places of sessions that take descriptors: when there is one, and until when it is taken.

import { expect, test } from "bun:test";
import { SessionPlaces } from "../../src/server/session-places.ts";

function placesOf(perSession: number, room: number) {
  const state = { running: 0, detached: 0 };
  const places: SessionPlaces = new SessionPlaces({
    service: {
      message: () => undefined,
      get descriptors() {
        return { perSession, taken: perSession * state.running };
      },
    },
    detachedCount: () => state.detached,
    hasRoom: (count) => places.taken + count <= room,
  });
  return { places, state };
}

test("a reserved place counts, once for each connection, until it is free", () => {
  const { places } = placesOf(4, 8);
  const [first, second, third] = [{}, {}, {}];
  expect([first, first, second, third].map((one) => places.reserve(one))).toEqual([true, true, true, false]);
  expect(places.taken).toBe(8);
  places.free(first);
  expect(places.reserve(third)).toBe(true);
});

test("what the service has started counts, and a descriptor for each client that may come back", () => {
  const { places, state } = placesOf(4, 12);
  state.running = 2;
  expect(places.reserve({})).toBe(true);
  const other = placesOf(4, 12);
  other.state.running = 2;
  other.state.detached = 1;
  expect(other.places.reserve({})).toBe(false);
});

test("the first session is tried, however little room there is; a service that takes none is never refused", () => {
  const { places } = placesOf(4, 0);
  expect([{}, {}].map((one) => places.reserve(one))).toEqual([true, false]);
  const none = placesOf(0, 0);
  expect([{}, {}].map((one) => none.places.reserve(one))).toEqual([true, true]);
});
