// parley connect: flags → a client, its credential, and a conversation by hand or through pipes.

import { defineCommand } from "citty";
import type { SharedKey } from "../../auth/shared-key.ts";
import type { Client } from "../../client/client.ts";
import { connectClient } from "../../client/connect.ts";
import type { ClientOptions, Retry } from "../../client/options.ts";
import { ClientState } from "../../client/client-state.ts";
import { DataFolder } from "../../files/data-folder.ts";
import { ownCommand } from "../../base/own-command.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { escapeLine } from "../../base/escape.ts";
import { count, duration } from "../../base/option-kinds.ts";
import { sayDuration } from "../../base/units.ts";
import { plural } from "../../base/plural.ts";
import { talkInteractively } from "./interactive.ts";
import { DONE_MESSAGE } from "../../wire/message.ts";
import { JoinedTerminal } from "./joined-terminal.ts";
import { permitDrawing } from "./drawing.ts";
import { BufferedStdout } from "../../terminal/stdout.ts";
import { talkPiped, type PipedOptions } from "./piped.ts";
import { LeavingSignals } from "./signals.ts";
import { Printer } from "./printer.ts";
import { planRetry } from "./retry.ts";
import { conclude, concludeLogout, nameUnconfirmed, sayLoss } from "./outcome.ts";
import { forward, planListen } from "./listen.ts";
import { forgetServer, listTokens } from "./remembered.ts";
import { ChatNames } from "./chat-names.ts";
import { Trace } from "./frame-trace.ts";
import type { Framing } from "../../wire/frame.ts";
import type { Tap } from "../../net/connection.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { isInputTerminal, stderr, stdout } from "../../terminal/stdio.ts";
import { bench } from "./bench.ts";
import { check } from "./check.ts";
import {
  connectFlags,
  connectRules,
  findTarget,
  planChannel,
  readMaxFrame,
  type ChannelPlan,
  type ConnectFlags,
  type Target,
} from "./flags.ts";
import { Flags, readFraming, sharedKey, terminalOf } from "../flags.ts";
import { CredentialPrompt } from "./credentials.ts";
import { about, type Arguments } from "../parse.ts";

export default defineCommand({
  meta: about({
    name: "connect",
    description: "log in to a server, send messages and print the answers",
    examples: [
      ["parley connect ann@127.0.0.1:13131", "type messages"],
      ["parley connect 127.0.0.1:13131 --send hi", "send one, print the answers"],
      ["seq 9 | parley connect 127.0.0.1:13131", "send each line"],
      ["parley connect 127.0.0.1:13131 --check", "test the connection"],
      ["parley connect 127.0.0.1:13131 --listen 5432", "forward a local port"],
    ],
    rules: connectRules,
  }),
  args: connectFlags,
  run: ({ args }) => connect(new Flags(args as Arguments)),
});

async function connect(flags: ConnectFlags): Promise<void> {
  const terminal = terminalOf(flags);
  const listenAt = planListen(flags);
  const options = readPipedOptions(flags);
  const framing = readFraming(flags);
  const folder = new DataFolder(flags.text("data"));
  const state = new ClientState(folder);
  if (flags.has("sessions")) return listTokens(state, terminal, flags.has("json"));
  const target = await findTarget(flags, state, terminal);
  if (flags.has("forget")) return forgetServer(target, state, folder.knownServers, terminal);
  const channel = planChannel(flags, target, state, terminal);
  const key = sharedKey(flags);
  const login = new CredentialPrompt(flags, target, state, terminal, channel !== undefined);
  if (flags.has("logout") && !login.hasToken) {
    throw new ParleyError("failed", `cannot log out: no stored session token for ${target.server}`, {
      hint: `list the stored tokens with: ${ownCommand("connect --sessions")}`,
    });
  }
  if (flags.has("check")) return check(flags, target, { channel, key, login, terminal });
  const byHand = isInputTerminal() && stderr.isTerminal && !isForPipes(options);
  const output = new BufferedStdout(!byHand);
  const chatNames = new ChatNames(terminal.hasColor(stdout));
  let isChat = false;
  const printer = new Printer(output, {
    json: flags.has("json"),
    delimiter: { raw: "", nul: "\0", lines: "\n" }[options.form],
    toTerminal: stdout.isTerminal && options.form !== "raw",
    decorate: (line) => (isChat ? chatNames.show(line) : line),
  });
  /** Set once the person has let the server's program draw on this terminal. */
  let joined: JoinedTerminal | undefined;
  const mayJoin = canJoin(flags, options) && listenAt === undefined;
  if (flags.has("pty") && !mayJoin)
    throw usageError(
      "--pty requires a terminal, on standard input and standard output",
      "leave --pty out: without a terminal the program's input and output are lines",
    );
  const retry =
    flags.has("bench") || listenAt !== undefined
      ? undefined
      : planRetry(flags, byHand || mayJoin, { printer, terminal, joined: () => joined });
  const clientOptions = planClient(flags, target, {
    framing,
    channel,
    key,
    login,
    printer,
    retry,
    terminal,
    takesLines: byHand && !flags.has("logout") && listenAt === undefined,
    join: {
      may: mayJoin,
      joined: () => joined,
      async permit() {
        await permitDrawing(target.server, { state, terminal, isGiven: flags.has("pty") });
        joined ??= new JoinedTerminal(terminal);
      },
    },
  });
  if (listenAt !== undefined) {
    return forward(flags, listenAt, clientOptions, { target, login, printer, terminal }).finally(() =>
      output.flush(),
    );
  }
  const opening = connectClient(clientOptions);
  const client = await opening.finally(() => terminal.restoreEcho());
  if (options.form === "raw" && client.hello?.messages === "lines") {
    client.leave();
    throw new ParleyError("failed", "cannot send raw bytes: the remote program reads lines", {
      hint: "leave out --raw, or start the server with --program-io bytes",
    });
  }
  isChat = client.hello?.service === "chat";
  await login.keep(client);
  if (flags.has("bench")) {
    const { count, timeoutMs } = options;
    await bench(client, { json: flags.has("json"), count, timeoutMs, printer, terminal });
    return output.flush();
  }
  void printer.event("logged-in", { user: client.welcome?.user ?? null });
  if (flags.has("logout")) {
    concludeLogout(await client.converse(() => undefined));
    return terminal.say("logged out");
  }
  using signals = new LeavingSignals(client, terminal, { atOnce: joined !== undefined });
  const talk = joined
    ? joined.talk(client, greeting(client, target, "Enter ~ ? for help"))
    : byHand
      ? talkInteractively(client, {
          greeting: greeting(client, target, "/help for help, Ctrl-D to quit"),
          historyFile: folder.exists ? folder.history : undefined,
          prompt: `${escapeLine(client.welcome?.user ?? "")}> `,
          printer,
          terminal,
          chat: isChat ? chatNames : undefined,
        })
      : talkPiped(client, printer, options);
  const printing = stdout.failed.then((error) => Promise.reject(error));
  const outcome = await Promise.race([talk, printing]).catch((error: unknown) => {
    client.leave(); // otherwise the server would keep the session, and the others in a chat would not see that we left
    if (byHand && joined === undefined) terminal.say(...nameUnconfirmed(client.unacknowledgedMessages()));
    // Printing fails also on a terminal that was closed.
    throw (
      signals.error ?? (terminal.hasHungUp ? new ParleyError("hung_up", "the terminal was closed") : error)
    );
  });
  if (outcome.kind === "bye" && outcome.code === "done") {
    const { status = 0, message } = outcome;
    const isFailure = status !== 0 && !flags.has("exit-status");
    if (isFailure || (byHand && message !== DONE_MESSAGE)) terminal.say(escapeLine(message));
  }
  if (signals.error !== undefined) {
    if (joined === undefined) terminal.say(...nameUnconfirmed(client.unacknowledgedMessages()));
    throw signals.error;
  }
  if (outcome.kind === "bye") void printer.event("bye", { ...outcome, kind: undefined, early: undefined });
  if (outcome.kind === "lost" || outcome.kind === "fault")
    void printer.event("lost", { reason: sayLoss(outcome) });
  await output.flush();
  // Keys may be a password.
  if (joined === undefined) terminal.say(...nameUnconfirmed(client.unacknowledgedMessages()));
  const wishes = {
    byHand: byHand || joined !== undefined,
    isKeys: joined !== undefined && !joined.hasLeftAway,
    count: options.count,
    wantsStatus: flags.has("exit-status"),
  };
  const unsent = `${plural(joined?.unsent ?? 0, "typed byte", ["was", "were"])} never sent`;
  if (joined !== undefined && joined.unsent > 0 && outcome.kind !== "left") terminal.say(unsent);
  process.exitCode = conclude(outcome, client, wishes);
  if (joined !== undefined && joined.unsent > 0) throw new ParleyError("unconfirmed", unsent);
}

interface OpenContext {
  framing: Framing | undefined;
  channel: ChannelPlan | undefined;
  key: SharedKey | undefined;
  login: CredentialPrompt;
  printer: Printer;
  retry: Retry | undefined;
  terminal: Terminal;
  /** Are messages typed, a line each? */
  takesLines: boolean;
  join: Joining;
}

/** The joining of this terminal to that of the server's program. */
interface Joining {
  may: boolean;
  joined: () => JoinedTerminal | undefined;
  /** Asks for the permission; joins after it. */
  permit: () => Promise<void>;
}

function planClient(
  flags: ConnectFlags,
  target: Target,
  { framing, channel, key, login, printer, retry, terminal, takesLines, join }: OpenContext,
): ClientOptions {
  const bare = flags.has("bare");
  const maxFrame = readMaxFrame(flags);
  const trace = new Trace({ bare, framing, maxFrame }, (lines) => terminal.noteUnwrapped(lines));
  const tap: Tap = (direction, bytes) => {
    trace.see(direction, bytes);
    return stderr.writable();
  };
  return {
    host: target.host,
    port: target.port,
    bare,
    framing,
    ...channel,
    key,
    waitMs: flags.read("wait", duration(0)),
    timeoutMs: flags.read("timeout", duration()),
    wantsToken: !flags.has("no-token"),
    retry,
    maxFrame,
    tap: flags.has("trace") ? tap : undefined,
    terminal: () => join.joined()?.description,
    async credential(hello, refused) {
      if (join.may && hello.terminal === true) await join.permit();
      return login.credential(hello, refused);
    },
    givenCredential: () => login.givenCredential(),
    onNewLogin: (hello, welcome) => login.keep({ hello, welcome }),
    onDial: () => trace.restart(),
    onTurnedAway(message, seconds) {
      if (terminal.isWatched) terminal.note(`${message} (next try in ${sayDuration(seconds * 1000)})`);
    },
    onAside(text) {
      terminal.noteUnwrapped(text);
      return stderr.writable();
    },
    onNoChallenge: () =>
      terminal.say("warning: the server did not ask for the shared key: start it with --key-file, too"),
    onWait: () => terminal.isWatched && terminal.note(`waiting for ${target.server}`),
    onConnected(hello) {
      const joins = join.may && hello?.terminal === true;
      if (flags.has("pty") && !joins)
        throw usageError(
          `--pty: the service of ${target.server} has no terminal`,
          "start the server with --pty, too",
        );
      if (retry !== undefined) retry.sameSession = joins || hello?.messages === "bytes";
      // Of a terminal that is not joined, and has standard error elsewhere, the messages are as in a pipe.
      if (retry !== undefined && join.may && !joins && !takesLines && !flags.isGiven("retry"))
        retry.times = retry.forMs = 0;
      if (takesLines && !joins && hello?.messages === "bytes") {
        throw usageError(
          `${target.server} passes on bytes, and a terminal sends lines`,
          "add --raw and connect programs to it: producer | parley connect … --raw | consumer",
        );
      }
      void printer.event("connected", { server: target.server, service: hello?.service, auth: hello?.auth });
    },
  };
}

/** Do the flags ask for something that a line editor does not do? */
function isForPipes({ messages, count, timeoutMs, form }: PipedOptions): boolean {
  return messages.length > 0 || count !== undefined || timeoutMs !== undefined || form !== "lines";
}

/** May this terminal be joined to that of a program? */
function canJoin(flags: ConnectFlags, options: PipedOptions): boolean {
  const other = (["json", "bare", "logout", "bench"] as const).some((name) => flags.has(name));
  return isInputTerminal() && stdout.isTerminal && !isForPipes(options) && !other;
}

function readPipedOptions(flags: ConnectFlags): PipedOptions {
  const form = flags.has("raw") ? "raw" : flags.has("null") ? "nul" : "lines";
  const messages = flags.texts("send");
  const readsMessages =
    messages.length === 0 && !(["listen", "check", "bench"] as const).some((name) => flags.isGiven(name));
  if (flags.has("password-stdin") && readsMessages) {
    throw usageError(
      "--password-stdin uses standard input: it cannot send messages, too",
      "send them with --send TEXT",
    );
  }
  return {
    messages,
    count: flags.read("count", count(1, 2 ** 31)),
    timeoutMs: flags.read("timeout", duration()),
    wantsStatus: flags.has("exit-status"),
    form,
  };
}

function greeting({ welcome, hello }: Client, { server }: Target, help: string): string {
  if (welcome === undefined) return `connected to ${server}, bare frames; Ctrl-D to quit`;
  const back = welcome.last_login === undefined ? "" : " back";
  const who = welcome.user === null ? "" : `, welcome${back}, ${welcome.user}`;
  return `${hello?.service ?? "connected"} at ${server}${who}; ${help}`;
}
