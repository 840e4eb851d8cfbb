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
      throw new ParleyError("pin_changed", `the key of ${this.#server} is ${pin}: it does not match --pin`, {
        hint: "compare it with the pin that the server prints at its start; nothing was sent",
      });
    }
    if (pin === this.#known) return true;
    // Another process may have stored the pin meanwhile.
    this.#known = this.#state.findPin(this.#server);
    if (pin === this.#known) return true;
    if (this.#known === undefined || named !== undefined) return false;
    throw new ParleyError(
      "pin_changed",
      `the key of ${this.#server} has changed from ${this.#known} to ${pin}`,
      {
        hint: "ask its operator whether the key is new, and only then connect with --pin and the pin that the server prints: another server may be answering in its place. Nothing was sent",
      },
    );
  }

  async confirmNew(pin: string, vouched: boolean): Promise<void> {
    if (this.#options.pin === undefined && !vouched && !this.#options.acceptNew) await this.#ask(pin);
    else if (this.#terminal.isWatched) this.#terminal.note(`new server ${this.#server}: its key is ${pin}`);
    const before = this.#known;
    this.#known = pin;
    try {
      await this.#state.savePin(this.#server, pin, before);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#terminal.say(`key of ${this.#server} not saved: ${error.message}`);
    }
  }

  async #ask(pin: string): Promise<void> {
    if (!this.#terminal.canAsk) {
      throw new ParleyError("pin_unknown", `unknown server ${this.#server}: its key is ${pin}`, {
        hint: "compare it with the pin that the server prints and connect with --pin, or trust it unseen with --accept-new",
      });
    }
    this.#terminal.say(`Unknown server ${this.#server}. Its key:`, pin);
    if (await this.#terminal.confirm("does it match the pin that the server prints?", false)) return;
    throw new ParleyError("pin_unknown", `the key of ${this.#server} is not trusted`, {
      hint: "ask the server's operator for its pin; nothing was sent",
    });
  }
}
