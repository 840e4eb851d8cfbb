// When a conversation has to end because what its login stood on is gone.

import { expect, test } from "bun:test";
import { whyEnded, type Identity } from "../../src/auth/identity.ts";
import { credentialStamp } from "../../src/auth/accounts.ts";
import { emptyDocument, type Document, type User } from "../../src/auth/document.ts";

const ANN: User = { password: "$argon2id$", created: "2026-01-01T00:00:00.000Z", disabled: null };
const ARRIVAL: Identity = {
  user: "ann",
  method: "token",
  known: true,
  stamp: credentialStamp(ANN),
  tokenId: "abcdefgh",
};
const TOKEN = { user: "ann", key: "", created: ANN.created, used: ANN.created, expires: ANN.created };

function store(user: User | undefined, hasToken: boolean): Document {
  const document = emptyDocument();
  if (user !== undefined) document.users.set("ann", user);
  if (hasToken) document.tokens.set("abcdefgh", TOKEN);
  return document;
}

const CASES: [string, Document, Identity, string | undefined][] = [
  ["all as it was", store(ANN, true), ARRIVAL, undefined],
  ["the user was removed", store(undefined, false), ARRIVAL, "this account was removed"],
  [
    "the user was disabled",
    store({ ...ANN, disabled: { since: ANN.created, reason: "on holiday" } }, true),
    ARRIVAL,
    "this account is disabled: on holiday",
  ],
  [
    "the password is another",
    store({ ...ANN, changed: "2026-01-02T00:00:00.000Z" }, true),
    ARRIVAL,
    "the password was changed",
  ],
  ["the hash was made stronger", store({ ...ANN, password: "$argon2id$stronger" }, true), ARRIVAL, undefined],
  [
    "the user was removed, and one of the same name was made at the same time",
    store({ ...ANN, id: "another" }, true),
    ARRIVAL,
    "this account was removed",
  ],
  ["the token was revoked", store(ANN, false), ARRIVAL, "this login was revoked"],
  ["no token was wanted", store(ANN, false), { ...ARRIVAL, tokenId: undefined }, undefined],
  ["nobody logged in", store(undefined, false), { user: null, method: "none", known: false }, undefined],
];

test.each(CASES)("%s", (_, document, arrival, message) => {
  expect(whyEnded(document, arrival)?.message).toBe(message);
});
