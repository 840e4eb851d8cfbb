// Who to log in as, and with what: a stored token, a secret from a file or the environment, or questions.

import { displayName, NAME_RULE } from "../auth/name.ts";
import { parseToken } from "../auth/token.ts";
import type { Client } from "../client.ts";
import type { Credential } from "../client-connect.ts";
import type { ClientState, StoredToken } from "../client-state.ts";
import { ParleyError, usageError } from "../errors.ts";
import { FileError } from "../files/file-error.ts";
import { ServerError } from "../handshake/failure.ts";
import type { SecretFlags, Terminal } from "../terminal.ts";
import type { Hello, Refused } from "../wire/message.ts";
import type { ConnectFlags, Target } from "./connect-flags.ts";
import { secretFlags } from "./flags.ts";

/** Finds something to log in with, asks where it may, and remembers what worked. */
export class LoginDialogue {
  readonly #flags: ConnectFlags;
  readonly #target: Target;
  readonly #state: ClientState;
  readonly #terminal: Terminal;
  readonly #secrets: SecretFlags;
  readonly storedToken: StoredToken | undefined;
  readonly #encrypted: boolean;
  #tokenTried = false;
  #tokenGone = false;
  #user: string | undefined;

  /** @param encrypted whether the conversation goes over TLS. */
  constructor(
    flags: ConnectFlags,
    target: Target,
    state: ClientState,
    terminal: Terminal,
    encrypted: boolean,
  ) {
    this.#flags = flags;
    this.#target = target;
    this.#state = state;
    this.#terminal = terminal;
    this.#user = target.user;
    this.#secrets = secretFlags(flags);
    const unwanted = flags.has("no-token") || flags.has("register") || flags.has("bare");
    const stored = unwanted ? undefined : state.findToken(target.server, target.user);
    this.storedToken = stored?.encrypted === true && !encrypted ? undefined : stored;
    this.#encrypted = encrypted;
  }

  async credential(hello: Hello, refused: Refused | undefined): Promise<Credential> {
    if (refused !== undefined) await this.#wasRefused(refused);
    const byItself = hello.auth.find((method) => method === "none" || method === "ip");
    if (byItself !== undefined && refused !== undefined) {
      throw new ServerError("login_refused", refused.code, refused.message); // asking again would say the same
    }
    if (byItself === "none" || byItself === "ip") return { method: byItself };
    if (hello.auth.includes("name"))
      return { method: "name", user: await this.#askUser("your name:", refused) };
    if (!hello.auth.includes("password")) {
      throw new ParleyError(
        "failed",
        `this server wants a login that this version does not know: ${hello.auth.join(", ")}`,
      );
    }
    const token = this.storedToken && parseToken(this.storedToken.token);
    if (token !== undefined && !this.#tokenTried) {
      this.#tokenTried = true;
      return { method: "token", token, logout: this.#flags.has("logout") ? true : undefined };
    }
    return this.#askPassword(hello, refused);
  }

  async #wasRefused(refused: Refused): Promise<void> {
    if (
      refused.code === "token_refused" &&
      this.storedToken !== undefined &&
      this.#tokenTried &&
      !this.#tokenGone
    ) {
      this.#tokenGone = true;
      await this.#state.forgetToken(this.storedToken);
      if (this.#flags.has("logout")) {
        throw new ParleyError("failed", "the token was not valid any more: it is forgotten");
      }
      return this.#terminal.isWatched
        ? this.#terminal.note("the stored session has ended: log in again")
        : undefined;
    }
    // A password from a file does not get better by trying again, nor does what this server does not allow.
    if (!this.#terminal.canAsk || this.#isUnattended() || refused.code === "not_allowed") {
      throw new ServerError("login_refused", refused.code, refused.message);
    }
    const tries = refused.attempts_left === 1 ? "one try left" : `${refused.attempts_left} tries left`;
    this.#terminal.say(`${refused.message}, ${tries}`);
  }

  #isUnattended(): boolean {
    return (
      this.#secrets.file !== undefined || this.#secrets.stdin || process.env["PARLEY_PASSWORD"] !== undefined
    );
  }

  async #askPassword(hello: Hello, refused: Refused | undefined): Promise<Credential> {
    const method = this.#flags.has("register") ? "register" : "password";
    if (method === "register" && !hello.auth.includes("register")) {
      throw new ParleyError("login_refused", "this server creates no accounts for clients", {
        hint: "its operator does: parley users add NAME",
      });
    }
    // Whoever mistyped a password types the next one at once: it must not land in a question for the name.
    const wrongName = refused?.code === "bad_name" || refused?.code === "name_taken";
    const user = await this.#askUser("user:", wrongName ? refused : undefined);
    const given = await this.#terminal.secret(this.#secrets);
    if (given !== undefined) return { method, user, password: given };
    if (!this.#terminal.canAsk) {
      throw usageError(
        "a password is needed",
        "give it with --password-file FILE, --password-stdin or $PARLEY_PASSWORD",
      );
    }
    const password =
      method === "register"
        ? await this.#terminal.askNewSecret("new password:", () => undefined)
        : await this.#terminal.askSecret(`password for ${user}:`);
    return { method, user, password };
  }

  async #askUser(question: string, refused: Refused | undefined): Promise<string> {
    if (this.#user !== undefined && refused === undefined) return this.#user;
    if (!this.#terminal.canAsk)
      throw usageError("a user is needed", "give it with --user NAME or as USER@HOST");
    const check = (answer: string) => (displayName(answer) === undefined ? NAME_RULE : undefined);
    this.#user = await this.#terminal.ask(question, {
      default: this.#user ?? lastUser(this.#state),
      check,
    });
    return this.#user;
  }

  /** Remembers host, port, user and token for the next time; where it cannot, the conversation goes on. */
  async keep(client: Client): Promise<void> {
    try {
      await this.#keep(client);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#terminal.say(`not remembered for the next time: ${error.message}`);
    }
  }

  async #keep(client: Client): Promise<void> {
    const { host, port, server } = this.#target;
    const user = client.welcome?.user ?? undefined;
    await this.#state.remember({ host, port, user });
    if (this.#flags.has("logout") && this.storedToken !== undefined)
      await this.#state.forgetToken(this.storedToken);
    const { token, expires } = client.welcome ?? {};
    if (this.#flags.has("no-token") || expires === undefined || user === undefined) return;
    if (token === undefined || parseToken(token) === undefined) return;
    await this.#state.saveToken({ server, user, token, expires, encrypted: this.#encrypted });
  }
}

/** The last user, unless what a server called it could act on the terminal. */
function lastUser(state: ClientState): string | undefined {
  const { user } = state.last();
  return user === undefined ? undefined : displayName(user);
}
