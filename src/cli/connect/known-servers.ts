// The pins of servers, as ssh's known hosts: a person is asked about a new server, and a changed key is refused.

import type { Trust } from "../../client/options.ts";
import type { ClientState } from "../../client/client-state.ts";
import { ParleyError } from "../../base/errors.ts";
import { FileError } from "../../files/file-error.ts";
import type { Terminal } from "../../terminal/terminal.ts";

export interface TrustOptions {
  /** The pin of `--pin`, which counts more than the one that is stored. */
  pin: string | undefined;
  /** `--accept-new`: no question about a new server. */
  acceptNew: boolean;
}

export class KnownServers implements Trust {
  readonly #server: string;
  readonly #state: ClientState;
  readonly #terminal: Terminal;
  readonly #options: TrustOptions;
  #known: string | undefined;

  /** @param server `host:port`, the name under which its pin is stored. */
  constructor(server: string, state: ClientState, terminal: Terminal, options: TrustOptions) {
    this.#server = server;
    this.#state = state;
    this.#terminal = terminal;
    this.#options = options;
    this.#known = state.findPin(server);
  }

  check(pin: string): boolean {
    const { pin: named } = this.#options;
    if (named !== undefined && pin !== named) {
      throw new ParleyError(
        "pin_changed",
        `the key of ${this.#server} is ${pin}, not the one that --pin names`,
        {
          hint: "nothing was sent: compare it with what the server prints when it starts",
        },
      );
    }
    if (pin === this.#known) return true;
    // Another process may have stored the pin meanwhile.
    this.#known = this.#state.findPin(this.#server);
    if (pin === this.#known) return true;
    if (this.#known === undefined || named !== undefined) return false;
    throw new ParleyError("pin_changed", `the key of ${this.#server} is ${pin}, but it was ${this.#known}`, {
      hint: "somebody may be in the middle, and nothing was sent; if its operator says that the key is new, say --pin with the pin that the server prints",
    });
  }

  async confirmNew(pin: string, vouched: boolean): Promise<void> {
    if (this.#options.pin === undefined && !vouched && !this.#options.acceptNew) await this.#ask(pin);
    else if (this.#terminal.isWatched) this.#terminal.note(`${this.#server} is known from now on by ${pin}`);
    const before = this.#known;
    this.#known = pin;
    try {
      await this.#state.savePin(this.#server, pin, before);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#terminal.say(`not remembered for the next time: ${error.message}`);
    }
  }

  async #ask(pin: string): Promise<void> {
    if (!this.#terminal.canAsk) {
      throw new ParleyError("pin_unknown", `${this.#server} is not known yet; its key is ${pin}`, {
        hint: "compare it with what the server prints, then say --pin with it, or --accept-new to believe it unseen",
      });
    }
    this.#terminal.say(`${this.#server} is not known yet. Its key:`, pin);
    if (await this.#terminal.confirm("is it the one that the server prints?", false)) return;
    throw new ParleyError("pin_unknown", `${this.#server} is not trusted`, { hint: "nothing was sent" });
  }
}
