"""Random (version 4) UUIDs, many at a time: `uuid.uuid4()` costs a system call and an object for each."""

import binascii
import os

# Byte 6 of a random UUID carries the version, byte 8 the variant (RFC 9562, section 5.4).
_VERSION_BYTES = bytes(value & 0x0F | 0x40 for value in range(256))
_VARIANT_BYTES = bytes(value & 0x3F | 0x80 for value in range(256))


# Where the 32 hexadecimal digits stand among the 36 characters; the rest are hyphens.
_DIGIT_COLUMNS = tuple(column for column in range(36) if column not in (8, 13, 18, 23))


def new_ids(count: int) -> list[str]:
    """`count` different random UUIDs in their canonical form: 36 characters, lower case."""
    digits = _random_digits(count)
    # Column by column over all ids at once: the number of Python operations does not grow with `count`.
    text = bytearray(b"-") * (36 * count)
    for position, column in enumerate(_DIGIT_COLUMNS):
        text[column::36] = digits[position::32]
    joined = text.decode("ascii")
    return [joined[start : start + 36] for start in range(0, 36 * count, 36)]


def new_id() -> str:
    """One random UUID."""
    digits = _random_digits(1).decode("ascii")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _random_digits(count: int) -> bytes:
    random_bytes = bytearray(os.urandom(16 * count))
    random_bytes[6::16] = random_bytes[6::16].translate(_VERSION_BYTES)
    random_bytes[8::16] = random_bytes[8::16].translate(_VARIANT_BYTES)
    return binascii.hexlify(random_bytes)
