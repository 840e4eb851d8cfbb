// The file of a shared key: random bytes in hex, on one line, readable only for its owner.

import { keyFlaw, generateKey } from "./shared-key.ts";
import { ParleyError } from "../base/errors.ts";
import { LockedFile } from "../files/locked-file.ts";
import { readPrivateFile } from "../files/private-file.ts";

const HOW_TO_MAKE = "make one with: parley serve --key-file FILE, or: openssl rand -hex 32 > FILE";

/**
 * The key in `path`.
 *
 * @throws {FileError} when other users could read it.
 * @throws {ParleyError} `failed` when there is none, or it is not a valid key.
 */
export function readKeyFile(path: string): Buffer {
  const { text } = readPrivateFile(path);
  if (text === null) {
    throw new ParleyError("failed", `there is no key file ${path}`, {
      hint: "copy the key file of the server: both sides need the same key",
    });
  }
  const hex = text.trim();
  if (!/^(?:[\da-f]{2})+$/i.test(hex)) {
    throw new ParleyError("failed", `invalid key in ${path}: expected hexadecimal digits on one line`, {
      hint: HOW_TO_MAKE,
    });
  }
  const key = Buffer.from(hex, "hex");
  const flaw = keyFlaw(key);
  if (flaw !== undefined) throw new ParleyError("failed", `${path}: ${flaw}`, { hint: HOW_TO_MAKE });
  return key;
}

/** Creates a key file unless there is one; true when it did. @throws {FileError} `unwritable`. */
export async function makeKeyFile(path: string): Promise<boolean> {
  if (readPrivateFile(path).text !== null) return false; // it may be in a folder that cannot be written
  return new LockedFile(path).create(() => `${generateKey().toString("hex")}\n`);
}

/** True when there is no key file. @throws {FileError} `unwritable` when one could not be created. */
export async function lacksKeyFile(path: string): Promise<boolean> {
  if (readPrivateFile(path).text !== null) return false;
  await new LockedFile(path).tryToWrite();
  return true;
}
