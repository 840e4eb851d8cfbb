// Finds the commands for the client among the keys for a program elsewhere, as ssh(1) does: `~` after Enter begins one.
//
//     begin of a line ── ~ ──→ tilde ── . ? ~ Ctrl-Z ──→ command; with any other key both are text
//
// Text that was pasted has no commands, where the terminal marks it (see line-editor.ts).

export type EscapeCommand = "leave" | "help" | "suspend";

const TILDE = 0x7e;
const CARRIAGE_RETURN = 13;
const LINE_FEED = 10;

const COMMANDS: ReadonlyMap<number, EscapeCommand> = new Map([
  [0x2e, "leave"],
  [0x3f, "help"],
  [0x1a, "suspend"],
]);

const PASTE_BEGINS = Buffer.from("\x1b[200~");
const PASTE_ENDS = Buffer.from("\x1b[201~");

export class KeyEscapes {
  #state: "begin of line" | "tilde" | "text" = "begin of line";
  /** The mark that is awaited, and how many of its bytes have come. */
  #mark = PASTE_BEGINS;
  #marked = 0;

  /** Calls `text` and `command` for the parts of `keys`, in their order. */
  push(keys: Uint8Array, text: (bytes: Uint8Array) => void, command: (name: EscapeCommand) => void): void {
    let from = 0;
    for (let at = 0; at < keys.length; at++) {
      const key = keys[at]!;
      const isText = this.#mark === PASTE_ENDS;
      this.#lookForMark(key);
      if (isText) continue;
      if (this.#state === "tilde") {
        const name = COMMANDS.get(key);
        if (name !== undefined || key !== TILDE) this.#afterTilde(name, text, command);
        if (name !== undefined) from = at + 1;
        else this.#state = isLineEnd(key) ? "begin of line" : "text";
      } else if (this.#state === "begin of line" && key === TILDE) {
        if (at > from) text(keys.subarray(from, at));
        from = at + 1;
        this.#state = "tilde";
      } else {
        this.#state = isLineEnd(key) ? "begin of line" : "text";
      }
    }
    if (keys.length > from) text(keys.subarray(from));
  }

  #afterTilde(
    name: EscapeCommand | undefined,
    text: (bytes: Uint8Array) => void,
    command: (name: EscapeCommand) => void,
  ): void {
    this.#state = "begin of line";
    if (name === undefined) text(Uint8Array.of(TILDE));
    else command(name);
  }

  #lookForMark(key: number): void {
    this.#marked = key === this.#mark[this.#marked] ? this.#marked + 1 : key === PASTE_BEGINS[0] ? 1 : 0;
    if (this.#marked < this.#mark.length) return;
    this.#mark = this.#mark === PASTE_BEGINS ? PASTE_ENDS : PASTE_BEGINS;
    this.#marked = 0;
  }
}

function isLineEnd(key: number): boolean {
  return key === CARRIAGE_RETURN || key === LINE_FEED;
}
