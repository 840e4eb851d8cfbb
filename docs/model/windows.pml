/* Windows, write queues and the kernel's buffers: does one side wait for the other for ever? Nothing is cut here.
 *
 *   client: write queue ─→ kernel (KERNEL frames) ─→ server
 *   client ←─ kernel (KERNEL frames) ←─ write queue :server
 *
 * A server does not read while more than PAUSE frames wait in its write queue. It does read while its window is full, or while a hook
 * waits for room in it; what comes then waits in its input queue. A client reads whatever waits in its write queue.
 */
#ifndef N
#define N 3            /* messages of the client */
#endif
#ifndef ANSWERS
#define ANSWERS 1      /* answers to each message, one after the other */
#endif
#ifndef OWN
#define OWN 0          /* payloads that the service sends unasked */
#endif
#ifndef AGAIN
#define AGAIN 0        /* payloads that the server has to send again first: the client has just come back */
#endif
#ifndef W
#define W 2            /* the window: unacknowledged payloads at which a sender waits */
#endif
#ifndef KERNEL
#define KERNEL 1
#endif
#ifndef PAUSE
#define PAUSE 1
#endif
#ifndef ACK_EVERY
#define ACK_EVERY 1    /* payloads after which a receiver acknowledges; it has no timer here */
#endif
/* NEVER_ACKS  the client acknowledges nothing, and has not promised to
 *
 * Faults that are put in on purpose; each must be found:
 * FULL_IS_DEAF    the server does not read while its window is full
 * HOOK_IS_DEAF    the server does not read while a hook waits for room
 * CLIENT_HOLDS    the client does not read while something waits in its write queue
 * AGAIN_IS_BACKLOG  what is sent again counts as backlog
 * WAITS_FOR_ALL   the server waits for acknowledgements that the client has not promised
 */
#define BACKLOG (W + N)  /* a window of payloads, and the acknowledgements of all messages */
#define TOTAL (AGAIN + OWN + N * ANSWERS)
mtype = { DATA, ACK, END, BYE };
chan clientQueue = [N + TOTAL + 2] of { mtype, byte };
chan clientKernel = [KERNEL] of { mtype, byte };
chan serverQueue = [N + TOTAL + 2] of { mtype, byte };
chan serverKernel = [KERNEL] of { mtype, byte };

/* The client. */
byte sent, confirmed, got, gotAcked;
bool hasEnded, isDone;
/* The session. */
byte received, ackSaid, said = AGAIN, saidAgain, acked, unasked, todo, queued;
bool inputEnded, byeSaid;

#ifdef NEVER_ACKS
#define acknowledges false
#else
#define acknowledges true
#endif
#ifdef WAITS_FOR_ALL
#define awaitsAcks true
#else
#define awaitsAcks acknowledges
#endif
#define isFull (awaitsAcks && said - acked >= W)
#define processed (received - (todo > 0 -> 1 : 0))
#define isResumed (saidAgain == AGAIN)

#ifdef AGAIN_IS_BACKLOG
#define kept 0
#else
#define kept AGAIN
#endif

inline put(ch, type, x) { assert(nfull(ch)); ch!type,x }

#ifdef CLIENT_HOLDS
#define clientReads empty(clientQueue)
#else
#define clientReads true
#endif

proctype Client() {
  byte a;
  do
  :: atomic { sent < N && sent - confirmed < W -> sent++; put(clientQueue, DATA, sent) }
  :: atomic { sent == N && !hasEnded -> hasEnded = true; put(clientQueue, END, 0) }
  :: atomic { acknowledges && got - gotAcked >= ACK_EVERY -> gotAcked = got; put(clientQueue, ACK, got) }
  :: atomic { clientReads && serverKernel?[DATA,_] -> serverKernel?DATA,a; assert(a == got + 1); got = a; a = 0 }
  :: atomic { clientReads && serverKernel?[ACK,_] -> serverKernel?ACK,a; confirmed = a; a = 0 }
  :: atomic { clientReads && serverKernel?[BYE,_] -> serverKernel?BYE,_;
       assert(got == TOTAL && confirmed == N);
       isDone = true; break }
  od
}

#ifdef FULL_IS_DEAF
#define isDeaf (todo > 0 || isFull)
#else
#ifdef HOOK_IS_DEAF
#define isDeaf (todo > 0)
#else
#define isDeaf (todo > 0 && !isFull)
#endif
#endif
#define serverReads (len(serverQueue) <= PAUSE && !isDeaf)

/* A client that leaves more unread than its window is too slow; what is sent again it may leave unread, too. */
inline say(x) { put(serverQueue, DATA, x); assert(len(serverQueue) <= BACKLOG + kept) }

proctype Server() {
  byte a;
end:
  do
  :: atomic { serverReads && clientKernel?[DATA,_] -> clientKernel?DATA,a;
       assert(a == received + queued + 1);
       assert(queued < W);                                   /* room for one window is enough */
       if :: todo > 0 || queued > 0 || isFull -> queued++ :: else -> received++; todo = ANSWERS fi; a = 0 }
  :: atomic { serverReads && clientKernel?[ACK,_] -> clientKernel?ACK,a; acked = a; a = 0 }
  :: atomic { serverReads && clientKernel?[END,_] -> clientKernel?END,_; inputEnded = true }
  :: atomic { !isResumed -> do :: !isResumed -> saidAgain++; say(saidAgain) :: else -> break od }
  :: atomic { isResumed && todo > 0 && !isFull -> said++; todo--; say(said) }
  :: atomic { todo == 0 && queued > 0 && !isFull -> queued--; received++; todo = ANSWERS }
  :: atomic { isResumed && unasked < OWN && !isFull && !byeSaid -> unasked++; said++; say(said) }
  :: atomic { processed - ackSaid >= ACK_EVERY -> ackSaid = processed; put(serverQueue, ACK, processed) }
  :: atomic { isResumed && inputEnded && queued == 0 && todo == 0 && unasked == OWN && !byeSaid ->
       byeSaid = true;
       if :: ackSaid != processed -> ackSaid = processed; put(serverQueue, ACK, processed) :: else fi;
       put(serverQueue, BYE, 0) }
  od
}

/* Hands frames to the kernel as it has room. */
proctype Writer(chan from, to) {
  mtype type; byte x;
end:
  do
  :: atomic { nempty(from) && nfull(to) -> from?type,x; to!type,x; type = 0; x = 0 }
  od
}

/* When nothing can move any more. */
proctype Final() {
end:
  timeout -> assert(isDone)
}

init {
  atomic {
    run Client(); run Server(); run Writer(clientQueue, clientKernel); run Writer(serverQueue, serverKernel); run Final()
  }
}
