// What of the keys is text for the program, and what a command for the client, however the keys are cut.

import { describe, expect, test } from "bun:test";
import { KeyEscapes } from "../../src/terminal/key-escapes.ts";

/** The parts of `keys` that come in these pieces: text as it is, commands in angle brackets. */
function partsOf(pieces: string[]): string {
  const escapes = new KeyEscapes();
  let parts = "";
  for (const piece of pieces) {
    escapes.push(
      Buffer.from(piece),
      (bytes) => (parts += Buffer.from(bytes).toString()),
      (command) => (parts += `<${command}>`),
    );
  }
  return parts;
}

const PASTE = "\x1b[200~a\r~.\r~?b\r\x1b[201~";

describe("whole, cut in two anywhere, and key by key:", () => {
  test.each([
    ["", ""],
    ["ls ~/x\r", "ls ~/x\r"],
    ["~.", "<leave>"],
    ["ls\r~.", "ls\r<leave>"],
    ["ls\n~.", "ls\n<leave>"],
    ["ls~.\r", "ls~.\r"],
    ["\r~?~?\r", "\r<help><help>\r"],
    ["\r~\x1ax", "\r<suspend>x"],
    ["\r~~.", "\r~."],
    ["\r~~~.", "\r~~."],
    ["\r~x~.", "\r~x~."],
    ["\r~\r~.", "\r~\r<leave>"],
    ["\r~/~.", "\r~/~."],
    ["\r\x03\x04\x1a", "\r\x03\x04\x1a"],
    [PASTE, PASTE],
    [`${PASTE}\r~.`, `${PASTE}\r<leave>`],
    ["\x1b[20\r~.", "\x1b[20\r<leave>"],
    ["\x1b\x1b[200~\r~.\x1b\x1b[201~\r~?", "\x1b\x1b[200~\r~.\x1b\x1b[201~\r<help>"],
    ["ä\r~.", "ä\r<leave>"],
  ])("%j", (keys, parts) => {
    expect(partsOf([keys])).toBe(parts);
    expect(partsOf(Array.from(keys))).toBe(parts);
    for (let at = 0; at <= keys.length; at++) {
      const cut = Buffer.from(keys, "latin1");
      if (cut.length !== keys.length || Buffer.from(keys).length !== keys.length) continue; // a cut character is no text
      expect(partsOf([keys.slice(0, at), keys.slice(at)])).toBe(parts);
    }
  });
});
