// A yardstick: length-prefixed echo on one thread of level-triggered epoll.
//
// Whole frames go back from where they were read, a run of them in one write. Only what is not whole yet, or what the
// kernel would not take, is kept, in a buffer that the connection has no longer than it needs it; a connection with
// unwritten frames is not read from.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 4, MAX_FRAME = 1 << 20, CHUNK = 256 << 10, EVENTS = 1024, BACKLOG = 4096 };

struct connection {
  int fd;
  char *kept;       // NULL while nothing is
  size_t room;      // of `kept`
  size_t length;    // bytes in `kept`
  size_t written;   // of them written
  size_t whole;     // of them whole frames: `written < whole` means that the kernel is full
};

static char chunk[CHUNK];
static int epoll;

static void watch(struct connection *c, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  epoll_ctl(epoll, operation, c->fd, &event);
}

static void forget(struct connection *c) {
  close(c->fd);
  free(c->kept);
  free(c);
}

// How many of the bytes are whole frames, or -1 after a length over the limit; `needed`: bytes of the frame after them.
static ssize_t whole_frames(const char *bytes, size_t length, size_t *needed) {
  size_t at = 0;
  for (;;) {
    *needed = HEADER;
    if (length - at < HEADER) return (ssize_t)at;
    uint32_t header;
    memcpy(&header, bytes + at, HEADER);
    size_t payload = ntohl(header);
    if (payload > MAX_FRAME) return -1;
    *needed = HEADER + payload;
    if (length - at < *needed) return (ssize_t)at;
    at += *needed;
  }
}

// Writes on; 0 when the connection is gone.
static int write_on(struct connection *c) {
  while (c->written < c->whole) {
    ssize_t taken = send(c->fd, c->kept + c->written, c->whole - c->written, MSG_NOSIGNAL);
    if (taken < 0) return errno == EAGAIN;
    c->written += (size_t)taken;
  }
  watch(c, EPOLL_CTL_MOD, EPOLLIN);
  c->length -= c->whole;
  memmove(c->kept, c->kept + c->whole, c->length);
  c->written = c->whole = 0;
  if (c->length > 0) return 1;
  free(c->kept);
  c->kept = NULL;
  return 1;
}

// Keeps `bytes`, with room for the frame that they begin.
static void keep(struct connection *c, const char *bytes, size_t length, size_t needed) {
  size_t room = length > needed ? length : needed;
  if (c->kept == NULL) {
    c->kept = malloc(c->room = room);
    memcpy(c->kept, bytes, length);
  } else {
    memmove(c->kept, bytes, length);
    if (c->room < room) c->kept = realloc(c->kept, c->room = room);
  }
  c->length = length;
}

static int read_on(struct connection *c) {
  char *bytes = c->kept == NULL ? chunk : c->kept;
  size_t before = c->kept == NULL ? 0 : c->length;
  ssize_t got = recv(c->fd, bytes + before, (c->kept == NULL ? CHUNK : c->room) - before, 0);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  size_t length = before + (size_t)got, needed;
  ssize_t whole = whole_frames(bytes, length, &needed);
  if (whole < 0) return 0;
  ssize_t taken = whole == 0 ? 0 : send(c->fd, bytes, (size_t)whole, MSG_NOSIGNAL);
  if (taken < 0 && errno != EAGAIN) return 0;
  if (taken < 0) taken = 0;
  c->whole = (size_t)(whole - taken);
  if (taken < (ssize_t)length) {
    keep(c, bytes + taken, length - (size_t)taken, c->whole + needed);
  } else if (c->kept != NULL) {
    free(c->kept);
    c->kept = NULL;
  }
  if (c->whole > 0) watch(c, EPOLL_CTL_MOD, EPOLLOUT);
  return 1;
}

static void accept_all(int listener) {
  int fd, on = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
  }
}

int main(void) {
  mallopt(M_MMAP_THRESHOLD, 8 << 20); // buffers of frames are used again, not unmapped
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, BACKLOG)) return perror("listen"), 1;
  getsockname(listener, (struct sockaddr *)&address, &size);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event first = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &first);
  printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int index = 0; index < count; index++) {
      struct connection *c = events[index].data.ptr;
      if (c == NULL) accept_all(listener);
      else if (!(c->written < c->whole ? write_on(c) : read_on(c))) forget(c);
    }
  }
}
