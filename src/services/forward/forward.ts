// The service that passes each session on to one connection of a target, byte for byte: `parley serve --to`.
//
//     open            → dial, then the PROXY header where it is wanted; input waits meanwhile
//     message         → bytes to the target, no faster than it reads
//     end             → FIN to the target          FIN of the target   → session.endOutput
//     both have ended → session.finish             reset of the target → the session ends with `reset`
//     any other end   → the target is reset: what was cut off must not look complete
//
// The server chooses the target. Messages to a client name no address of it; the log does.

import { ByteBudget } from "../../base/byte-budget.ts";
import { messageOf, systemCode } from "../../base/errors.ts";
import { pieces } from "../../base/line-splitter.ts";
import { MAX_TARGET_QUEUED_BYTES } from "../../base/limits.ts";
import {
  ServiceEnding,
  SessionClosedError,
  type DescriptorUse,
  type Service,
  type Message,
  type Session,
} from "../service.ts";
import { proxyHeader } from "./proxy-header.ts";

/** One connection to the target: a byte stream with an end for each direction. */
export interface Target {
  /** Bytes that it has not taken yet. */
  readonly queued: number;
  /** Begins to read. */
  start(events: TargetEvents): void;
  /** A promise when so much is queued that the caller should wait. */
  write(bytes: Uint8Array): void | Promise<void>;
  endWriting(): void;
  reset(): void;
}

export interface TargetEvents {
  /** With a promise, nothing more is read before it settles; it must not reject. */
  data(bytes: Uint8Array): void | Promise<void>;
  end(): void;
  /** Without an error after both ends, and after `reset`. */
  closed(error: Error | undefined): void;
}

export interface TargetDial {
  /** Counts what is queued for the target. */
  budget: ByteBudget;
  signal: AbortSignal;
  /** To be called once when the descriptor is free again. */
  released: () => void;
}

export interface ForwardOptions {
  /** Connects to the target. @throws {Error} the reason of a failure, for the log; its `code` decides what the client hears. */
  open(dial: TargetDial): Promise<Target>;
  /** Begin with a header of PROXY protocol version 2. */
  sendProxy: boolean;
}

export function forward(options: ForwardOptions): Service {
  return new Forward(options);
}

/** Longest message to a client: one read of a socket may return more than a client may leave unread. */
const MAX_PIECE_BYTES = 64 * 1024;

class Forward implements Service {
  readonly messages = "bytes";
  readonly acksOnHandOff = true;
  readonly keepsInput = true;
  readonly #options: ForwardOptions;
  readonly #targets = new Map<Session, Target>();
  readonly #budget = new ByteBudget(MAX_TARGET_QUEUED_BYTES, () => this.#resetLargest());
  /** Descriptors: of targets, and of dials that were given up and cannot be cancelled. */
  #taken = 0;
  #isStopped = false;

  constructor(options: ForwardOptions) {
    this.#options = options;
  }

  get descriptors(): DescriptorUse {
    return { perSession: 1, taken: this.#taken };
  }

  async open(session: Session): Promise<void> {
    const { signal, peer, local, user } = session;
    const target = await this.#dial(signal);
    if (signal.aborted || this.#isStopped) return target.reset();
    this.#targets.set(session, target);
    if (this.#options.sendProxy) void target.write(proxyHeader({ peer, local, user }));
    target.start({
      data: (bytes) => passOn(session, bytes),
      end: () => session.endOutput(),
      closed: (error) => this.#closed(session, error),
    });
  }

  message(session: Session, message: Message): void | Promise<void> {
    return this.#targets.get(session)?.write(message.bytes);
  }

  end(session: Session): void {
    this.#targets.get(session)?.endWriting();
  }

  /** A hook may wait for a target that does not read: with the reset that hook ends. */
  disconnected(session: Session): void {
    this.close(session);
  }

  close(session: Session): void {
    const target = this.#targets.get(session);
    this.#targets.delete(session);
    target?.reset();
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    for (const session of this.#targets.keys()) this.close(session);
    return Promise.resolve();
  }

  async #dial(signal: AbortSignal): Promise<Target> {
    this.#taken++;
    try {
      return await this.#options.open({ budget: this.#budget, signal, released: () => this.#taken-- });
    } catch (error) {
      if (signal.aborted) throw new SessionClosedError();
      throw new ServiceEnding("unreachable", sayWhy(error), error);
    }
  }

  #closed(session: Session, error: Error | undefined): void {
    if (!this.#targets.delete(session)) return; // it was reset from here
    if (error === undefined) return session.finish();
    const words = "the target has reset the connection";
    session.fail(
      new ServiceEnding("reset", words, new Error(`${words}: ${systemCode(error) ?? messageOf(error)}`)),
    );
  }

  /** The targets leave too much unread: the one that leaves most is given up. */
  #resetLargest(): void {
    const [largest] = [...this.#targets].sort(([, a], [, b]) => b.queued - a.queued);
    if (largest === undefined) return;
    const [session] = largest;
    this.close(session);
    session.fail(new ServiceEnding("reset", "the target has left too much unread"));
  }
}

/** Sends what the target has said; a promise until the client has read enough, or is gone. */
function passOn(session: Session, bytes: Uint8Array): Promise<void> | undefined {
  for (const piece of pieces(bytes, MAX_PIECE_BYTES)) session.send(piece);
  return session.writable()?.catch((error: unknown) => {
    if (!SessionClosedError.is(error)) session.fail(error); // `close` resets the target
  });
}

function sayWhy(error: unknown): string {
  switch (systemCode(error)) {
    case "refused":
      return "the target refused the connection";
    case "timeout":
      return "the target did not answer in time";
    default:
      return "the target cannot be reached";
  }
}
