# The protocol over TLS by hand, with nothing but the standard library: log in, send a few messages, print what comes.
# Usage: tls_by_hand.py PORT PIN USER PASSWORD

import base64
import hashlib
import json
import socket
import ssl
import struct
import subprocess
import sys

port, pin, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
if not getattr(ssl, "HAS_TLSv1_3", False):
    print("no TLS 1.3")
    sys.exit(0)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_3
raw = socket.create_connection(("127.0.0.1", port), timeout=8)
channel = context.wrap_socket(raw)
assert channel.version() == "TLSv1.3", channel.version()

certificate = ssl.DER_cert_to_PEM_cert(channel.getpeercert(binary_form=True))
key = subprocess.run(
    ["openssl", "x509", "-noout", "-pubkey"], input=certificate.encode(), stdout=subprocess.PIPE, check=True
).stdout
spki = base64.b64decode(b"".join(line for line in key.splitlines() if not line.startswith(b"-")))
assert "sha256/" + base64.b64encode(hashlib.sha256(spki).digest()).decode() == pin, "another key"


def send(payload):
    channel.sendall(struct.pack("!I", len(payload)) + payload)


def exactly(count):
    data = b""
    while len(data) < count:
        more = channel.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def receive():
    return exactly(struct.unpack("!I", exactly(4))[0])


hello = json.loads(receive())
assert hello["type"] == "hello", hello
send(json.dumps({"type": "login", "method": "password", "user": user, "password": password}).encode())
welcome = json.loads(receive())
assert welcome["type"] == "welcome" and welcome["user"] == user, welcome
for message in (b"", b"hello", "žluťoučký".encode(), b"x" * 100000, bytes(range(256))):
    send(message)
    assert receive() == message, len(message)
# Closing the sending side says that no more is coming: then the server closes too.
raw = channel.unwrap()
assert raw.recv(1) == b""
print("all came back")
