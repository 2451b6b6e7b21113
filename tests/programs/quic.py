"""QUIC (RFC 9000) over aioquic: a server that echoes streams, and a client that tells what came back.

    quic.py serve ADDRESS PORT
    quic.py ask HOST PORT
"""

import asyncio
import datetime
import ssl
import sys
import tempfile

from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROTOCOLS = ["echo"]
STREAMS = 8
# more than a window and thousands of datagrams, so that loss, reordering and merged datagrams would show
SIZE = 300_000


def certificate():
    """A certificate for whoever asks, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "quic")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )
    return made, key


async def echo(reader, writer):
    writer.write(await reader.read())
    writer.write_eof()


async def serving(address, port):
    made, key = certificate()
    with tempfile.NamedTemporaryFile() as chain, tempfile.NamedTemporaryFile() as private:
        chain.write(made.public_bytes(serialization.Encoding.PEM))
        private.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        chain.flush()
        private.flush()
        configuration = QuicConfiguration(is_client=False, alpn_protocols=PROTOCOLS)
        configuration.load_cert_chain(chain.name, private.name)
    await serve(
        # an answer comes from the address that was asked, also where there are several
        address,
        port,
        configuration=configuration,
        stream_handler=lambda reader, writer: asyncio.ensure_future(echo(reader, writer)),
    )
    await asyncio.Event().wait()


async def stream(protocol, number):
    """One stream, there and back."""
    reader, writer = await protocol.create_stream()
    sent = bytes([number]) * SIZE
    writer.write(sent)
    writer.write_eof()
    received = await reader.read()
    return f"stream {number}: {len(received)} bytes, {'the same' if received == sent else 'not the same'}"


async def asking(host, port):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=PROTOCOLS, verify_mode=ssl.CERT_NONE, idle_timeout=20
    )
    async with connect(host, port, configuration=configuration) as protocol:
        await protocol.ping()
        print("connected")
        for line in await asyncio.gather(*(stream(protocol, number) for number in range(STREAMS))):
            print(line)


match sys.argv[1:]:
    case ["serve", address, port]:
        asyncio.run(serving(address, int(port)))
    case ["ask", host, port]:
        asyncio.run(asking(host, int(port)))
