// parley connect --check: each step from TCP to a first answer, with its time and a tick; for a person, or as JSON for a
// health check. An error of a step is thrown on, so that the exit code is that of any other connect.

import { setTimeout as delay } from "node:timers/promises";
import type { SharedKey } from "../../auth/shared-key.ts";
import type { Client } from "../../client/client.ts";
import { connectClient } from "../../client/connect.ts";
import type { Step } from "../../client/options.ts";
import { messageOf, ParleyError } from "../../base/errors.ts";
import { escapeJson, escapeLine } from "../../base/escape.ts";
import { HELLO_TIMEOUT_MS, LINGER_MS } from "../../base/limits.ts";
import { duration } from "../../base/option-kinds.ts";
import { readFraming } from "../flags.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { stdout } from "../../terminal/stdio.ts";
import { readMaxFrame, type ChannelPlan, type ConnectFlags, type Target } from "./flags.ts";
import type { CredentialPrompt } from "./credentials.ts";

interface CheckContext {
  channel: ChannelPlan | undefined;
  key: SharedKey | undefined;
  login: CredentialPrompt;
  terminal: Terminal;
}

type CheckStep = Step | "echo";

/** The answers of the services whose answers are known. */
const ANSWERS: ReadonlyMap<string, (text: string) => string> = new Map([
  ["echo", (text: string) => text],
  ["upper", (text: string) => text.toUpperCase()],
]);
const PROBE = "parley --check";

/** @throws {ParleyError} the error of the step that failed. */
export async function check(flags: ConnectFlags, target: Target, context: CheckContext): Promise<void> {
  const { channel, key, login, terminal } = context;
  const bare = flags.has("bare");
  const steps: CheckStep[] = [
    "tcp",
    ...(channel === undefined ? [] : (["tls"] as const)),
    ...(key === undefined ? [] : (["key"] as const)),
    ...(bare ? [] : (["hello", "login"] as const)),
    "echo",
  ];
  const show = new Steps(flags.has("json"), steps);
  try {
    const client = await connectClient({
      ...target,
      ...channel,
      bare,
      framing: readFraming(flags),
      key,
      waitMs: flags.read("wait", duration(0)),
      timeoutMs: flags.read("timeout", duration()),
      maxFrame: readMaxFrame(flags),
      wantsToken: false,
      credential: async (hello, refused) => {
        const credential = await login.credential(hello, refused);
        show.restart(); // the time in which a person typed does not count
        return credential;
      },
      onDial: () => show.restart(),
      onStep: (step) => show.done(step),
    }).finally(() => terminal.restoreEcho());
    await checkEcho(client, bare, flags.read("timeout", duration()) ?? HELLO_TIMEOUT_MS, show);
  } catch (error) {
    show.failed(messageOf(error));
    throw error;
  }
}

async function checkEcho(client: Client, bare: boolean, timeoutMs: number, show: Steps): Promise<void> {
  const service = client.hello?.service ?? "";
  const answerOf = ANSWERS.get(service);
  const answer = Promise.withResolvers<string>();
  const timer = setTimeout(() => answer.reject(new ParleyError("timeout", "no answer")), timeoutMs);
  const outcome = client.converse((payload) => answer.resolve(Buffer.from(payload).toString()));
  void outcome.then(() => answer.reject(new ParleyError("failed", "the session ended without an answer")));
  try {
    if (answerOf === undefined) {
      show.skipped(
        "echo",
        bare ? "the answer of a bare service is not known" : `the service ${service} is not an echo`,
      );
      return;
    }
    client.send(PROBE);
    if ((await answer.promise) !== answerOf(PROBE))
      throw new ParleyError("failed", "the server sent a wrong answer");
    show.done("echo");
  } finally {
    clearTimeout(timer);
    answer.promise.catch(() => undefined); // a skipped echo does not wait for the answer
    client.end();
    await Promise.race([outcome, delay(LINGER_MS)]);
    client.leave();
  }
}

/** Prints each step once it is done, has failed, or is skipped. */
class Steps {
  readonly #json: boolean;
  readonly #left: CheckStep[];
  #since = performance.now();

  constructor(json: boolean, steps: readonly CheckStep[]) {
    this.#json = json;
    this.#left = [...steps];
  }

  /** The time of the next step begins now. */
  restart(): void {
    this.#since = performance.now();
  }

  done(step: CheckStep): void {
    const ms = performance.now() - this.#since;
    this.#left.splice(this.#left.indexOf(step), 1);
    this.#show({ step, ok: true, ms: Math.round(ms * 100) / 100 });
    this.restart();
  }

  skipped(step: CheckStep, why: string): void {
    this.#left.splice(this.#left.indexOf(step), 1);
    this.#show({ step, ok: null, reason: why });
  }

  /** Marks the first step that is not done yet as failed. */
  failed(reason: string): void {
    const [step] = this.#left;
    if (step !== undefined)
      this.#show({ step, ok: false, ms: Math.round(performance.now() - this.#since), reason });
  }

  #show(result: { step: CheckStep; ok: boolean | null; ms?: number; reason?: string }): void {
    if (this.#json) return void stdout.write(`${escapeJson(result)}\n`);
    const { step, ok, ms, reason } = result;
    const mark = ok === null ? "-" : ok ? "✔" : "✘";
    const time = ms === undefined ? "" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
    void stdout.write(
      `${mark} ${step.padEnd(6)}${time.padStart(9)}  ${escapeLine(reason ?? "")}`.trimEnd() + "\n",
    );
  }
}
