// The modes of a terminal that the output of a program has set, so that they can be ended when the program cannot do it any more:
// its connection is lost, or the client leaves. Without that a person would get a hidden cursor, or letters for each move of the
// mouse. Only modes that are off on a new terminal count, and the cursor.

/** Modes of DEC and xterm that programs set. */
const MODES: ReadonlySet<string> = new Set(
  // Keys of the cursor; screens; mouse: buttons, moves, encodings; focus; marked pastes.
  ["1", "47", "1047", "1049", "9", "1000", "1002", "1003", "1005", "1006", "1015", "1016", "1004", "2004"],
);
const CURSOR = "25";
const ALTERNATE_SCREENS = ["47", "1047", "1049"];

/** DECSET and DECRST, and the keypad's modes. */
// oxlint-disable-next-line no-control-regex
const SEQUENCE = /\u001b(?:\[\?([\d;]*)([hl])|([=>]))/g;
/** The begin of such a sequence at the end of a chunk; a longer one is none. */
// oxlint-disable-next-line no-control-regex
const UNFINISHED = /\u001b(?:\[(?:\?[\d;]{0,40})?)?$/;
const ESCAPE = 0x1b;

export class ScreenModes {
  readonly #on = new Set<string>();
  #isCursorHidden = false;
  #isKeypadOn = false;
  #unfinished = "";
  /** True when the output had escape sequences, and so perhaps colours. */
  #hasSequences = false;

  /** True while the program draws on the alternate screen, as full-screen programs do. */
  get isAlternate(): boolean {
    return ALTERNATE_SCREENS.some((mode) => this.#on.has(mode));
  }

  /** Follows a piece of output. */
  push(output: Uint8Array): void {
    if (this.#unfinished === "" && !output.includes(ESCAPE)) return;
    this.#hasSequences = true;
    const text = this.#unfinished + Buffer.from(output).toString("latin1");
    for (const [, modes, action, keypad] of text.matchAll(SEQUENCE)) {
      if (keypad !== undefined) this.#isKeypadOn = keypad === "=";
      for (const mode of modes?.split(";") ?? []) this.#set(mode, action === "h");
    }
    this.#unfinished = UNFINISHED.exec(text)?.[0] ?? "";
  }

  /** The sequences that end these modes, and colours. */
  end(): string {
    if (!this.#hasSequences) return "";
    const modes = [...this.#on].map((mode) => `\x1b[?${mode}l`).join("");
    return `\x1b[m${modes}${this.#isCursorHidden ? "\x1b[?25h" : ""}${this.#isKeypadOn ? "\x1b>" : ""}`;
  }

  /** The sequences that set these modes again. */
  restore(): string {
    const modes = [...this.#on].map((mode) => `\x1b[?${mode}h`).join("");
    return `${modes}${this.#isCursorHidden ? "\x1b[?25l" : ""}${this.#isKeypadOn ? "\x1b=" : ""}`;
  }

  #set(mode: string, isOn: boolean): void {
    if (mode === CURSOR) this.#isCursorHidden = !isOn;
    else if (!MODES.has(mode)) return;
    else if (isOn) this.#on.add(mode);
    else this.#on.delete(mode);
  }
}
