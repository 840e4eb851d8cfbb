// Memory that many holders use for their peers, counted together, with one limit for all of it.
//
//     ample → short (more than half is used: windows and queues are smaller) → exceeded (a holder has to go)
//
// A server has one for everything that it queues and keeps for clients; a part of it is a budget of its own, whose parent
// the whole is. Holders call `take` and `give` for each block of memory, not for each message.

export class ByteBudget {
  /** Bytes in use. */
  used = 0;
  /** Bytes of output ever queued: how much a turn has queued is a difference of two. */
  queued = 0;
  readonly limit: number;
  readonly #exceeded: () => void;
  readonly #parent: ByteBudget | undefined;
  #isEnforcing = false;

  /**
   * @param limit in bytes.
   * @param exceeded called at once when more is used: it makes a holder give memory back. Not called again meanwhile.
   */
  constructor(limit = Infinity, exceeded: () => void = () => undefined, parent?: ByteBudget) {
    this.limit = limit;
    this.#exceeded = exceeded;
    this.#parent = parent;
  }

  /** Is so much used that holders should use less? */
  get isShort(): boolean {
    return this.used > this.limit / 2 || this.#parent?.isShort === true;
  }

  get isExceeded(): boolean {
    return this.used > this.limit;
  }

  take(count: number): void {
    this.used += count;
    this.#parent?.take(count);
    if (this.used <= this.limit || this.#isEnforcing) return;
    this.#isEnforcing = true;
    try {
      this.#exceeded();
    } finally {
      this.#isEnforcing = false;
    }
  }

  give(count: number): void {
    this.used -= count;
    this.#parent?.give(count);
  }
}

/** For clients, and for queues that stay empty. */
export const UNLIMITED = new ByteBudget();
