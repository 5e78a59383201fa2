"""Checks update messages with dnspython: their meaning by RFC 2136, their signature by RFC 8945.

Reads lines of `what key-name algorithm secret message-in-hexadecimal`, writes a line for each, fails at the first that is
wrong.
"""

import base64
import hashlib
import hmac
import struct
import sys

import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

# Type, class, TTL and data of the update section, as `what` is to be written.
EXPECTED = {
    "publish": [("ANY", 0, ""), ("IN", 120, '"sibling"'), ("IN", 120, '"value"')],
    "withdraw": [("NONE", 0, '"value"')],
}


def check(what, name, algorithm, secret, wire):
    name, algorithm = dns.name.from_text(name), algorithm_name(algorithm)
    key = dns.tsig.Key(name, base64.b64decode(secret), algorithm)

    # dnspython verifies the signature as it reads, by its own clock.
    message = dns.message.from_wire(wire, keyring={name: key})
    assert message.had_tsig and message.tsig_error == 0, "the signature has an error"
    assert isinstance(message, dns.update.UpdateMessage), "no update"
    assert message.opcode() == dns.opcode.UPDATE and message.rcode() == dns.rcode.NOERROR
    (zone,) = message.zone
    assert (zone.name.to_text(), zone.rdtype, zone.rdclass) == (
        "example.test.",
        dns.rdatatype.SOA,
        dns.rdataclass.IN,
    ), zone
    assert message.prerequisite == [], message.prerequisite

    # RFC 2136 2.5: class and TTL tell additions from removals.
    found = []
    for rrset in message.update:
        assert rrset.name.to_text() == "_acme-challenge.www.example.test." and rrset.rdtype == dns.rdatatype.TXT
        texts = sorted(rdata.to_text() for rdata in rrset) or [""]
        kind = dns.rdataclass.to_text(rrset.deleting if rrset.deleting is not None else rrset.rdclass)
        found += [(kind, rrset.ttl, text) for text in texts]
    assert found == EXPECTED[what], found

    # RFC 8945 4.2: the record, field by field, at the very end of the message, with no name compressed.
    tsig = message.tsig[0]
    start = len(wire) - record_length(name, algorithm, tsig)
    assert wire[start:] == record(name, algorithm, tsig), "the TSIG record is not as RFC 8945 writes it"
    assert tsig.fudge == 300 and tsig.error == 0 and tsig.other == b"" and tsig.original_id == message.id

    # RFC 8945 4.3.3: what is hashed, put together here once more and from nothing.
    unsigned = wire[:10] + struct.pack("!H", struct.unpack("!H", wire[10:12])[0] - 1) + wire[12:start]
    variables = (
        name.canonicalize().to_wire()
        + struct.pack("!HI", dns.rdataclass.ANY, 0)
        + algorithm.canonicalize().to_wire()
        + struct.pack("!Q", tsig.time_signed)[2:]
        + struct.pack("!HHH", tsig.fudge, 0, 0)
    )
    digest = hmac.new(key.secret, unsigned + variables, HASHES[algorithm]).digest()
    assert tsig.mac == digest, "the MAC is not over what RFC 8945 says"


def record(name, algorithm, tsig):
    data = (
        algorithm.canonicalize().to_wire()
        + struct.pack("!Q", tsig.time_signed)[2:]
        + struct.pack("!HH", tsig.fudge, len(tsig.mac))
        + tsig.mac
        + struct.pack("!HHH", tsig.original_id, tsig.error, len(tsig.other))
    )
    head = struct.pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(data))
    return name.to_wire() + head + data


def record_length(name, algorithm, tsig):
    return len(record(name, algorithm, tsig))


def algorithm_name(text):
    if text == "hmac-md5":
        return dns.tsig.HMAC_MD5
    return dns.name.from_text(text)


HASHES = {
    dns.tsig.HMAC_MD5: hashlib.md5,
    dns.tsig.HMAC_SHA1: hashlib.sha1,
    dns.tsig.HMAC_SHA224: hashlib.sha224,
    dns.tsig.HMAC_SHA256: hashlib.sha256,
    dns.tsig.HMAC_SHA384: hashlib.sha384,
    dns.tsig.HMAC_SHA512: hashlib.sha512,
}


for line in sys.stdin:
    what, name, algorithm, secret, message = line.split()
    check(what, name, algorithm, secret, bytes.fromhex(message))
    print(f"{what} {algorithm}: ok")
