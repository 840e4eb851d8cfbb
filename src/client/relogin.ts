// Logs in again without a question: with the newest token, or with what the first login used. resume.ts does so where the session is
// gone, and a forwarder for each of its connections.

import { parseToken } from "../auth/token.ts";
import { ServerError } from "../handshake/errors.ts";
import type { Connection } from "../net/connection.ts";
import type { Hello, Welcome } from "../wire/message.ts";
import { logInWith } from "./login.ts";
import type { ClientOptions, Credential } from "./options.ts";

export class Relogin {
  readonly #options: ClientOptions;
  /** The credential of the first login. The account that `register` has made is used with its password. */
  readonly #given: Credential;
  #credential: Credential;

  /** @param issued the answer to the login with `first`. */
  constructor(options: ClientOptions, first: Credential, issued: Welcome | undefined) {
    this.#options = options;
    this.#given = first.method === "register" ? { ...first, method: "password" } : first;
    this.#credential = tokenOf(issued) ?? this.#given;
  }

  /** @throws {ServerError} `login_refused`, or as {@link logInWith}. */
  async logIn(connection: Connection, hello: Hello): Promise<Welcome> {
    const used = this.#credential;
    let answer = await logInWith(connection, this.#options, hello, used);
    if (answer.type === "refused" && answer.code === "token_refused") {
      const other = this.#credential === used ? await this.#other() : this.#credential;
      if (other !== undefined) answer = await logInWith(connection, this.#options, hello, other);
    }
    if (answer.type !== "welcome") {
      throw new ServerError("login_refused", answer.code, `cannot log in again: ${answer.message}`, {
        hint: "start parley connect again, and log in: the session has ended",
      });
    }
    this.#credential = tokenOf(answer) ?? this.#credential;
    return answer;
  }

  #other(): Promise<Credential | undefined> {
    if (this.#given.method !== "token") return Promise.resolve(this.#given);
    return this.#options.givenCredential?.() ?? Promise.resolve(undefined);
  }
}

/** The token in `welcome` as a credential; undefined when there is none. */
function tokenOf(welcome: Welcome | undefined): Credential | undefined {
  const parts = welcome?.token === undefined ? undefined : parseToken(welcome.token);
  return parts && { method: "token", token: parts };
}
