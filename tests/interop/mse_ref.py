#!/usr/bin/env python3
"""Message stream encryption once more, in a few lines and from the specification alone: what the tests measure core/mse by.

Run as a program it prints the vectors of tests/unit/mse_test.c."""
import hashlib
import struct

P = int('FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD'
        'EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563', 16)
PLAIN, RC4 = 1, 2
VC = bytes(8)


def sha1(*parts):
    return hashlib.sha1(b''.join(parts)).digest()


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def public(secret):
    return pow(2, secret, P).to_bytes(96, 'big')


def shared(secret, y):
    return pow(int.from_bytes(y, 'big'), secret, P).to_bytes(96, 'big')


class Stream:
    """RC4, the first 1024 bytes thrown away unless told otherwise."""

    def __init__(self, key, drop=1024):
        s, j = list(range(256)), 0
        for i in range(256):
            j = (j + s[i] + key[i % len(key)]) & 255
            s[i], s[j] = s[j], s[i]
        self.s, self.i, self.j = s, 0, 0
        self.run(bytes(drop))

    def run(self, data):
        s, i, j, out = self.s, self.i, self.j, bytearray()
        for byte in data:
            i = (i + 1) & 255
            j = (j + s[i]) & 255
            s[i], s[j] = s[j], s[i]
            out.append(byte ^ s[(s[i] + s[j]) & 255])
        self.i, self.j = i, j
        return bytes(out)


def streams(secret, skey):
    """What A sends in, what B sends in."""
    return Stream(sha1(b'keyA', secret, skey)), Stream(sha1(b'keyB', secret, skey))


def ask(secret, skey, stream, provide, pad_len, ia, vc=VC):
    """Step 3."""
    head = vc + struct.pack('>IH', provide, pad_len) + bytes(pad_len) + struct.pack('>H', len(ia)) + ia
    return sha1(b'req1', secret) + xor(sha1(b'req2', skey), sha1(b'req3', secret)) + stream.run(head)


def answer(stream, select, pad_len, vc=VC):
    """Step 4."""
    return stream.run(vc + struct.pack('>IH', select, pad_len) + bytes(pad_len))


def array(name, data):
    rows = [data[i:i + 16] for i in range(0, len(data), 16)]
    text = ',\n    '.join(', '.join('0x%02x' % b for b in row) for row in rows)
    return 'static const uint8_t %s[%d] = {\n    %s,\n};\n' % (name, len(data), text)


def main():
    one, two = int('0102030405060708090a0b0c0d0e0f1011121314', 16), int('f' * 40, 16)
    skey, ia = bytes(range(0xa0, 0xb4)), b'\x13BitTorrent protocol' + bytes(range(48))
    s = shared(one, public(two))
    assert s == shared(two, public(one))
    print('/* Printed by tests/interop/mse_ref.py, which computes with integers of Python. */')
    print('#ifndef SP_TEST_MSE_VECTORS_H\n#define SP_TEST_MSE_VECTORS_H\n\n#include <stdint.h>\n')
    print(array('secret_a', one.to_bytes(20, 'big')))
    print(array('secret_b', two.to_bytes(20, 'big')))
    print(array('public_a', public(one)))
    print(array('public_b', public(two)))
    print(array('shared_ab', s))
    print(array('skey', skey))
    print(array('req2', sha1(b'req2', skey)))
    print('/* What A sends: 7 bytes of PadA, both methods, 300 of PadC, IA; then "payload". */')
    a, b = streams(s, skey)
    print(array('from_a', public(one) + b'\x55' * 7 + ask(s, skey, a, PLAIN | RC4, 300, ia) + a.run(b'payload')))
    print('/* What B sends: all of PadB, RC4, 5 of PadD; then "payload". */')
    print(array('from_b', public(two) + b'\xaa' * 512 + answer(b, RC4, 5) + b.run(b'payload')))
    print('/* How step 3 begins when both methods are offered, step 4 when plain text is chosen. */')
    a, b = streams(s, skey)
    print(array('ask_head', ask(s, skey, a, PLAIN | RC4, 0, b'')[:52]))
    print(array('choice_head', answer(b, PLAIN, 0)[:12]))
    print('/* 300 times: the last result is the key, its SHA-1 the secret; first public_a. */')
    y = public(one)
    for _ in range(300):
        y = shared(int.from_bytes(sha1(y), 'big'), y)
    print(array('chain_end', y))
    print('#endif')


if __name__ == '__main__':
    main()
