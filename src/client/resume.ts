// Restores a lost connection: resumes the session, or begins a new one when the server does not have it any more. reconnect.ts
// calls this, and decides when and how often.

import { proveToken, RESUME_LABEL } from "../auth/token.ts";
import { exporterIn } from "../base/bindings.ts";
import { ServerError } from "../handshake/errors.ts";
import type { Connection } from "../net/connection.ts";
import type { Login, Welcome } from "../wire/message.ts";
import { receiveHello, secureChannel, sendLogin } from "./login.ts";
import type { ClientOptions } from "./options.ts";
import type { Reconnected } from "./reconnect.ts";
import type { Relogin } from "./relogin.ts";

/**
 * Makes the function that reconnects one client.
 *
 * @param dial connects to the server.
 * @returns a function that throws {DialError}, {ServerError}, or what `Trust` throws.
 */
export function makeReconnect(
  options: ClientOptions,
  dial: () => Promise<Connection>,
  relogin: Relogin,
): (welcome: Welcome, received: number) => Promise<Reconnected> {
  return async (welcome, received) => {
    const connection = await dial();
    try {
      await secureChannel(connection, options);
      const hello = await receiveHello(connection, options);
      const { session = "", resume_key = "" } = welcome;
      const nonce = Buffer.from(hello.nonce, "base64");
      const secret = Buffer.from(resume_key, "base64");
      const binding = exporterIn(connection.bindings);
      const proof = proveToken(secret, RESUME_LABEL, nonce, binding).toString("base64");
      const resume: Login = { type: "login", method: "resume", session, proof, received };
      const answer = await sendLogin(connection, options, resume);
      if (answer.type === "welcome") return { connection, welcome: answer };
      if (answer.code !== "session_gone" || options.retry?.sameSession === true)
        throw new ServerError("login_refused", answer.code, `cannot resume the session: ${answer.message}`);
      const begun = await relogin.logIn(connection, hello);
      await options.onNewLogin?.(hello, begun);
      return { connection, welcome: begun };
    } catch (error) {
      connection.terminate(); // a try that was given up must not reach the server later
      throw error;
    }
  };
}
