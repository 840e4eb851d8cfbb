// One limit for the memory that many holders use for their peers.
//
//     ample → short (more than half is used: windows and queues are smaller) → exceeded (a holder has to go)
//
// A server has one budget for all messages that it queues and keeps for clients. A part of it can have a separate budget, with the
// whole as its parent. Holders call `take` and `give` for each block of memory, not for each message.

export class ByteBudget {
  /** Bytes in use. */
  used = 0;
  /** Bytes of output queued since the start. The difference of two values is the output of a turn. */
  queued = 0;
  readonly limit: number;
  readonly #exceeded: () => void;
  readonly #parent: ByteBudget | undefined;
  #isEnforcing = false;

  /**
   * @param limit in bytes.
   * @param exceeded called at once when more is used. It makes a holder give memory back, and is not called again meanwhile.
   */
  constructor(limit = Infinity, exceeded: () => void = () => undefined, parent?: ByteBudget) {
    this.limit = limit;
    this.#exceeded = exceeded;
    this.#parent = parent;
  }

  /** True when holders should use less. */
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

/** The budget of clients, and of queues that stay empty. */
export const UNLIMITED = new ByteBudget();
