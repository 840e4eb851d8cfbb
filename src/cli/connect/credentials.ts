// The user and the credential of a login: a stored token, a password from a file or the environment, or a person's answers.

import { displayName, NAME_RULE } from "../../auth/username.ts";
import { parseToken } from "../../auth/token.ts";
import type { Client } from "../../client/client.ts";
import type { Credential } from "../../client/options.ts";
import type { ClientState, StoredToken } from "../../client/client-state.ts";
import { ownCommand } from "../../base/own-command.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { FileError } from "../../files/file-error.ts";
import { ServerError } from "../../handshake/errors.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import type { Hello, Refused, Welcome } from "../../wire/message.ts";
import type { ConnectFlags, Target } from "./flags.ts";
import { programName } from "../program-name.ts";
import { sayStoredName, secretFlags } from "../flags.ts";

/** Finds the credential of a login, asks a person where one is there, and stores what worked. */
export class CredentialPrompt {
  readonly #flags: ConnectFlags;
  readonly #target: Target;
  readonly #state: ClientState;
  readonly #terminal: Terminal;
  readonly #encrypted: boolean;
  /** The stored tokens that may be shown to the server at the target. */
  readonly #stored: readonly StoredToken[];
  /** The token that was shown. */
  #shown: StoredToken | undefined;
  #isShownRefused = false;
  #user: string | undefined;
  /** The password of a flag or the environment; it is read once, since standard input has it once. */
  #given: Promise<string | undefined> | undefined;

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
    this.#encrypted = encrypted;
    const isUnwanted = flags.has("no-token") || flags.has("register") || flags.has("bare");
    this.#stored = isUnwanted ? [] : this.#storedTokens();
  }

  /** Is there a stored token for the server at the target? */
  get hasToken(): boolean {
    return this.#stored.length > 0;
  }

  async credential(hello: Hello, refused: Refused | undefined): Promise<Credential> {
    if (refused !== undefined) await this.#wasRefused(refused);
    const byItself = hello.auth.find((method) => method === "none" || method === "ip");
    if (byItself !== undefined && refused !== undefined) {
      throw new ServerError("login_refused", refused.code, refused.message); // the same login would be refused again
    }
    if (byItself === "none" || byItself === "ip") return { method: byItself };
    if (hello.auth.includes("name"))
      return { method: "name", user: await this.#askUser("your name:", refused) };
    if (!hello.auth.includes("password")) {
      throw new ParleyError(
        "failed",
        `the server requires a login method that this version does not support: ${hello.auth.join(", ")}`,
      );
    }
    return (
      (this.#shown === undefined ? this.#showToken(hello) : undefined) ?? this.#askPassword(hello, refused)
    );
  }

  /** The credential for another login without a question: a password of a flag or the environment. */
  async givenCredential(): Promise<Credential | undefined> {
    const password = await this.#secret();
    const user = this.#user;
    return password === undefined || user === undefined ? undefined : { method: "password", user, password };
  }

  // --- tokens ---

  /** The tokens of the user; where none is named and several have tokens, those of the last one. */
  #storedTokens(): StoredToken[] {
    const here = this.#state.tokens().filter(({ server, encrypted }) => {
      return server === this.#target.server && (encrypted !== true || this.#encrypted);
    });
    if (this.#user === undefined && new Set(here.map(({ user }) => user)).size === 1) return here;
    const name = (this.#user ?? this.#state.last().user)?.normalize("NFKC").toLowerCase();
    return here.filter(({ user }) => user === name);
  }

  /** The token that this server has issued, or one whose issuer is not known. */
  #showToken(hello: Hello): Credential | undefined {
    const own = this.#stored.find(({ issuer }) => issuer !== undefined && issuer === hello.server);
    const shown = own ?? this.#stored.find(({ issuer }) => issuer === undefined);
    const token = shown && parseToken(shown.token);
    const [stored] = this.#stored;
    this.#user ??= stored?.user;
    if (token === undefined) {
      if (stored !== undefined) this.#sessionEnded("the stored session token is from another server");
      return undefined;
    }
    this.#shown = shown;
    return { method: "token", token, logout: this.#flags.has("logout") ? true : undefined };
  }

  /** Forgets a refused token, unless its issuer is not known: another server refuses it although it is good. */
  async #tokenWasRefused(token: StoredToken): Promise<void> {
    this.#isShownRefused = true;
    const isOwn = token.issuer !== undefined;
    if (isOwn) await this.#tryToKeep("session token not deleted", () => this.#state.forgetToken(token));
    this.#sessionEnded(
      isOwn ? "the stored session token is no longer valid" : "the server refused the stored session token",
    );
  }

  /** Says that the login goes on without the token. @throws {ParleyError} `failed` where that makes no sense. */
  #sessionEnded(why: string): void {
    if (this.#flags.has("logout")) throw new ParleyError("failed", `cannot log out: ${why}`);
    if (this.#terminal.isWatched) this.#terminal.note(`${why}: log in again`);
  }

  // --- passwords ---

  async #wasRefused(refused: Refused): Promise<void> {
    if (refused.code === "token_refused" && this.#shown !== undefined && !this.#isShownRefused) {
      return this.#tokenWasRefused(this.#shown);
    }
    // The same password, or a login that this server does not allow, would be refused again.
    const isGiven = (await this.#secret()) !== undefined;
    if (!this.#terminal.canAsk || isGiven || refused.code === "not_allowed") {
      throw new ServerError("login_refused", refused.code, refused.message);
    }
    const tries = refused.attempts_left === 1 ? "1 try left" : `${refused.attempts_left} tries left`;
    this.#terminal.say(`${refused.message}, ${tries}`);
  }

  #secret(): Promise<string | undefined> {
    this.#given ??= this.#terminal.secret(secretFlags(this.#flags), process.env["PARLEY_PASSWORD"]);
    return this.#given;
  }

  async #askPassword(hello: Hello, refused: Refused | undefined): Promise<Credential> {
    const method = this.#flags.has("register") ? "register" : "password";
    if (method === "register" && !hello.auth.includes("register")) {
      throw new ParleyError("login_refused", "cannot create an account: the server does not allow it", {
        hint: "ask its operator for an account (parley users add NAME)",
      });
    }
    if (method === "password" && refused === undefined) await this.#offerAccount(hello);
    // After a wrong password only the password is asked for: a person types it at once, and it must not be taken for the name.
    const wrongName = refused?.code === "bad_name" || refused?.code === "name_taken";
    const user = await this.#askUser("user:", wrongName ? refused : undefined);
    const given = await this.#secret();
    if (given !== undefined) return { method, user, password: given };
    if (!this.#terminal.canAsk) throw this.#noPassword();
    const password =
      method === "register"
        ? await this.#terminal.askNewSecret("new password:", () => undefined)
        : await this.#terminal.askSecret(`password for ${user}:`);
    return { method, user, password };
  }

  /** Says how to create an account, before the questions of a login, where the server allows that. */
  async #offerAccount(hello: Hello): Promise<void> {
    if (!hello.auth.includes("register") || !this.#terminal.canAsk) return;
    if (this.hasToken || (await this.#secret()) !== undefined) return; // such a person has an account
    const command = ownCommand(`connect ${shellQuote(this.#target.server)} --register`, programName());
    this.#terminal.noteUnwrapped(`no account yet? create one with: ${command}`);
  }

  #noPassword(): ParleyError {
    const hint = "use --password-file FILE, --password-stdin or $PARLEY_PASSWORD";
    return this.hasToken
      ? new ParleyError("login_refused", "the server refused the stored session token", { hint })
      : usageError("missing password", hint);
  }

  async #askUser(question: string, refused: Refused | undefined): Promise<string> {
    if (this.#user !== undefined && refused === undefined) return this.#user;
    if (!this.#terminal.canAsk) throw usageError("missing user name", "use --user NAME or USER@HOST");
    const check = (answer: string) => (displayName(answer) === undefined ? NAME_RULE : undefined);
    this.#user = await this.#terminal.ask(question, {
      default: this.#user ?? lastUser(this.#state),
      check,
    });
    return this.#user;
  }

  // --- what is remembered ---

  /** Stores host, port, user and token for the next time; where that fails, the conversation goes on. */
  keep({ hello, welcome }: Pick<Client, "hello" | "welcome">): Promise<void> {
    return this.#tryToKeep("login not saved", () => this.#keep(hello, welcome));
  }

  async #keep(hello: Hello | undefined, welcome: Welcome | undefined): Promise<void> {
    const { host, port, server } = this.#target;
    const user = welcome?.user ?? undefined;
    if (this.#flags.has("register") && user !== undefined) {
      sayStoredName(this.#terminal, this.#user, user);
      this.#user = user;
    }
    this.#user ??= user;
    const isToken = !this.#flags.has("no-token");
    if (isToken || this.#state.exists) await this.#state.remember({ host, port, user });
    const shown = this.#shown;
    if (this.#flags.has("logout") && shown !== undefined) {
      await this.#tryToKeep("session token not deleted", () => this.#state.forgetToken(shown));
    } else if (isToken && user !== undefined) await this.#keepToken(server, user, hello, welcome ?? {});
  }

  async #keepToken(
    server: string,
    user: string,
    hello: Hello | undefined,
    { token, expires, server: name }: Partial<Welcome>,
  ): Promise<void> {
    const issuer = name ?? hello?.server;
    if (token !== undefined && expires !== undefined && parseToken(token) !== undefined) {
      return this.#state.saveToken({ server, user, token, expires, encrypted: this.#encrypted, issuer });
    }
    // The issuer of the token was not known until now.
    const shown = this.#isShownRefused ? undefined : this.#shown;
    if (shown !== undefined && shown.issuer !== issuer) await this.#state.saveToken({ ...shown, issuer });
  }

  /** Where `work` cannot write a file, says so in the words of `what`, and goes on. */
  async #tryToKeep(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#terminal.say(`${what}: ${error.message}`);
    }
  }
}

/** The last user, unless the name could act on the terminal: it came from a server. */
function lastUser(state: ClientState): string | undefined {
  const { user } = state.last();
  return user === undefined ? undefined : displayName(user);
}
