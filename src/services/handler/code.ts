// The code of a handler file that was loaded: its hooks, as an object or as a class, and its `state`. handler.ts uses it.
//
//     export default { message(session, message) {…} }       one object for all sessions
//     export default (session, message) => {…}               the same, with one hook
//     export default class { constructor(session); message(message) {…} }      one object for each session
//
// A session that goes on with new code keeps its object: that becomes one of the new class. Only an object with private members
// stays what it is, since the new class could not use them.

import type { Message, Server, Session } from "../service.ts";

/** The hooks in an object, which get the session. */
export interface ObjectHooks {
  open?(session: Session): unknown;
  message(session: Session, message: Message): void | Promise<void>;
  end?(session: Session): unknown;
  close?(session: Session): unknown;
  detached?(session: Session): unknown;
  attached?(session: Session): unknown;
}

/** The hooks in an object of a class, which was made for the session. */
export interface ClassHooks {
  open?(): unknown;
  message(message: Message): void | Promise<void>;
  end?(): unknown;
  close?(): unknown;
  detached?(): unknown;
  attached?(): unknown;
}

/** The hooks for the server: of the object, or static ones of the class. */
export interface ServerHooks {
  start?(server: Server): unknown;
  stop?(server: Server): unknown;
}

export type HandlerClass = ServerHooks & (new (session: Session) => ClassHooks);

export type State = Record<string, unknown>;

/** What a handler file exports. Exactly one of `hooks` and `type` is there. */
export interface Code {
  readonly hooks: (ObjectHooks & ServerHooks) | undefined;
  readonly type: HandlerClass | undefined;
  /** Carried over to the next code. */
  readonly state: State | undefined;
}

/** The code of a module; undefined when it exports no message hook. */
export function codeOf(module: Record<string, unknown>): Code | undefined {
  const { default: exported } = module;
  const state = module["state"] as State | undefined; // the caller checks it
  if (hasMessage(exported)) return { hooks: exported as ObjectHooks, type: undefined, state };
  if (typeof exported !== "function") return undefined;
  if (hasMessage(exported.prototype)) return { hooks: undefined, type: exported as HandlerClass, state };
  if (isClass(exported)) return undefined;
  return { hooks: { message: exported as ObjectHooks["message"] }, type: undefined, state };
}

function hasMessage(value: unknown): boolean {
  return (
    typeof value === "object" && value !== null && "message" in value && typeof value.message === "function"
  );
}

function isClass(value: unknown): boolean {
  return typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value));
}

/** Makes `object` one of the class `type`. False when it has private members, of which the new class knows nothing. */
export function adopt(object: ClassHooks, type: HandlerClass): boolean {
  for (let made: unknown = object.constructor; isClass(made); made = Object.getPrototypeOf(made)) {
    if (/\.\s*#[\p{ID_Start}$_]|#[\p{ID_Continue}$]+ in\b/u.test(String(made))) return false;
  }
  Object.setPrototypeOf(object, type.prototype as object);
  return true;
}

/**
 * Gives the `state` of new code what the old code has in it. The old object becomes a view of the new one, for code that still
 * runs. Properties that only the new code has keep their first values.
 */
export function carryState(old: State, next: State): void {
  for (const key of Object.keys(old)) {
    next[key] = old[key];
    Object.defineProperty(old, key, {
      get: () => next[key],
      set: (value: unknown) => {
        next[key] = value;
      },
      enumerable: true,
      configurable: true,
    });
  }
}

/** True for an object that was written as `{ … }`. */
export function isPlain(value: unknown): value is State {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
