// A session token that a login issues. The server stores its digest, and sends the token to the client once.

import { TOKEN_MAX_MS } from "../base/limits.ts";
import { addToken } from "./accounts.ts";
import type { Document, Token } from "./document.ts";
import type { Identity, LoginClient } from "./identity.ts";
import { mintServerName, mintToken, tokenKey } from "./token.ts";

/** A new token of a user; {@link putToken} stores it. */
export interface IssuedToken {
  id: string;
  /** Its text, for the client alone. */
  text: string;
  /** Its record, for the store. */
  token: Token;
}

export function newToken(user: string, { address, encrypted }: LoginClient): IssuedToken {
  const { id, secret, text } = mintToken();
  const now = new Date();
  const token = {
    user,
    key: tokenKey(secret).toString("base64"),
    created: now.toISOString(),
    used: now.toISOString(),
    expires: new Date(now.getTime() + TOKEN_MAX_MS).toISOString(),
    peer: address,
    via: encrypted ? ("tls" as const) : ("plain" as const),
  };
  return { id, text, token };
}

/** Stores a token of a user with the credential `stamp`. @throws {AccountError} as {@link addToken}. */
export function putToken(draft: Document, { id, token }: IssuedToken, stamp: string): void {
  addToken(draft, id, token, stamp);
  draft.server ??= mintServerName();
}

/** `identity` with a token that was stored in `document`. */
export function withToken(
  identity: Identity,
  { id, text, token }: IssuedToken,
  document: Readonly<Document>,
): Identity {
  return { ...identity, tokenId: id, newToken: { text, expires: token.expires, server: document.server } };
}
