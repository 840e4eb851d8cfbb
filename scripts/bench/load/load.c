// The load generator: one thread of epoll, so that server and load share no runtime and no habits. Every byte that comes back is
// compared. The result is a line of JSON on stdout; times are nanoseconds. An error is a sentence on stderr, and exit status 1.
//
//     cc -O2 -o /tmp/load scripts/bench/load/load.c                        # with TLS: -DWITH_TLS … -lssl -lcrypto
//     dist/parley serve --auth none --port 4000 & taskset -c 1 /tmp/load echo --port 4000 --pid $! --login none
//
//     load echo    --connections 50 --in-flight 32 --bytes 64 --warm-up 400000 --messages 1500000
//     load enter   --slots 8 --warm-up 20000 --times 20000 [--wait-for-hello] [--at-once]
//     load to-all  --members 1000 --warm-up 125 --messages 500
//     load idle    --few 1000 --many 5000 [--begun 1048576]   each with all but the last byte of a message of so many bytes
//     load hold    --connections 20000              until the end of its stdin, after a line on stdout
//
// All of them: --port N [--pid N] [--login bytes|none|token|password] [--token T] [--user U --password P] [--acknowledge] [--tls]
//
// --pid is the server's: its CPU time (with its children) and its resident memory are read right before and after what is
// measured. --acknowledge logs in as `parley connect` does: control frames, a session that could be resumed, acknowledgements in
// both directions, and no more on its way than the window allows. `enter` sends its login without waiting for `hello`, unless the
// login is a token, whose proof needs the server's nonce. It says for each step how long it took since connect() was called;
// `closed` is the server's FIN. With --at-once it closes after the echo and does not wait for that.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

enum {
  HEADER = 4,
  CHUNK = 512 << 10,
  EVENTS = 1024,
  REST_MS = 1000,             // for the server to come to rest before it is looked at
  JOIN_MS = 300,              // until all members are in the room
  LONGEST_LOGIN = 4096,       // a frame until `welcome`
  LONGEST_CONTROL = 512,      // of what a server says to an echo
  STALL_MS = 60000,           // without any event for so long, nothing will come
  LOGINS_AT_ONCE = 8,         // as many as a server takes from one address by default
  ACK_FRAMES = 256,           // as the protocol says
  ACK_BYTES = 256 << 10,
  ACK_MS = 100,
  WINDOW_FRAMES = 1024,
  WINDOW_BYTES = 1 << 20,     // unless `welcome` says another one
};

// --- errors, time, options ---

static void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  exit(1);
}

static void *allocate(size_t bytes) {
  void *memory = calloc(1, bytes);
  if (memory == NULL) fail("no memory for %zu bytes", bytes);
  return memory;
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct {
  long port, pid, connections, in_flight, bytes, warm_up, messages, slots, times, members, few, many, begun;
  int acknowledge, tls, wait_for_hello, at_once;
  const char *login, *token, *user, *password;
} options = {.connections = 50, .in_flight = 1, .bytes = 64, .slots = 8, .messages = 100000, .warm_up = 20000,
             .times = 20000, .members = 100, .few = 1000, .many = 5000, .login = "bytes", .user = "", .password = ""};

static const struct {
  const char *flag;
  long *number;
  long least;
} NUMBERS[] = {
    {"port", &options.port, 1},         {"pid", &options.pid, 1},         {"connections", &options.connections, 1},
    {"in-flight", &options.in_flight, 1}, {"bytes", &options.bytes, 1},   {"warm-up", &options.warm_up, 0},
    {"messages", &options.messages, 1}, {"slots", &options.slots, 1},     {"times", &options.times, 1},
    {"members", &options.members, 1},   {"few", &options.few, 1},         {"many", &options.many, 1},
    {"begun", &options.begun, 1},
};
static const struct {
  const char *flag;
  const char **text;
} TEXTS[] = {{"login", &options.login}, {"token", &options.token}, {"user", &options.user}, {"password", &options.password}};
static const struct {
  const char *flag;
  int *is_set;
} SWITCHES[] = {{"acknowledge", &options.acknowledge}, {"tls", &options.tls}, {"wait-for-hello", &options.wait_for_hello},
                {"at-once", &options.at_once}};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static int is(const char *text, const char *other) { return strcmp(text, other) == 0; }

// Gives how many arguments it took.
static int read_option(const char *flag, const char *value) {
  if (strncmp(flag, "--", 2) != 0) fail("%s is no flag", flag);
  for (size_t index = 0; index < COUNT(SWITCHES); index++)
    if (is(flag + 2, SWITCHES[index].flag)) return *SWITCHES[index].is_set = 1;
  for (size_t index = 0; index < COUNT(TEXTS); index++) {
    if (!is(flag + 2, TEXTS[index].flag)) continue;
    if (value == NULL) fail("%s needs a value", flag);
    *TEXTS[index].text = value;
    return 2;
  }
  for (size_t index = 0; index < COUNT(NUMBERS); index++) {
    if (!is(flag + 2, NUMBERS[index].flag)) continue;
    char *end = NULL;
    long number = value == NULL ? -1 : strtol(value, &end, 10), least = NUMBERS[index].least;
    if (value == NULL || *value == 0 || *end != 0 || number < least) fail("%s needs a whole number of at least %ld", flag, least);
    *NUMBERS[index].number = number;
    return 2;
  }
  fail("there is no flag %s", flag);
  return 0;
}

static void read_options(int argc, char **argv) {
  for (int at = 2; at < argc;) at += read_option(argv[at], at + 1 < argc ? argv[at + 1] : NULL);
  static const char *const LOGINS[] = {"bytes", "none", "token", "password"};
  size_t known = 0;
  while (known < COUNT(LOGINS) && !is(options.login, LOGINS[known])) known++;
  if (known == COUNT(LOGINS)) fail("--login is one of bytes, none, token, password");
  if (options.port == 0) fail("--port is missing");
#ifndef WITH_TLS
  if (options.tls) fail("this was built without TLS");
#endif
}

// --- what the server costs, from /proc ---

struct thread {
  long id;
  uint64_t ns;
};
struct cost {
  struct thread *threads;
  size_t count;
  uint64_t ticks_ns;  // knows the threads that have ended, to 10 ms
};

static FILE *open_proc(const char *format, long process, long thread) {
  char path[128];
  snprintf(path, sizeof path, format, process, thread);
  return fopen(path, "r");
}

static void each_thread(long process, void (*visit)(long process, long thread, void *data), void *data) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/task", process);
  DIR *folder = opendir(path);
  if (folder == NULL) fail("there is no process %ld", process);
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
    if (entry->d_name[0] != '.') visit(process, atol(entry->d_name), data);
  closedir(folder);
}

static void add_process(long process, struct cost *cost);

static void add_thread(long process, long thread, void *data) {
  struct cost *cost = data;
  FILE *file = open_proc("/proc/%ld/task/%ld/schedstat", process, thread);
  unsigned long long ns = 0;
  if (file == NULL) return;
  if (fscanf(file, "%llu", &ns) == 1) {
    cost->threads = realloc(cost->threads, (cost->count + 1) * sizeof *cost->threads);
    cost->threads[cost->count++] = (struct thread){.id = thread, .ns = ns};
  }
  fclose(file);
  file = open_proc("/proc/%ld/task/%ld/children", process, thread);
  if (file == NULL) return;
  for (long child; fscanf(file, "%ld", &child) == 1;) add_process(child, cost);
  fclose(file);
}

static void add_process(long process, struct cost *cost) {
  each_thread(process, add_thread, cost);
  FILE *file = open_proc("/proc/%ld/stat", process, 0);
  char line[1024];
  unsigned long user, system;
  if (file == NULL || fgets(line, sizeof line, file) == NULL) fail("process %ld has ended", process);
  fclose(file);
  if (sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
    fail("/proc/%ld/stat is not understood", process);
  cost->ticks_ns += (user + system) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

static struct cost cost_of_server(void) {
  struct cost cost = {0};
  if (options.pid != 0) add_process(options.pid, &cost);
  return cost;
}

static uint64_t cost_between(struct cost before, struct cost after) {
  uint64_t sum = 0;
  size_t kept = 0;
  for (size_t index = 0; index < after.count; index++) {
    sum += after.threads[index].ns;
    for (size_t old = 0; old < before.count; old++)
      if (before.threads[old].id == after.threads[index].id) {
        sum -= before.threads[old].ns;
        kept++;
      }
  }
  return kept < before.count ? after.ticks_ns - before.ticks_ns : sum;
}

static void add_resident(long process, long thread, void *data) {
  long *kib = data;
  FILE *file = open_proc("/proc/%ld/task/%ld/children", process, thread);
  if (file != NULL) {
    for (long child; fscanf(file, "%ld", &child) == 1;) each_thread(child, add_resident, kib);
    fclose(file);
  }
  if (thread != process) return;
  file = open_proc("/proc/%ld/status", process, 0);
  char line[256];
  long found;
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (sscanf(line, "VmRSS: %ld kB", &found) == 1) *kib += found;
  if (file != NULL) fclose(file);
}

static uint64_t resident_bytes(void) {
  long kib = 0;
  if (options.pid != 0) each_thread(options.pid, add_resident, &kib);
  return (uint64_t)kib * 1024;
}

// --- a token's proof: SHA-256 (FIPS 180-4), HMAC (RFC 2104), base 62 and 64 ---

static uint32_t rotate(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void sha_block(uint32_t state[8], const uint8_t *block) {
  static const uint32_t K[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
      0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
      0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
      0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
      0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
      0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++) {
    memcpy(&w[i], block + 4 * i, 4);
    w[i] = ntohl(w[i]);
  }
  for (int i = 16; i < 64; i++) {
    uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + low + w[i - 7] + high;
  }
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t e = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
    uint32_t one = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
    uint32_t a = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
    uint32_t two = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += one;
    s[0] = one + two;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

// Of at most 183 bytes, which is all that is asked for here.
static void sha256(const uint8_t *bytes, size_t length, uint8_t digest[32]) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t padded[192] = {0};
  size_t whole = (length + 9 + 63) / 64 * 64;
  if (whole > sizeof padded) fail("too much to hash");
  memcpy(padded, bytes, length);
  padded[length] = 0x80;
  padded[whole - 2] = (uint8_t)(length * 8 >> 8);
  padded[whole - 1] = (uint8_t)(length * 8);
  for (size_t at = 0; at < whole; at += 64) sha_block(state, padded + at);
  for (int i = 0; i < 8; i++) {
    uint32_t word = htonl(state[i]);
    memcpy(digest + 4 * i, &word, 4);
  }
}

static void hmac(const uint8_t key[32], const uint8_t *bytes, size_t length, uint8_t digest[32]) {
  uint8_t inner[183], outer[96];
  if (length > sizeof inner - 64) fail("too much to hash");
  for (int i = 0; i < 64; i++) {
    inner[i] = (i < 32 ? key[i] : 0) ^ 0x36;
    outer[i] = (i < 32 ? key[i] : 0) ^ 0x5c;
  }
  memcpy(inner + 64, bytes, length);
  sha256(inner, 64 + length, outer + 64);
  sha256(outer, 96, digest);
}

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t from_base64(const char *text, size_t length, uint8_t *bytes, size_t room) {
  size_t count = 0;
  uint32_t bits = 0, have = 0;
  for (size_t at = 0; at < length && text[at] != '='; at++) {
    const char *digit = strchr(BASE64, text[at]);
    if (digit == NULL || count == room) fail("the nonce is not what was expected");
    bits = bits << 6 | (uint32_t)(digit - BASE64);
    if ((have += 6) >= 8) bytes[count++] = (uint8_t)(bits >> (have -= 8));
  }
  return count;
}

static void to_base64(const uint8_t bytes[32], char text[45]) {
  for (int group = 0; group < 11; group++) {
    const uint8_t *three = bytes + 3 * group;
    uint32_t bits = (uint32_t)three[0] << 16 | (uint32_t)three[1] << 8 | (group < 10 ? three[2] : 0);
    for (int digit = 0; digit < 4; digit++) text[4 * group + digit] = BASE64[bits >> (18 - 6 * digit) & 63];
  }
  strcpy(text + 43, "=");
}

// The secret of a token's text: prly_, id, _, 43 digits of base 62, and 6 that check.
static void secret_of(const char *token, uint8_t secret[32]) {
  static const char DIGITS[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  if (token == NULL || strlen(token) != 63 || strncmp(token, "prly_", 5) != 0) fail("--login token needs a --token");
  memset(secret, 0, 32);
  for (const char *at = token + 14; at < token + 57; at++) {
    const char *digit = strchr(DIGITS, *at);
    uint32_t carry = digit == NULL ? 0 : (uint32_t)(digit - DIGITS);
    for (int i = 31; i >= 0; i--) {
      carry += secret[i] * 62u;
      secret[i] = (uint8_t)carry;
      carry >>= 8;
    }
  }
}

// --- a connection ---

enum step { HELLO, WELCOME, OPEN, CLOSED };

// Frames that are sent over and over, and those that are expected: `frames` of `frame_bytes` each.
struct cycle {
  uint8_t *bytes;
  size_t frame_bytes, length;
};

struct peer {
  int fd, watched;         // events of epoll
  enum step step;
  size_t login_length;     // of what was read before OPEN
  uint8_t *login;
  struct cycle say, hear;
  uint64_t sent, heard, until;  // payload bytes with headers: to be sent up to `until`
  uint64_t acked, acked_bytes;  // by us
  uint64_t peer_acked;          // by the server, in frames
  uint64_t window;
  uint8_t control[HEADER + LONGEST_CONTROL];
  size_t control_length;
  uint8_t unsent[128];     // of a control frame or a login that the kernel did not take
  size_t unsent_length;
  uint64_t began, stamps[4];
  int awaits_ack;          // is it in the list of those whose acknowledgement is due?
#ifdef WITH_TLS
  SSL *tls;
#endif
};

static int epoll;
static uint8_t chunk[CHUNK];
static uint64_t ack_due;
static struct peer **due;
static size_t due_count;

static void watch(struct peer *p, int events) {
  if (p->watched == events) return;
  struct epoll_event event = {.events = (uint32_t)events, .data.ptr = p};
  if (epoll_ctl(epoll, p->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, p->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
  p->watched = events;
}

#ifdef WITH_TLS
static SSL_CTX *context;

static void begin_tls(struct peer *p) {
  if (context == NULL) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  }
  p->tls = SSL_new(context);
  SSL_set_fd(p->tls, p->fd);
  if (SSL_connect(p->tls) != 1) fail("no TLS with the server"); // while the socket still blocks
}

static ssize_t tls_result(struct peer *p, int result) {
  if (result > 0) return result;
  int why = SSL_get_error(p->tls, result);
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return errno = EAGAIN, -1;
  if (why == SSL_ERROR_ZERO_RETURN || (why == SSL_ERROR_SYSCALL && result == 0)) return 0;
  return errno = EPROTO, -1;
}
#endif

// What comes after the secret in a proof: nothing on plain TCP.
static size_t binding_of(struct peer *p, uint8_t binding[32]) {
#ifdef WITH_TLS
  if (options.tls) {
    static const char LABEL[] = "EXPORTER-Channel-Binding";
    if (SSL_export_keying_material(p->tls, binding, 32, LABEL, sizeof LABEL - 1, NULL, 0, 1) != 1) fail("no exporter");
    return 32;
  }
#endif
  (void)p, (void)binding;
  return 0;
}

static ssize_t receive(struct peer *p, uint8_t *bytes, size_t room) {
#ifdef WITH_TLS
  if (options.tls) return errno = 0, tls_result(p, SSL_read(p->tls, bytes, (int)room));
#endif
  return recv(p->fd, bytes, room, 0);
}

// How much the kernel takes, 0 when nothing.
static size_t transmit(struct peer *p, struct iovec *parts, size_t count) {
  ssize_t taken = 0;
#ifdef WITH_TLS
  if (options.tls) { // gathered, so that records are as few as they can be
    static uint8_t gathered[CHUNK];
    size_t length = 0, done = 0;
    for (size_t index = 0; index < count && length < CHUNK; index++) {
      size_t part = parts[index].iov_len < CHUNK - length ? parts[index].iov_len : CHUNK - length;
      memcpy(gathered + length, parts[index].iov_base, part);
      length += part;
    }
    while (done < length && (taken = tls_result(p, SSL_write(p->tls, gathered + done, (int)(length - done)))) > 0)
      done += (size_t)taken;
    if (done == 0 && taken < 0 && errno != EAGAIN) fail("the connection failed: %s", strerror(errno));
    return done;
  }
#endif
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
  taken = sendmsg(p->fd, &message, MSG_NOSIGNAL);
  if (taken < 0 && errno != EAGAIN) fail("the connection failed: %s", strerror(errno));
  return taken < 0 ? 0 : (size_t)taken;
}

static void connect_to(struct peer *p) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1;
  p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (p->fd < 0) fail("socket: %s", strerror(errno));
  setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // On loopback this is done as soon as the backlog has room.
  if (connect(p->fd, (struct sockaddr *)&address, sizeof address)) fail("connect to port %ld: %s", options.port, strerror(errno));
#ifdef WITH_TLS
  if (options.tls) begin_tls(p);
#endif
  fcntl(p->fd, F_SETFL, O_NONBLOCK);
  watch(p, EPOLLIN);
}

static void disconnect(struct peer *p) {
#ifdef WITH_TLS
  if (options.tls) SSL_free(p->tls);
#endif
  close(p->fd);
  p->watched = 0;
}

// Sends a short frame of JSON or text. A socket without output always has room for one.
static void send_text(struct peer *p, uint32_t kind, const char *text) {
  uint32_t header = htonl(kind | (uint32_t)strlen(text));
  struct iovec parts[] = {{&header, HEADER}, {(void *)text, strlen(text)}};
  if (transmit(p, parts, 2) != HEADER + strlen(text)) fail("the server does not read");
}

static void send_login(struct peer *p, const char *nonce, size_t nonce_length) {
  // As `parley connect` says it.
  const char *more = options.acknowledge ? ",\"control\":true,\"resume_for\":120,\"window\":8388608}" : "}";
  char text[512];
  if (is(options.login, "token")) {
    static const char LABEL[] = "parley/1 token";
    uint8_t secret[32], key[32], proof[32], said[sizeof LABEL - 1 + 64];
    char digits[45];
    size_t length = sizeof LABEL - 1;
    memcpy(said, LABEL, length);
    length += from_base64(nonce, nonce_length, said + length, 32);
    length += binding_of(p, said + length);
    secret_of(options.token, secret);
    sha256(secret, 32, key);
    hmac(key, said, length, proof);
    for (int i = 0; i < 32; i++) proof[i] ^= secret[i];
    to_base64(proof, digits);
    snprintf(text, sizeof text, "{\"type\":\"login\",\"method\":\"token\",\"id\":\"%.8s\",\"proof\":\"%s\"%s", options.token + 5,
             digits, more);
  } else if (is(options.login, "password")) {
    snprintf(text, sizeof text, "{\"type\":\"login\",\"method\":\"password\",\"user\":\"%s\",\"password\":\"%s\",\"token\":false%s",
             options.user, options.password, more);
  } else {
    snprintf(text, sizeof text, "{\"type\":\"login\",\"method\":\"%s\"%s", options.login, more);
  }
  send_text(p, 0, text);
}

static int waits_for_hello(void) { return options.wait_for_hello || is(options.login, "token"); }

static void begin(struct peer *p) {
  p->began = now();
  p->window = WINDOW_BYTES;
  connect_to(p);
  p->step = is(options.login, "bytes") ? OPEN : HELLO;
  if (p->step == HELLO && !waits_for_hello()) send_login(p, NULL, 0);
}

// What stands behind `"name":`, or NULL. `text` ends with a NUL.
static const char *member(const char *text, const char *name) {
  char quoted[32];
  snprintf(quoted, sizeof quoted, "\"%s\":", name);
  const char *found = strstr(text, quoted);
  return found == NULL ? NULL : found + strlen(quoted);
}

static void must_be(const char *text, const char *type) {
  const char *found = member(text, "type");
  if (found == NULL || strncmp(found + 1, type, strlen(type)) != 0) fail("not %s: %s", type, text);
}

static void log_in(struct peer *p, const char *text) {
  if (p->step == HELLO) {
    must_be(text, "hello");
    const char *nonce = member(text, "nonce");
    p->step = WELCOME;
    p->stamps[HELLO] = now();
    if (waits_for_hello()) send_login(p, nonce == NULL ? "" : nonce + 1, nonce == NULL ? 0 : strcspn(nonce + 1, "\""));
    return;
  }
  must_be(text, "welcome");
  const char *window = member(text, "window");
  if (window != NULL) p->window = strtoull(window, NULL, 10);
  p->step = OPEN;
  p->stamps[WELCOME] = now();
}

// The login's frames of a chunk; gives how many of its bytes they were.
static size_t take_login(struct peer *p, const uint8_t *bytes, size_t length) {
  size_t used = 0;
  if (p->login == NULL) p->login = allocate(HEADER + LONGEST_LOGIN + 1);
  while (p->step < OPEN && used < length) {
    uint32_t header = 0;
    if (p->login_length >= HEADER) memcpy(&header, p->login, HEADER);
    size_t whole = HEADER + (p->login_length < HEADER ? 0 : ntohl(header));
    if (whole > HEADER + LONGEST_LOGIN) fail("not a message of a login");
    size_t more = whole - p->login_length < length - used ? whole - p->login_length : length - used;
    memcpy(p->login + p->login_length, bytes + used, more);
    p->login_length += more;
    used += more;
    if (p->login_length < whole || whole == HEADER) continue;
    p->login[whole] = 0;
    p->login_length = 0;
    log_in(p, (char *)p->login + HEADER);
  }
  if (p->step == OPEN) {
    free(p->login);
    p->login = NULL;
  }
  return used;
}

// --- messages ---

static struct cycle new_cycle(size_t payload, size_t frames) {
  struct cycle cycle = {.frame_bytes = HEADER + payload, .length = frames * (HEADER + payload)};
  uint32_t header = htonl((uint32_t)payload);
  cycle.bytes = allocate(cycle.length);
  for (size_t at = 0; at < cycle.length;) {
    ssize_t got = getrandom(cycle.bytes + at, cycle.length - at, 0);
    if (got < 0) fail("getrandom: %s", strerror(errno));
    at += (size_t)got;
  }
  for (size_t frame = 0; frame < frames; frame++) memcpy(cycle.bytes + frame * cycle.frame_bytes, &header, HEADER);
  return cycle;
}

static void compare(struct peer *p, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    size_t at = p->heard % p->hear.length, part = p->hear.length - at < length ? p->hear.length - at : length;
    if (memcmp(p->hear.bytes + at, bytes, part) != 0) fail("other bytes came back, within %zu of byte %llu", part, (unsigned long long)p->heard);
    p->heard += part;
    bytes += part;
    length -= part;
  }
}

static void obey(struct peer *p, const char *text) {
  if (strstr(text, "\"ack\"") != NULL) {
    const char *received = member(text, "received");
    if (received != NULL) p->peer_acked = strtoull(received, NULL, 10);
  } else if (strstr(text, "\"bye\"") != NULL) {
    fail("the server left: %s", text);
  }
}

// A control frame that begins or goes on here; gives how many bytes of it there were.
static size_t take_control(struct peer *p, const uint8_t *bytes, size_t length) {
  size_t used = 0;
  while (used < length) {
    size_t body = p->control_length < HEADER ? 0 : (size_t)p->control[2] << 8 | p->control[3];
    if (body > LONGEST_CONTROL - 1) fail("a control frame of %zu bytes", body);
    size_t whole = HEADER + body;
    size_t more = whole - p->control_length < length - used ? whole - p->control_length : length - used;
    memcpy(p->control + p->control_length, bytes + used, more);
    p->control_length += more;
    used += more;
    if (p->control_length < whole || whole == HEADER) continue;
    p->control[whole] = 0;
    p->control_length = 0;
    obey(p, (char *)p->control + HEADER);
    break;
  }
  return used;
}

// Echoes, and control frames between them.
static void take(struct peer *p, const uint8_t *bytes, size_t length) {
  if (!options.acknowledge) return compare(p, bytes, length);
  while (length > 0) {
    size_t begun = p->heard % p->hear.frame_bytes, used;
    if (p->control_length > 0 || (begun == 0 && *bytes >= 0x80)) {
      used = take_control(p, bytes, length);
    } else {
      used = p->hear.frame_bytes - begun < length ? p->hear.frame_bytes - begun : length;
      compare(p, bytes, used);
    }
    bytes += used;
    length -= used;
  }
}

static uint64_t heard_frames(struct peer *p) { return p->heard / p->hear.frame_bytes; }

static void put_ack(struct peer *p) {
  char text[64];
  uint64_t frames = heard_frames(p);
  if (frames == p->acked) return;
  p->acked = frames;
  p->acked_bytes = p->heard;
  uint32_t header = htonl(0x80000000u | (uint32_t)snprintf(text, sizeof text, "{\"type\":\"ack\",\"received\":%llu}", (unsigned long long)frames));
  memcpy(p->unsent, &header, HEADER);
  memcpy(p->unsent + HEADER, text, strlen(text));
  p->unsent_length = HEADER + strlen(text);
}

// Acknowledges between two frames, at once when there is much and within ACK_MS otherwise.
static void acknowledge(struct peer *p, int at_once) {
  if (p->unsent_length > 0 || p->sent % p->say.frame_bytes != 0) return;
  uint64_t pending = heard_frames(p) - p->acked;
  if (at_once || pending >= ACK_FRAMES || (pending > 0 && p->heard - p->acked_bytes >= ACK_BYTES)) return put_ack(p);
  if (pending == 0 || p->awaits_ack) return;
  p->awaits_ack = 1;
  if (due_count == 0) ack_due = now() + ACK_MS * 1000000ull;
  due[due_count++] = p;
}

// How far may be sent now: as many frames on their way as were asked for, and no more than the window allows.
static uint64_t limit_of(struct peer *p, size_t in_flight) {
  uint64_t frames = heard_frames(p) + in_flight;
  if (options.acknowledge) {
    uint64_t by_bytes = p->peer_acked + (p->window + p->say.frame_bytes - 1) / p->say.frame_bytes;
    uint64_t most = p->peer_acked + WINDOW_FRAMES < by_bytes ? p->peer_acked + WINDOW_FRAMES : by_bytes;
    if (frames > most) frames = most;
  }
  uint64_t limit = frames * p->say.frame_bytes;
  return limit < p->until ? limit : p->until;
}

// Sends what may be sent; waits for the kernel when it takes less.
static void pump(struct peer *p, size_t in_flight) {
  if (options.acknowledge) acknowledge(p, 0);
  for (;;) {
    uint64_t limit = limit_of(p, in_flight);
    size_t left = limit > p->sent ? limit - p->sent : 0, count = 0, asked = p->unsent_length;
    struct iovec parts[3];
    if (asked > 0) parts[count++] = (struct iovec){p->unsent, asked};
    for (uint64_t at = p->sent; left > 0 && count < 3;) {
      size_t start = at % p->say.length, part = p->say.length - start < left ? p->say.length - start : left;
      parts[count++] = (struct iovec){p->say.bytes + start, part};
      asked += part;
      at += part;
      left -= part;
    }
    if (asked == 0) return watch(p, EPOLLIN);
    size_t taken = transmit(p, parts, count), control = taken < p->unsent_length ? taken : p->unsent_length;
    memmove(p->unsent, p->unsent + control, p->unsent_length -= control);
    p->sent += taken - control;
    if (taken < asked) return watch(p, EPOLLIN | EPOLLOUT);
  }
}

static void acknowledge_due(void) {
  if (due_count == 0 || now() < ack_due) return;
  size_t count = due_count;
  due_count = 0;
  for (size_t index = 0; index < count; index++) {
    struct peer *p = due[index];
    p->awaits_ack = 0;
    acknowledge(p, 1);
    if (p->unsent_length > 0) pump(p, 0);
  }
}

// --- the loop ---

// Calls `ready` for each socket that has something, until `*left` is 0.
static void loop(uint64_t *left, void (*ready)(struct peer *p, uint32_t events)) {
  struct epoll_event events[EVENTS];
  uint64_t last = now();
  while (*left > 0) {
    int count = epoll_wait(epoll, events, EVENTS, due_count > 0 ? ACK_MS : STALL_MS);
    if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    for (int index = 0; index < count; index++) ready(events[index].data.ptr, events[index].events);
    if (due_count > 0) acknowledge_due();
    if (count > 0) last = now();
    else if (now() - last >= STALL_MS * 1000000ull)
      fail("nothing came for %d seconds, and %llu are missing", STALL_MS / 1000, (unsigned long long)*left);
  }
}

// Reads a chunk; its bytes that are no login are left in `chunk` at `*from`. 0 at the end of the stream.
static size_t read_chunk(struct peer *p, size_t *from) {
  ssize_t got = receive(p, chunk, CHUNK);
  *from = 0;
  if (got < 0 && errno == EAGAIN) return 1;
  if (got < 0) fail("the connection failed: %s", strerror(errno));
  if (got == 0) return 0;
  if (p->step < OPEN) *from = take_login(p, chunk, (size_t)got);
  return 1 + (size_t)got - *from;
}

static size_t must_read(struct peer *p, size_t *from) {
  size_t got = read_chunk(p, from);
  if (got == 0) fail("the server ended a connection");
  return got - 1;
}

static uint64_t not_open;

static void on_login(struct peer *p, uint32_t events) {
  size_t from;
  (void)events;
  enum step before = p->step;
  size_t rest = must_read(p, &from);
  if (before < OPEN && p->step == OPEN) not_open--;
  if (rest > 0) fail("the server speaks without being asked");
}

// Logs in `count` connections, a few at a time.
static struct peer *enter(size_t count) {
  struct peer *peers = allocate(count * sizeof *peers);
  due = allocate(count * sizeof *due);
  for (size_t at = 0; at < count;) {
    for (int some = 0; some < LOGINS_AT_ONCE && at < count; some++, at++) {
      begin(&peers[at]);
      if (peers[at].step < OPEN) not_open++;
    }
    loop(&not_open, on_login);
  }
  return peers;
}

static int by_number(const void *a, const void *b) {
  uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
  return one < other ? -1 : one > other;
}

static void print_times(const char *prefix, uint64_t *times, size_t count) {
  if (count == 0) return;
  qsort(times, count, sizeof *times, by_number);
  uint64_t p50 = times[(count - 1) / 2], p99 = times[(size_t)((double)(count - 1) * 0.99)];
  printf(",\"%s\":{\"p50\":%llu,\"p99\":%llu,\"max\":%llu}", prefix, (unsigned long long)p50, (unsigned long long)p99,
         (unsigned long long)times[count - 1]);
}

static void print_cost(uint64_t count, struct cost before, uint64_t began, uint64_t ended) {
  printf("{\"count\":%llu,\"wallNs\":%llu", (unsigned long long)count, (unsigned long long)(ended - began));
  if (options.pid != 0) printf(",\"cpuNs\":%llu", (unsigned long long)cost_between(before, cost_of_server()));
}

// --- echo ---

static uint64_t streams_left;
static uint64_t *took;
static size_t took_count;

static void on_echo(struct peer *p, uint32_t events) {
  size_t from;
  uint64_t before = p->heard;
  if (events & ~(uint32_t)EPOLLOUT) {
    size_t got = must_read(p, &from);
    take(p, chunk + from, got);
  }
  if (p->heard > before && p->heard == p->until) streams_left--;
  if (took != NULL && p->heard > before && p->heard % p->hear.frame_bytes == 0) {
    uint64_t at = now();
    took[took_count++] = at - p->began;
    p->began = at;
  }
  pump(p, (size_t)options.in_flight);
}

static void echo_each(struct peer *peers, uint64_t each) {
  if (each == 0) return;
  streams_left = (uint64_t)options.connections;
  for (long index = 0; index < options.connections; index++) {
    struct peer *p = &peers[index];
    p->until += each * p->say.frame_bytes;
    p->began = now();
    pump(p, (size_t)options.in_flight);
  }
  loop(&streams_left, on_echo);
}

static uint64_t share_of(long messages) { return (uint64_t)((messages + options.connections - 1) / options.connections); }

static void echo(void) {
  struct peer *peers = enter((size_t)options.connections);
  for (long index = 0; index < options.connections; index++) {
    struct peer *p = &peers[index];
    // One more frame than can be on its way: a lost, doubled or swapped one is noticed.
    p->say = p->hear = new_cycle((size_t)options.bytes, (size_t)options.in_flight + 1);
  }
  echo_each(peers, share_of(options.warm_up));
  uint64_t each = share_of(options.messages), count = each * (uint64_t)options.connections;
  if (options.in_flight == 1) took = allocate(count * sizeof *took);
  uint64_t resident = resident_bytes();
  struct cost before = cost_of_server();
  uint64_t began = now();
  echo_each(peers, each);
  print_cost(count, before, began, now());
  if (options.pid != 0)
    printf(",\"residentBefore\":%llu,\"residentAfter\":%llu", (unsigned long long)resident, (unsigned long long)resident_bytes());
  print_times("took", took, took_count);
  puts("}");
}

// --- enter ---

static const char *const STEPS[] = {"hello", "welcome", "echoed", "closed"};
static uint64_t visits_left, visits_under_way, *stamps[4];
static size_t visits_done;

static void visit(struct peer *p) {
  struct cycle said = p->say;
  *p = (struct peer){.say = said, .hear = said, .awaits_ack = p->awaits_ack};
  visits_under_way++;
  begin(p);
  if (p->step < OPEN) return;
  p->until = p->say.frame_bytes;
  pump(p, 1);
}

static void visit_ended(struct peer *p) {
  p->stamps[CLOSED] = now();
  for (size_t step = 0; step < COUNT(STEPS); step++)
    if (p->stamps[step] != 0) stamps[step][visits_done] = p->stamps[step] - p->began;
  visits_done++;
  disconnect(p);
  visits_under_way--;
  if (visits_left == 0) return;
  visits_left--;
  visit(p);
}

static void leave(struct peer *p) {
  p->stamps[OPEN] = now();
  p->step = CLOSED;
  if (options.at_once) return visit_ended(p);
  p->acked = 1; // what comes now is the last that we say
  if (options.acknowledge) send_text(p, 0x80000000u, "{\"type\":\"bye\",\"code\":\"left\",\"message\":\"done\"}");
#ifdef WITH_TLS
  if (options.tls) SSL_shutdown(p->tls);
#endif
  shutdown(p->fd, SHUT_WR);
}

static void on_visit(struct peer *p, uint32_t events) {
  size_t from;
  (void)events;
  enum step before = p->step;
  size_t got = read_chunk(p, &from);
  if (p->step == CLOSED) return got == 0 ? visit_ended(p) : (void)0;
  if (got == 0) fail("the server ended a connection");
  if (before < OPEN && p->step == OPEN) p->until = p->say.frame_bytes;
  if (p->step == OPEN) {
    take(p, chunk + from, got - 1);
    if (p->heard == p->until) leave(p);
    else pump(p, 1);
  }
}

static void visit_all(struct peer *peers, uint64_t times) {
  visits_done = 0;
  visits_left = times;
  for (long slot = 0; slot < options.slots && visits_left > 0; slot++) {
    visits_left--;
    visit(&peers[slot]);
  }
  loop(&visits_under_way, on_visit);
}

static void enter_and_leave(void) {
  struct peer *peers = allocate((size_t)options.slots * sizeof *peers);
  due = allocate((size_t)options.slots * sizeof *due);
  size_t room = (size_t)(options.times > options.warm_up ? options.times : options.warm_up);
  for (size_t step = 0; step < COUNT(STEPS); step++) stamps[step] = allocate(room * sizeof *stamps[step]);
  for (long slot = 0; slot < options.slots; slot++) peers[slot].say = new_cycle((size_t)options.bytes, 1);
  visit_all(peers, (uint64_t)options.warm_up);
  struct cost before = cost_of_server();
  uint64_t began = now();
  visit_all(peers, (uint64_t)options.times);
  print_cost((uint64_t)options.times, before, began, now());
  for (size_t step = is(options.login, "bytes") ? 2 : 0; step < COUNT(STEPS); step++)
    print_times(STEPS[step], stamps[step], visits_done);
  puts("}");
}

// --- to-all ---

static uint64_t missing;

static void on_said(struct peer *p, uint32_t events) {
  size_t from;
  (void)events;
  size_t got = must_read(p, &from);
  uint64_t before = p->heard;
  compare(p, chunk + from, got);
  if (p->heard > p->until) fail("more was heard than was said");
  if (p->heard > before && p->heard == p->until) missing--;
}

static void say_to_all(struct peer *peers, struct cycle said, uint64_t times) {
  for (uint64_t time = 0; time < times; time++) {
    struct iovec part = {said.bytes, said.length};
    missing = (uint64_t)options.members;
    for (long index = 0; index < options.members; index++) peers[index].until += peers[index].hear.frame_bytes;
    if (transmit(&peers[0], &part, 1) != said.length) fail("the server does not read");
    loop(&missing, on_said);
  }
}

static void to_all(void) {
  if (options.acknowledge) fail("to-all does not acknowledge");
  struct peer *peers = enter((size_t)options.members);
  usleep(JOIN_MS * 1000);
  struct cycle said = new_cycle((size_t)options.bytes, 1);
  for (long index = 0; index < options.members; index++) peers[index].hear = said;
  say_to_all(peers, said, (uint64_t)options.warm_up);
  struct cost before = cost_of_server();
  uint64_t began = now();
  say_to_all(peers, said, (uint64_t)options.messages);
  print_cost((uint64_t)options.messages, before, began, now());
  puts("}");
}

// --- idle connections ---

static void must_be_there(struct peer *peers, size_t count) {
  for (size_t index = 0; index < count; index++) {
    uint8_t byte;
    if (recv(peers[index].fd, &byte, 1, MSG_PEEK) == 0) fail("idle connections are gone");
  }
}

static void rest(void) { usleep(REST_MS * 1000); }

// Sends all but the last byte of a message, and waits until it has left our kernel.
static void begin_message(struct peer *p, struct cycle message) {
  uint64_t began = now();
  for (size_t at = 0; at < message.length - 1;) {
    struct iovec part = {message.bytes + at, message.length - 1 - at};
    size_t taken = transmit(p, &part, 1);
    at += taken;
    if (taken == 0) usleep(100);
    if (now() - began > STALL_MS * 1000000ull) fail("the server does not read");
  }
  for (int left = 1; left > 0;) {
    if (ioctl(p->fd, SIOCOUTQ, &left)) fail("ioctl: %s", strerror(errno));
    if (left > 0) usleep(100);
    if (now() - began > STALL_MS * 1000000ull) fail("the server does not read");
  }
}

static struct peer *enter_idle(size_t count, struct cycle message) {
  struct peer *peers = enter(count);
  for (size_t index = 0; index < count && options.begun > 0; index++) begin_message(&peers[index], message);
  return peers;
}

static void idle(void) {
  if (options.many <= options.few) fail("--many has to be more than --few");
  struct cycle message = options.begun > 0 ? new_cycle((size_t)options.begun, 1) : (struct cycle){0};
  struct peer *few = enter_idle((size_t)options.few, message);
  rest();
  uint64_t before = resident_bytes();
  struct peer *more = enter_idle((size_t)(options.many - options.few), message);
  rest();
  uint64_t after = resident_bytes();
  must_be_there(few, (size_t)options.few);
  must_be_there(more, (size_t)(options.many - options.few));
  double each = ((double)after - (double)before) / (double)(options.many - options.few);
  printf("{\"bytesPerConnection\":%.1f}\n", each);
}

static void hold(void) {
  char byte;
  struct peer *peers = enter((size_t)options.connections);
  rest();
  printf("{\"held\":%ld}\n", options.connections);
  fflush(stdout);
  while (read(0, &byte, 1) > 0) continue;
  must_be_there(peers, (size_t)options.connections);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
  } JOBS[] = {{"echo", echo}, {"enter", enter_and_leave}, {"to-all", to_all}, {"idle", idle}, {"hold", hold}};
  const char *job = argc > 1 ? argv[1] : "";
  for (size_t index = 0; index < COUNT(JOBS); index++) {
    if (!is(job, JOBS[index].name)) continue;
    read_options(argc, argv);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    JOBS[index].run();
    return 0;
  }
  fail("the first argument is one of echo, enter, to-all, idle, hold");
}
