// Restores a lost connection: resumes the session, or begins a new one when the server does not have it any more. reconnect.ts
// calls this, and decides when and how often.

import { parseToken, proveToken, RESUME_LABEL } from "../auth/token.ts";
import { ServerError } from "../handshake/errors.ts";
import type { Connection } from "../net/connection.ts";
import type { Hello, Login, Refused, Welcome } from "../wire/message.ts";
import type { DialLimiter } from "./dial-limiter.ts";
import { dialOnce } from "./dial-with-retry.ts";
import { logInWith, receiveHello, secureChannel, sendLogin } from "./login.ts";
import type { ClientOptions, Credential } from "./options.ts";
import type { ReconnectOptions } from "./reconnect.ts";

/**
 * Makes the function that reconnects one client.
 *
 * @param first the credential of the first login.
 * @param issued the answer to it.
 * @returns a function that throws {DialError}, {ServerError}, or what `Trust` throws.
 */
export function makeReconnect(
  options: ClientOptions,
  limiter: DialLimiter,
  first: Credential,
  issued: Welcome,
): ReconnectOptions["reconnect"] {
  const given = reloginCredential(first);
  let credential = tokenOf(issued) ?? given;
  const logInAgain = async (connection: Connection, hello: Hello): Promise<Welcome> => {
    let answer = await logInWith(connection, options, hello, credential);
    if (answer.type === "refused" && answer.code === "token_refused") {
      const other = given.method === "token" ? await options.givenCredential?.() : given;
      if (other !== undefined) answer = await logInWith(connection, options, hello, other);
    }
    const welcome = expectWelcome(answer);
    credential = tokenOf(welcome) ?? credential;
    await options.onNewLogin?.(hello, welcome);
    return welcome;
  };
  return async (welcome, received) => {
    const connection = await dialOnce(options, limiter);
    try {
      await secureChannel(connection, options);
      const hello = await receiveHello(connection, options);
      const { session = "", resume_key = "" } = welcome;
      const nonce = Buffer.from(hello.nonce, "base64");
      const secret = Buffer.from(resume_key, "base64");
      const proof = proveToken(secret, RESUME_LABEL, nonce, connection.binding).toString("base64");
      const resume: Login = { type: "login", method: "resume", session, proof, received };
      const answer = await sendLogin(connection, options, resume);
      if (answer.type === "welcome") return { connection, welcome: answer };
      if (answer.code !== "session_gone" || options.retry?.sameSession === true)
        throw new ServerError("login_refused", answer.code, `cannot resume the session: ${answer.message}`);
      return { connection, welcome: await logInAgain(connection, hello) };
    } catch (error) {
      connection.terminate(); // a try that was given up must not reach the server later
      throw error;
    }
  };
}

/** The token in `welcome` as a credential; undefined when there is none. */
function tokenOf({ token }: Welcome): Credential | undefined {
  const parts = token === undefined ? undefined : parseToken(token);
  return parts && { method: "token", token: parts };
}

/** The credential of a later login. The account that `register` has made is used with its password. */
function reloginCredential(first: Credential): Credential {
  return first.method === "register" ? { ...first, method: "password" } : first;
}

/** The `welcome` that answers a new login. @throws {ServerError} `login_refused` for any other answer. */
function expectWelcome(answer: Welcome | Refused): Welcome {
  if (answer.type === "welcome") return answer;
  throw new ServerError("login_refused", answer.code, `cannot log in again: ${answer.message}`, {
    hint: "start parley connect again, and log in: the session has ended",
  });
}
