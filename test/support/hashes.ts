// Hashes of "correct horse" as other programs make them (argon2-cffi, the reference implementation), and hashes that
// parley does not verify.

const SALT = "MDEyMzQ1Njc4OWFiY2RlZg";

/** What parley verifies, by what is special about it. */
export const FOREIGN = {
  "one lane": `$argon2id$v=19$m=64,t=1,p=1$${SALT}$MjZP1+1U9JUbDWvDvtLyEsZiNXOKEUxfi6O2oe46uxA`,
  "four lanes": `$argon2id$v=19$m=64,t=1,p=4$${SALT}$S/FBi8fKE/9UD4vtTkRFHLeCHpAVF7T4Uv7hV6/8lko`,
  "four lanes with the least memory": `$argon2id$v=19$m=32,t=1,p=4$${SALT}$Feha0oNrppe0kDuD74whMq8sOVybNouqOwtLV8x4CaM`,
  "three lanes that share memory unevenly": `$argon2id$v=19$m=100,t=1,p=3$${SALT}$+YHJx62VIJ7W71LUEjirKhAc6ZTvFSsr2JTl5UDD07s`,
  "sixteen lanes": `$argon2id$v=19$m=128,t=1,p=16$${SALT}$bz8zhd8n1nDC+PYmTvCV1jBdEV10QDKsqAeESxM336o`,
  "a short salt": "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc$fnZNV6mb4VPCzImQf57juJhIdxUnAYP33zHBDYjrVJ4",
  "a short tag": `$argon2id$v=19$m=64,t=1,p=1$${SALT}$YOFfoFCP/LuJgEgcVZ/ATw`,
  "a long tag": `$argon2id$v=19$m=64,t=1,p=1$${SALT}$rpKMtnYhm5npvlUG9ujc/GI3799XD6zB6vnbpKg2/7Ub+H896ATR8a2tCFwfPXwL5w1JiE2V+xeoFdOwG+ZBKg`,
} as const;

export const BCRYPT = "$2b$10$NVRDdQy6JTmWbXnFOYVLkOxq0C3iQU4k6HRrJt2wJ1bPtEsp7pDaO";
/** What is said of it. */
export const BCRYPT_FLAW = "it is bcrypt ($2b$), parley supports only argon2id";
