// A conversation in which the terminal of this process is joined to that of the server's program: keys go there as they are, output
// comes from there as it is. The program draws, and parley draws over it only to say that the connection is lost, and with `~?`.
//
//     keys → KeyEscapes ── text → waiting → client.send, as far as the server takes it; more than that stays in the kernel
//                       └─ ~.   → client.leave
//
// When none was sent for a while, the keys in the kernel are read all the same, since `~.` may be among them: their text is dropped,
// which is shown.
//
// Without a connection the keys wait, and are sent after it has come back, in the same session only: a new one may run another program.

import type { Client, Outcome } from "../../client/client.ts";
import type { Resumed } from "../../client/reconnect.ts";
import { escapeLine } from "../../base/escape.ts";
import { JOINED_NOTICE_MS, KEYS_STALLED_MS, MAX_WAITING_KEYS_BYTES, REDRAW_MS } from "../../base/limits.ts";
import { sayDuration, saySize } from "../../base/units.ts";
import { KeyEscapes, type EscapeCommand } from "../../terminal/key-escapes.ts";
import { RawTerminal, windowSize } from "../../terminal/raw-terminal.ts";
import { ScreenModes } from "../../terminal/screen-modes.ts";
import { stdout } from "../../terminal/stdio.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { isTerm, type ClientTerminal, type WindowSize } from "../../wire/message.ts";

const HELP = "after Enter:  ~. leaves   ~^Z suspends   ~~ sends ~   ~? shows this";
/** The longest message of keys. */
const MAX_KEYS_BYTES = 16 * 1024;

export class JoinedTerminal {
  readonly #terminal: Terminal;
  readonly #modes = new ScreenModes();
  readonly #escapes = new KeyEscapes();
  #client: Client | undefined;
  #raw: RawTerminal | undefined;
  /** Keys that are not sent yet. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isSending = false;
  /** Runs while keys stay in the kernel. */
  #stall: Timer | undefined;
  #isDropping = false;
  #droppedBytes = 0;
  #lossNotice: Timer | undefined;
  /** True when the loss of the connection was shown. */
  #isLossShown = false;
  #redrawing: Timer | undefined;
  /** Bytes of keys that were dropped, and of those that waited when something other than the program's end has ended the conversation. */
  unsent = 0;
  /** True when the person left while the connection was lost. */
  hasLeftAway = false;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** This terminal, for the login. */
  get description(): ClientTerminal {
    const { TERM } = process.env;
    return { ...(isTerm(TERM) ? { term: TERM } : {}), ...size() };
  }

  /**
   * Holds the conversation until the program has ended, the connection is lost for good, or the person leaves.
   *
   * @param greeting the first line, shown once keys are read.
   */
  async talk(client: Client, greeting: string): Promise<Outcome> {
    this.#client = client;
    this.#raw = new RawTerminal({
      keys: (bytes) => this.#onKeys(bytes),
      resized: () => client.sendWindow(size()),
      stopping: () => void stdout.write(this.#modes.end()),
      continued: () => {
        void stdout.write(this.#modes.restore());
        this.#redraw();
      },
      closed: () => client.leave(),
    });
    this.#terminal.showRaw = (text) => this.#show(text);
    void stdout.write(`${escapeLine(greeting)}\r\n`);
    let outcome: Outcome | undefined;
    try {
      client.sendWindow(size());
      outcome = await client.converse((output) => {
        this.#modes.push(output);
        return stdout.write(output);
      });
      return outcome;
    } finally {
      this.#leave(outcome?.kind === "bye" && outcome.code === "done");
    }
  }

  /** The connection is lost. A short loss is not shown: the screen belongs to the program. */
  lost(reason: string): void {
    clearTimeout(this.#lossNotice);
    this.#lossNotice = setTimeout(() => {
      this.#isLossShown = true;
      this.#show(`${escapeLine(reason)}: reconnecting; what you type waits for that; Enter ~ . leaves`);
    }, JOINED_NOTICE_MS);
  }

  /** The session continues over another connection. */
  resumed({ afterMs }: Resumed): void {
    clearTimeout(this.#lossNotice);
    if (this.#isLossShown) this.#show(`reconnected after ${sayDuration(afterMs)}, nothing lost`);
    this.#isLossShown = false;
    this.#redraw();
  }

  #leave(isDone: boolean): void {
    clearTimeout(this.#lossNotice);
    clearTimeout(this.#redrawing);
    clearTimeout(this.#stall);
    this.#terminal.showRaw = undefined;
    void stdout.write(`${this.#modes.end()}${isDone ? "" : "\r\n"}`);
    this.#raw?.leave();
    this.unsent = this.#droppedBytes + (isDone ? 0 : this.#waitingBytes);
  }

  #onKeys(keys: Uint8Array): void {
    this.#escapes.push(
      keys,
      (text) => this.#type(text),
      (command) => this.#obey(command),
    );
  }

  #obey(command: EscapeCommand): void {
    if (command === "help") {
      this.#show(HELP);
      clearTimeout(this.#redrawing);
      if (this.#modes.isAlternate) this.#redrawing = setTimeout(() => this.#redraw(), JOINED_NOTICE_MS * 4);
    } else if (command === "suspend") {
      this.#raw?.suspend();
    } else {
      this.hasLeftAway = this.#client?.isReconnecting === true;
      this.#client?.leave();
    }
  }

  #type(text: Uint8Array): void {
    if (this.#isDropping) return void (this.#droppedBytes += text.length);
    this.#waiting.push(new Uint8Array(text));
    this.#waitingBytes += text.length;
    void this.#send();
    if (this.#waitingBytes <= MAX_WAITING_KEYS_BYTES) return;
    this.#raw?.pauseKeys();
    this.#stall ??= setTimeout(() => this.#drop(), KEYS_STALLED_MS);
  }

  /** Reads the keys in the kernel for the commands among them. */
  #drop(): void {
    this.#isDropping = true;
    this.#show(
      `${saySize(MAX_WAITING_KEYS_BYTES)} of keys wait: what you type now is dropped; Enter ~ . leaves`,
    );
    this.#raw?.resumeKeys();
  }

  /** Some of the waiting keys were sent. */
  #hasSent(): void {
    if (this.#waitingBytes > MAX_WAITING_KEYS_BYTES) return void this.#stall?.refresh();
    clearTimeout(this.#stall);
    this.#stall = undefined;
    this.#isDropping = false;
    this.#raw?.resumeKeys();
  }

  async #send(): Promise<void> {
    const client = this.#client;
    if (client === undefined || this.#isSending) return;
    this.#isSending = true;
    while (this.#waitingBytes > 0 && !client.isOver) {
      const room = client.writable();
      if (room === undefined) {
        client.send(this.#take(Math.min(MAX_KEYS_BYTES, client.maxFrame)));
        this.#hasSent();
      } else await room;
    }
    this.#isSending = false;
  }

  /** The first `most` bytes that wait, at most. */
  #take(most: number): Uint8Array {
    const all = Buffer.concat(this.#waiting);
    const taken = all.subarray(0, most);
    const rest = all.subarray(most);
    this.#waiting = rest.length === 0 ? [] : [rest];
    this.#waitingBytes = rest.length;
    return taken;
  }

  /** Makes the program draw its screen again: its window gets a row less, and then its size. */
  #redraw(): void {
    clearTimeout(this.#redrawing);
    const { columns, rows } = size();
    this.#client?.sendWindow({ columns, rows: rows > 1 ? rows - 1 : rows + 1 });
    this.#redrawing = setTimeout(() => this.#client?.sendWindow(size()), REDRAW_MS);
  }

  /** Shows a text of parley's own: over the last row of a full-screen program, else below the output. */
  #show(text: string): void {
    if (!this.#modes.isAlternate)
      return void stdout.write(this.#modes.between(`\r\n${text.replaceAll("\n", "\r\n")}\r\n`));
    const line = text.replaceAll("\n", " ");
    const wrap = this.#modes.wraps ? "\x1b[?7h" : "";
    const row = `\x1b7\x1b[${size().rows};1H\x1b[?7l\x1b[7m${line}\x1b[m\x1b[K${wrap}\x1b8`;
    void stdout.write(this.#modes.between(row));
  }
}

function size(): WindowSize {
  return windowSize() ?? { columns: 80, rows: 24 };
}
