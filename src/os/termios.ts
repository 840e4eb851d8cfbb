// The settings of a terminal, as stty(1) shows them, for terminal/raw-terminal.ts. Bun's own raw mode turns a line feed of the output
// into a carriage return and a line feed, which would spoil what a program draws that has turned that off.

import { call } from "./libc.ts";

/** `struct termios` has 60 bytes on Linux and 72 on macOS. */
const TERMIOS_BYTES = 256;
/** TCSANOW, the same on Linux and macOS. */
const NOW = 0;

/** The settings of the terminal at `fd`; undefined when there is none. */
export function terminalSettings(fd: number): Uint8Array | undefined {
  const settings = new Uint8Array(TERMIOS_BYTES);
  return call("tcgetattr", ["i32", "ptr"])(fd, settings) === 0 ? settings : undefined;
}

/** As `settings`, but every byte passes unchanged in both directions, and no key is a signal. */
export function rawSettings(settings: Uint8Array): Uint8Array {
  const raw = new Uint8Array(settings);
  call("cfmakeraw", ["ptr"])(raw);
  return raw;
}

/** Sets the terminal at `fd`. A process in the background is stopped by that. False when the terminal is gone. */
export function setTerminal(fd: number, settings: Uint8Array): boolean {
  return call("tcsetattr", ["i32", "i32", "ptr"])(fd, NOW, settings) === 0;
}
