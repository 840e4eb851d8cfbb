/* A durable session: one client, one session, K connections one after another, and a network that cuts them.
 * docs/protocol.md, "Durable sessions", in Promela. README.md says what is checked, and how to run it.
 *
 * Frames are the unit: a cut inside a frame is a cut before it, since the part is dropped. A frame that was sent before a cut may
 * arrive at any time after it, also when the client has long come back over another connection.
 */
#ifndef N
#define N 2            /* messages of the client */
#endif
#ifndef ANSWERS
#define ANSWERS 1      /* answers to each message, one after the other */
#endif
#ifndef OWN
#define OWN 0          /* messages that the service sends unasked, at any time */
#endif
#ifndef W
#define W 2            /* the window: unacknowledged payloads at which a sender waits */
#endif
#ifndef CUTS
#define CUTS 2         /* cuts of the network */
#endif
/* WAITS    the service waits in writable() before each payload
 * ENDS     the session may be gone at any moment: its time is over, or its server is killed
 * REVOKE   the credential may end at any moment
 * EARLY    the service may finish at any moment; a message that its hook is at work on then was processed, or was not
 * LEAVES   the client may say `bye` at any moment, and then come back all the same, which it must not
 * UNASKED  the client logged in without `resume_for`: its session ends with its connection once all is acknowledged
 * FINCUT   a cut may look like FIN of the peer
 * DUPACK   an acknowledgement may come twice, and an older one behind it
 * RELAY    the connection of that number goes through a relay, whose link to the server may be cut, too
 * HALF     the service ends its output at some moment, and goes on listening
 * COMPLETE nothing but cuts can happen: the client must end with success
 *
 * Faults that are put in on purpose; each must be found: LATE_RESUME, NEW_IS_CLEAN, WELCOME_CONFIRMS, REVOKED_RESUMES, LEFT_RESUMES,
 * TWO_STEPS, DONE_EXPIRES, OLD_IS_READ, END_ONCE, QUEUE_KEPT, NO_LAST_ACK, AGAIN_FROM_START, DEAF, HALF_CLOSES,
 * HOOK_COUNTS_LATE, OUTPUT_END_ONCE, OUTPUT_END_FIRST.
 */
#ifdef LEAVES
#define K (CUTS + 2)
#else
#define K (CUTS + 1)
#endif
#define NONE K
#ifdef WAITS
#define waits true
#else
#define waits false
#endif

mtype = { DATA, ACK, END, BYE, FIN, RESUME, WELCOME, GONE, BUSY };    /* frames, FIN, and the three answers to a resume */
mtype = { attached, detached, closing, detached_closing, closed };    /* states of the session */
mtype = { done, replaced, revoked, left, expired };                   /* why it ends */
mtype = { clean, unconfirmed, unreachable, unknown, refused };        /* what the client reports; `clean` is exit 0 */

#define Q (N + N * ANSWERS + OWN + 8)
chan up[K] = [Q] of { mtype, byte };
chan down[K] = [Q] of { mtype, byte };
bool upCut[K], downCut[K];         /* what is sent from now on is lost */
#ifdef RELAY
chan relayUp = [Q] of { mtype, byte };
chan relayDown = [Q] of { mtype, byte };
bool linkCut;
chan fromClient[K], toClient[K];   /* the server's ends of the connections */
#define isRelayed(c) ((c) == RELAY)
#define isBroken(c) ((isRelayed(c) && linkCut) || (!isRelayed(c) && (upCut[c] || downCut[c])))
#define isLostDown(c) ((isRelayed(c) && linkCut) || (!isRelayed(c) && downCut[c]))
#else
#define fromClient up
#define toClient down
#define isBroken(c) (upCut[c] || downCut[c])
#define isLostDown(c) downCut[c]
#endif

/* The client. */
byte conn;                         /* the number of its connection */
byte sent, confirmed;              /* messages sent, and those of them that were acknowledged to it */
byte got, gotAcked;                /* payloads received, and those of them that it has acknowledged */
bool hasEnded;                     /* it has said `end` */
mtype outcome;

/* The session. */
mtype state = attached, reason;
bool isFinal;                      /* no resume is accepted any more */
byte owner;                        /* its connection, or NONE */
byte newest;                       /* its connection, or the last one that it had */
byte received, processed, ackSaid; /* payloads: given to the service, processed by it, acknowledged to the client */
byte said, acked, unasked;         /* payloads: sent, acknowledged by the client, and sent unasked */
bool isBusy; byte todo;            /* a hook is at work, and has so many answers to give */
bool keepsReading;                 /* the connection is read although a hook is at work */
byte queued; bool endQueued;       /* the input queue */
bool inputEnded, inputOver;        /* `end` was heard; nothing is delivered any more */
bool outputEnded;                  /* the service has ended its output */
bool endHeard;                     /* … and the client knows */
bool isRevoked, byeHeard;           /* for the assertions */

#define isFull (said - acked >= W)
#define isAttached (state == attached || state == closing)
#define isDetached (state == detached || state == detached_closing)

inline put(ch, isLost, type, x) { if :: isLost -> skip :: else -> assert(nfull(ch)); ch!type,x fi }
inline drain(ch) { do :: nempty(ch) -> ch?_,_ :: empty(ch) -> break od }

/* ------------------------------------------------------------------ client */

inline send(type, x) { put(up[conn], upCut[conn], type, x) }
inline sendEnd() {
  send(END, 0);
#ifdef HALF_CLOSES
  send(FIN, 0)
#endif
}
#ifdef HALF_CLOSES
#define canSend !hasEnded
#else
#define canSend true
#endif

proctype Client() {
  byte a;
#ifdef DUPACK
  bool wasTwice;
#endif
#ifdef LEAVES
  bool hasLeft;
#endif
connected:
  do
  :: atomic { sent < N && sent - confirmed < W -> sent++; send(DATA, sent) }
  :: atomic { sent == N && !hasEnded -> hasEnded = true; sendEnd() }
  :: atomic { gotAcked < got && canSend -> gotAcked = got; send(ACK, got) }
#ifdef DUPACK
  :: atomic { !wasTwice && gotAcked > 0 -> wasTwice = true; send(ACK, gotAcked); send(ACK, gotAcked - 1) }
#endif
#ifdef LEAVES
  :: atomic { !hasLeft -> hasLeft = true; send(BYE, left) } goto lost
#endif
  :: atomic { down[conn]?DATA,a -> assert(a == got + 1); got = a; a = 0 }    /* each payload once, and in order */
#ifdef HALF
  :: atomic { down[conn]?END,_ -> endHeard = true; assert(got == said) }     /* the end of the output has all before it */
#endif
  :: atomic { down[conn]?ACK,a -> if :: a > confirmed -> confirmed = a :: else fi; a = 0;
       assert(confirmed <= processed) }                       /* nothing is confirmed that was not processed */
  :: atomic { down[conn]?BYE,a ->
       assert(a != replaced);                                 /* no late resume takes its session from it */
       if :: canSend -> send(ACK, got); send(BYE, left); send(FIN, 0) :: else fi;
       outcome = (a != done -> refused : (hasEnded && confirmed == sent -> clean : unconfirmed)); a = 0 } goto over
  :: down[conn]?FIN,_ -> goto lost
  :: upCut[conn] || downCut[conn] -> goto lost
  od;
lost:
  atomic {
    upCut[conn] = true; downCut[conn] = true; drain(down[conn]);              /* a reset, which may be lost, too */
    if
    :: conn == K - 1 -> outcome = unreachable; goto over
    :: else -> conn++; send(RESUME, got)
    fi
  };
  if
  :: atomic { down[conn]?WELCOME,a ->
       assert(confirmed <= a && a <= sent);
       gotAcked = got;
#ifdef WELCOME_CONFIRMS
       confirmed = a; assert(confirmed <= processed);
#endif
       do :: a < sent -> a++; send(DATA, a) :: else -> a = 0; break od;
#ifndef END_ONCE
       if :: hasEnded -> sendEnd() :: else fi
#endif
     } goto connected
  :: atomic { down[conn]?GONE,_ ->
#ifdef NEW_IS_CLEAN
       outcome = (sent == confirmed -> clean : unknown)
#else
       outcome = unknown       /* what it does in a new session can make this no better */
#endif
     } goto over
  :: down[conn]?BUSY,_ -> goto lost
  :: upCut[conn] || downCut[conn] -> goto lost
  fi;
over:
  atomic {
    downCut[conn] = true; drain(down[conn]);
    if
    :: outcome == clean ->                                   /* success means: */
       assert(reason == done);                               /*   the server says so, too, */
       assert(processed == N && sent == N);                  /*   every message was processed, */
       assert(got == said);                                  /*   every payload of the service has come, */
       assert(endHeard == outputEnded)                       /*   and so has the end of its output */
    :: else
    fi
  }
}

/* ------------------------------------------------------------------ server */

inline sendTo(c, type, x) { put(toClient[c], isLostDown(c), type, x) }
inline sendToOwner(type, x) { if :: owner != NONE -> sendTo(owner, type, x) :: else fi }
inline acknowledge() { ackSaid = processed; sendToOwner(ACK, processed) }

/* The connection is let go: its client sends again what was not delivered, and `end` after it. */
inline detach() {
#ifndef OLD_IS_READ
  drain(fromClient[owner]);
#endif
  owner = NONE; state = (state == attached -> detached : detached_closing);
  keepsReading = isBusy;
#ifndef QUEUE_KEPT
  queued = 0; if :: endQueued -> endQueued = false; inputEnded = false :: else fi
#endif
}

#ifdef UNASKED
#define hasAll (reason == done && acked == said)
#else
#define hasAll false
#endif
inline close(why) { state = closed; owner = NONE; if :: reason == 0 -> reason = why :: else fi }
inline lose() { detach(); if :: isFinal || hasAll -> close(expired) :: else fi }

inline deliver() {
  assert(!isRevoked && !byeHeard);                            /* no service for a session that was revoked or left */
  received++; isBusy = true; todo = (outputEnded -> 0 : ANSWERS)
}

inline payload() {
  if
  :: inputOver -> skip
  :: else ->
     assert(!inputEnded);                                   /* nothing comes after the end */
     assert(a == received + queued + 1);                    /* each message once, and in order */
     assert(queued < W);                                    /* room for one window is enough */
     if :: isBusy || queued > 0 || isFull -> queued++ :: else -> deliver() fi
  fi
}

/* `bye` behind all that was sent; another one than `done` is final. */
inline sayBye(why) {
  reason = why; inputOver = true; isBusy = false;
#ifndef NO_LAST_ACK
  if :: ackSaid != processed && owner != NONE -> acknowledge() :: else fi;
#endif
  sendToOwner(BYE, why); sendToOwner(FIN, 0);
  state = (state == attached -> closing : detached_closing)
}

#ifdef LATE_RESUME
#define isLate(c) false
#else
#define isLate(c) (c < newest)
#endif
#ifdef AGAIN_FROM_START
#define firstAgain 0
#else
#define firstAgain acked
#endif

inline attach(c) {
  assert(isDetached);                                       /* one connection at a time owns the session */
  assert(!isRevoked && !byeHeard);
  owner = c; newest = c; state = (state == detached -> attached : closing);
#ifdef OUTPUT_END_FIRST
  if :: outputEnded -> sendTo(c, END, 0) :: else fi;
#endif
  a = firstAgain; do :: a < said -> a++; sendTo(c, DATA, a) :: else -> a = 0; break od;
#if defined(HALF) && !defined(OUTPUT_END_ONCE) && !defined(OUTPUT_END_FIRST)
  if :: outputEnded -> sendTo(c, END, 0) :: else fi;
#endif
  if :: state == closing -> sendTo(c, BYE, reason); sendTo(c, FIN, 0) :: else fi
}

/* The client has `a` payloads, says the login on connection c. */
#define mayResume (state != closed && !isFinal && acked <= a && a <= said)
inline release(c) {
  if
  :: isAttached ->
     if :: state == attached -> sendTo(owner, BYE, replaced); sendTo(owner, FIN, 0) :: else fi;
     detach()
  :: else
  fi;
  acked = a; ackSaid = processed;
  sendTo(c, WELCOME, received);
#ifdef HOOK_COUNTS_LATE
  if :: reason == done -> ackSaid = received :: else fi;
#endif
  sendTo(c, ACK, ackSaid)
}

#define isRead(c) (state != closed && c == owner && canRead)
#ifdef OLD_IS_READ
#undef isRead
#define isRead(c) (state != closed && c <= newest && canRead)
#endif
#ifdef DEAF
#define canRead (!isBusy)
#else
#define canRead (!isBusy || keepsReading || (waits && isFull))
#endif

/* One accepted connection. */
proctype Accepted(byte c) {
  byte a;
end:
  do
  :: atomic { isRead(c) && fromClient[c]?[DATA,_] -> fromClient[c]?DATA,a; payload(); a = 0 }
  :: atomic { isRead(c) && fromClient[c]?[ACK,_] -> fromClient[c]?ACK,a;
       assert(a <= said); if :: a > acked -> acked = a :: else fi; a = 0 }
  :: atomic { isRead(c) && fromClient[c]?[END,_] -> fromClient[c]?END,_;
       if :: !inputEnded && !inputOver -> inputEnded = true; endQueued = (isBusy || queued > 0) :: else fi }
  :: atomic { isRead(c) && fromClient[c]?[BYE,_] -> fromClient[c]?BYE,_; byeHeard = true;
#ifdef LEFT_RESUMES
       if :: reason == 0 -> reason = left; state = closing; inputOver = true :: else -> close(left) fi
#else
       isFinal = true; close(left)
#endif
     }
  :: atomic { isRead(c) && fromClient[c]?[FIN,_] -> fromClient[c]?FIN,_;
       if :: state == closing || !inputEnded -> lose() :: else fi }
  :: atomic { fromClient[c]?RESUME,a ->
       if
       :: isLate(c) -> sendTo(c, BUSY, 0); a = 0; goto refusedIt
       :: !isLate(c) && !mayResume -> sendTo(c, GONE, 0); a = 0; goto refusedIt
       :: else -> release(c)
#ifndef TWO_STEPS
          ; attach(c)
#endif
       fi
     }
#ifdef TWO_STEPS
     atomic { attach(c) }
#endif
  od;
refusedIt:
}

#ifdef EARLY
#define mayFinish true
#else
#define mayFinish (inputEnded && !endQueued && !isBusy)
#endif
#define isOpen (state == attached || state == detached)
#define hasRoom (!waits || !isFull)

proctype Server() {
end:
  do
  :: atomic { isBusy && isOpen && todo > 0 && hasRoom -> todo--; said++; sendToOwner(DATA, said) }
  :: atomic { isBusy && isOpen && todo == 0 -> isBusy = false; keepsReading = false; processed = received }
  :: atomic { !isBusy && isOpen && queued > 0 && !isFull -> queued--; deliver() }
  :: atomic { !isBusy && isOpen && queued == 0 && endQueued -> endQueued = false }
#ifdef HALF
  :: atomic { isOpen && !outputEnded -> outputEnded = true; todo = 0; sendToOwner(END, 0) }
#endif
#if OWN > 0
  :: atomic { unasked < OWN && isOpen && hasRoom && !outputEnded -> unasked++; said++; sendToOwner(DATA, said) }
#endif
  :: atomic { state == attached && ackSaid != processed -> acknowledge() }
  :: atomic { isOpen && mayFinish ->
       if :: isBusy -> processed = received :: true fi;     /* `finish` in a hook: its message may count as processed */
       sayBye(done) }
  :: atomic { isAttached && isBroken(owner) -> lose() }     /* the loss is noticed, sooner or later */
#ifdef ENDS
  :: atomic { state != closed ->
       if :: owner != NONE -> toClient[owner]!FIN,0 :: else fi;
#ifdef DONE_EXPIRES
       reason = expired;
#endif
       close(expired) }
#endif
#ifdef REVOKE
  :: atomic { !isRevoked && state != closed ->
       isRevoked = true;
#ifndef REVOKED_RESUMES
       isFinal = true;
#endif
       if
       :: state == attached -> sayBye(revoked)
       :: state == closing -> skip                          /* `bye` was said, and nothing comes after it */
       :: else -> close(revoked)
       fi }
#endif
  od
}

/* ------------------------------------------------------------------ relay and network */

#ifdef RELAY
/* Passes frames, and makes the loss of either side the other's; what it has buffered is dropped. */
proctype Relay(byte c) {
  mtype type; byte x;
end:
  do
  :: atomic { up[c]?type,x -> put(relayUp, linkCut, type, x); type = 0; x = 0 }
  :: atomic { relayDown?type,x -> put(down[c], downCut[c], type, x); type = 0; x = 0 }
  :: atomic { linkCut || upCut[c] || downCut[c] ->
       linkCut = true; upCut[c] = true; downCut[c] = true; drain(up[c]); drain(relayDown); break }
  od
}
#endif

proctype Network() {
  byte n = CUTS;
end:
  do
  :: atomic { n > 0 && outcome == 0 && !upCut[conn] && !downCut[conn] -> n--;
       if
       :: upCut[conn] = true
       :: downCut[conn] = true
       :: upCut[conn] = true; downCut[conn] = true
#ifdef FINCUT
       :: up[conn]!FIN,0; down[conn]!FIN,0; upCut[conn] = true; downCut[conn] = true
       :: up[conn]!FIN,0; upCut[conn] = true
       :: down[conn]!FIN,0; downCut[conn] = true
#endif
#ifdef RELAY
       :: isRelayed(conn) && !linkCut -> linkCut = true
#endif
       fi }
  od
}

/* When nothing can move any more. No step can be taken for ever, so every run comes here. */
proctype Final() {
end:
  timeout ->
    assert(outcome != 0);                                   /* no deadlock: the client has come to an end */
#ifdef COMPLETE
    assert(outcome == clean)
#endif
}

init {
  atomic {
    byte c;
    for (c : 0 .. K - 1) {
#ifdef RELAY
      fromClient[c] = up[c]; toClient[c] = down[c];
      if :: isRelayed(c) -> fromClient[c] = relayUp; toClient[c] = relayDown; run Relay(c) :: else fi;
#endif
      run Accepted(c)
    }
    c = 0;
    run Client(); run Server(); run Network(); run Final()
  }
}
