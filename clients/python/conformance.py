"""The adapter of parley.py for the conformance runner: bun clients/conformance/run.ts -- python3 clients/python/conformance.py"""
import base64
import json
import os
import socket
import sys
import tempfile
import threading
import warnings
from typing import Any, Dict, Optional, Union

import parley

Talk = Union[parley.Session, parley.MessageSocket]
PARTS = ["login", "password", "register", "token", "key", "tls", "control", "resume", "bare"]
printing = threading.Lock()


def report(event: str, **members: Any) -> None:
    with printing:
        print(json.dumps(dict(event=event, **members)), flush=True)


def report_message(message: bytes) -> None:
    try:
        report("message", text=message.decode())
    except UnicodeDecodeError:
        report("message", base64=base64.b64encode(message).decode())


class Conversation:
    def __init__(self, settings: Dict[str, Any]) -> None:
        self.talk = None  # type: Optional[Talk]
        self.is_left = False
        self.flaw = ""
        try:
            self.talk = self.connect(settings)
        except (parley.ParleyError, OSError) as error:
            return self.report_error(error)
        threading.Thread(target=self.receive, args=(self.talk,), daemon=True).start()

    def connect(self, settings: Dict[str, Any]) -> Talk:
        host, port, limit = settings["host"], settings["port"], settings.get("max_frame", parley.LIMIT)
        key = bytes.fromhex(settings["key"]) if "key" in settings else None
        if settings.get("bare"):
            bare = parley.MessageSocket.over(socket.create_connection((host, port)), limit)
            if key is not None:
                bare.prove_key(key)
            report("connected")
            return bare
        names = ("user", "password", "register", "token", "pin", "ca")
        options = {name: settings[name] for name in names if name in settings}
        session = parley.connect(host, port, key=key, limit=limit, keep_token=False,
                                 retry=60 if settings.get("resume") else 0, timeout=10, **options)
        report("connected", user=session.user, **({} if session.token is None else {"token": session.token}))
        return session

    def receive(self, talk: Talk) -> None:
        try:
            for message in iter(talk.recv_bytes, None):
                report_message(message)
            if isinstance(talk, parley.Session):
                talk.leave()
            else:
                talk.close()
            report("done")
        except (parley.ParleyError, OSError) as error:
            if isinstance(talk, parley.Session):
                talk.leave()
            else:
                talk.close()
            self.report_error(error)

    def report_error(self, error: Exception) -> None:
        if self.is_left:
            return report("done")
        code = self.flaw or error.code if isinstance(error, parley.ParleyError) else "reset"
        report("error", code=code, retry_after=getattr(error, "retry_after", None))

    def do(self, command: Dict[str, Any]) -> None:
        talk = self.talk
        try:
            if isinstance(talk, parley.Session):
                if command["do"] == "send":
                    talk.send_bytes(bytes_of(command))
                elif command["do"] == "end":
                    talk.end()
                else:
                    self.is_left = True
                    talk.leave()
            elif talk is not None:
                if command["do"] == "send":
                    talk.send_bytes(bytes_of(command))
                else:
                    self.is_left = command["do"] == "close"
                    talk.shutdown(socket.SHUT_WR if command["do"] == "end" else socket.SHUT_RDWR)
        except ValueError:
            self.flaw = "too_long"
            if isinstance(talk, parley.Session):
                talk.leave()  # the other thread says so
        except (parley.ParleyError, OSError):
            pass  # the other thread says so


def bytes_of(command: Dict[str, Any]) -> bytes:
    return base64.b64decode(command["base64"]) if "base64" in command else str(command["text"]).encode()


def main(folder: str) -> None:
    warnings.simplefilter("ignore")
    report("ready", parts=PARTS)
    conversation = None  # type: Optional[Conversation]
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "connect":
            os.environ["PARLEY_DATA"] = tempfile.mkdtemp(dir=folder)  # each server is a new one
            conversation = Conversation(command)
        elif conversation is not None:
            conversation.do(command)


with tempfile.TemporaryDirectory() as folder:
    main(folder)
