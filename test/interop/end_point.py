# end_point.py PORT USER PASSWORD KEYFILE: over TLS, with the standard library alone, bound to the server's certificate. Proves the
# shared key, logs in by password, comes back with the token, loses that connection, and resumes its session.
import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import sys

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BINDING = "tls-server-end-point"

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with open(sys.argv[4]) as file:
    shared_key = bytes.fromhex(file.read().strip())
if not getattr(ssl, "HAS_TLSv1_3", False):
    print("no TLS 1.3")
    sys.exit(0)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


class Peer:
    def __init__(self):
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=60))
        self.stream = self.socket.makefile("rb")
        self.end_point = hashlib.sha256(self.socket.getpeercert(binary_form=True)).digest()
        self.prove_key()
        self.hello = json.loads(self.receive().decode())
        assert BINDING in self.hello["bindings"], self.hello

    def send(self, payload):
        self.socket.sendall(struct.pack("!I", len(payload)) + payload)

    def receive(self):
        while True:
            (header,) = struct.unpack("!I", self.stream.read(4))
            payload = self.stream.read(header & 0x7FFFFFFF)
            if header < 0x80000000:  # not a control frame
                return payload

    def prove_key(self):
        k = hmac.new(shared_key, b"parley tls-server-end-point v1" + self.end_point, hashlib.sha256).digest()

        def response(challenge):
            return b"{sha256}" + hmac.new(k, challenge, hashlib.sha256).digest()

        challenge = self.receive()
        assert challenge.startswith(b"#CHALLENGE#{sha256}parley-s"), challenge
        self.send(response(challenge[11:]))
        assert self.receive() == b"#WELCOME#"
        mine = b"{sha256}parley-c" + os.urandom(40)
        self.send(b"#CHALLENGE#" + mine)
        assert hmac.compare_digest(self.receive(), response(mine)), "the server has another key"
        self.send(b"#WELCOME#")

    def proof(self, secret, label):
        key = hashlib.sha256(secret).digest()
        nonce = base64.b64decode(self.hello["nonce"])
        mask = hmac.new(key, label + nonce + self.end_point, hashlib.sha256).digest()
        return base64.b64encode(bytes(a ^ b for a, b in zip(secret, mask))).decode()

    def login(self, **login):
        self.send(json.dumps(dict(type="login", **login)).encode())
        return json.loads(self.receive().decode())

    def says(self, text):
        self.send(text.encode())
        answer = self.receive().decode()
        assert answer == text, answer


def secret_of(text):
    number = 0
    for digit in text:
        number = number * 62 + DIGITS.index(digit)
    return number.to_bytes(32, "big")


_, id, rest = Peer().login(method="password", user=user, password=password)["token"].split("_")
secret = secret_of(rest[:43])

peer = Peer()
proof = peer.proof(secret, b"parley/1 token")  # of the other binding
assert peer.login(method="token", id=id, proof=proof, binding=BINDING)["code"] == "token_refused"
proof = peer.proof(secret, b"parley/1 token end-point")
assert peer.login(method="token", id=id, proof=proof)["code"] == "token_refused"  # without its name
welcome = peer.login(method="token", id=id, proof=proof, binding=BINDING, control=True)
assert welcome["type"] == "welcome" and welcome["user"] == user, welcome
peer.says("came back")

lost, peer = peer, Peer()
lost.socket.close()
proof = peer.proof(base64.b64decode(welcome["resume_key"]), b"parley/1 resume end-point")
resumed = peer.login(
    method="resume", session=welcome["session"], proof=proof, binding=BINDING, received=1, control=True
)
assert resumed["type"] == "welcome" and resumed["resumed"] and resumed["received"] == 1, resumed
peer.says("resumed")
print(" ".join(peer.hello["bindings"]))
