# token_proof.py PORT USER PASSWORD: logs in by password, and comes back on a new connection with the proof of its token.
import base64, hashlib, hmac, json, socket, struct, sys

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Peer:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.stream = self.socket.makefile("rb")
        self.hello = self.receive()

    def send(self, payload):
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self):
        return json.loads(self.bytes().decode())

    def bytes(self):
        return self.stream.read(struct.unpack(">I", self.stream.read(4))[0])

    def login(self, **login):
        self.send(json.dumps(dict(type="login", **login)).encode())
        return self.receive()

    def proof(self, secret):
        key = hashlib.sha256(secret).digest()
        nonce = base64.b64decode(self.hello["nonce"])
        mask = hmac.new(key, b"parley/1 token" + nonce, hashlib.sha256).digest()
        return base64.b64encode(bytes(a ^ b for a, b in zip(secret, mask))).decode()


def secret_of(text):
    number = 0
    for digit in text:
        number = number * 62 + DIGITS.index(digit)
    return number.to_bytes(32, "big")


port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
token = Peer(port).login(method="password", user=user, password=password)["token"]
_, id, rest = token.split("_")
secret = secret_of(rest[:43])

peer = Peer(port)
proof = peer.proof(secret)
welcome = peer.login(method="token", id=id, proof=proof)
assert welcome["type"] == "welcome" and welcome["user"] == user, welcome
assert "token" not in welcome, "no new token for an old one"
peer.send(b"came back")
print(peer.bytes().decode())

replay = Peer(port).login(method="token", id=id, proof=proof)
print(replay["type"], replay["code"])
