// Checks the arguments of calls that a handler makes: no compiler has checked them. Conversation, rooms and timers call it.

import { MisuseError } from "./service.ts";

/** @throws {MisuseError} */
export function checkText(what: string, value: unknown): void {
  if (typeof value !== "string") throw new MisuseError(`${what} is text, not ${nameOf(value)}`);
}

/** @throws {MisuseError} */
export function checkCallback(value: unknown): void {
  if (typeof value !== "function") throw new MisuseError(`a timer calls a function, not ${nameOf(value)}`);
}

/** A status is one of a program, so that `connect --exit-status` can exit with it. @throws {MisuseError} */
export function checkStatus(value: unknown): void {
  if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 255) return;
  const given = typeof value === "number" ? String(value) : nameOf(value);
  throw new MisuseError(`finish(status, reason) takes a status from 0 to 255, not ${given}`);
}

/** The type of a value, in a message. */
export function nameOf(value: unknown): string {
  return value === null ? "null" : typeof value;
}
