// When a conversation has to end because what its login stood on is gone.

import { expect, test } from "bun:test";
import { renewIdentity, whyEnded, type Identity } from "../../src/auth/identity.ts";
import { credentialStamp } from "../../src/auth/accounts.ts";
import { emptyDocument, type Document, type User } from "../../src/auth/document.ts";
import { TOKEN_IDLE_MS } from "../../src/limits.ts";

const ANN: User = { password: "$argon2id$", created: "2026-01-01T00:00:00.000Z", disabled: null };
const UNTIL = Date.parse("2026-01-08T00:00:00.000Z");
const ARRIVAL: Identity = {
  user: "ann",
  method: "token",
  known: true,
  stamp: credentialStamp(ANN),
  tokenId: "abcdefgh",
  tokenUntil: UNTIL,
};
const TOKEN = { user: "ann", key: "", created: ANN.created, used: ANN.created, expires: ANN.created };

function store(user: User | undefined, hasToken: boolean): Document {
  const document = emptyDocument();
  if (user !== undefined) document.users.set("ann", user);
  if (hasToken) document.tokens.set("abcdefgh", TOKEN);
  return document;
}

const CASES: [string, Document, Identity, number, string | undefined][] = [
  ["all as it was", store(ANN, true), ARRIVAL, UNTIL - 1, undefined],
  ["the user was removed", store(undefined, false), ARRIVAL, UNTIL - 1, "this account was removed"],
  [
    "the user was disabled",
    store({ ...ANN, disabled: { since: ANN.created, reason: "on holiday" } }, true),
    ARRIVAL,
    UNTIL - 1,
    "this account is disabled: on holiday",
  ],
  [
    "the password is another",
    store({ ...ANN, changed: "2026-01-02T00:00:00.000Z" }, true),
    ARRIVAL,
    UNTIL - 1,
    "the password was changed",
  ],
  [
    "the hash was made stronger",
    store({ ...ANN, password: "$argon2id$stronger" }, true),
    ARRIVAL,
    UNTIL - 1,
    undefined,
  ],
  ["the token was revoked", store(ANN, false), ARRIVAL, UNTIL - 1, "this login was revoked"],
  ["the token died of age", store(ANN, false), ARRIVAL, UNTIL, undefined],
  ["no token was wanted", store(ANN, false), { ...ARRIVAL, tokenId: undefined }, UNTIL - 1, undefined],
  [
    "nobody logged in",
    store(undefined, false),
    { user: null, method: "none", known: false },
    UNTIL,
    undefined,
  ],
];

test("a token that lives longer by now, and is revoked after its first end, ends the conversation", () => {
  const used = "2026-01-07T12:00:00.000Z";
  const document = store(ANN, false);
  const expires = "2027-01-01T00:00:00.000Z";
  document.tokens.set("abcdefgh", { ...TOKEN, used, expires });
  const identity = { ...ARRIVAL };
  renewIdentity(document, identity);
  expect(identity.tokenUntil).toBe(Date.parse(used) + TOKEN_IDLE_MS);
  document.tokens.clear();
  renewIdentity(document, identity);
  expect(whyEnded(document, identity, UNTIL + 1)?.message).toBe("this login was revoked");
});

test.each(CASES)("%s", (_, document, arrival, now, message) => {
  expect(whyEnded(document, arrival, now)?.message).toBe(message);
});
