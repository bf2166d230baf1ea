"""Random (version 4) UUIDs, many at a time: `uuid.uuid4()` costs a system call and an object for each."""

import os

# Byte 6 of a random UUID carries the version, byte 8 the variant (RFC 9562, section 5.4).
_VERSION_BYTES = bytes(value & 0x0F | 0x40 for value in range(256))
_VARIANT_BYTES = bytes(value & 0x3F | 0x80 for value in range(256))


def new_ids(count: int) -> list[str]:
    """`count` different random UUIDs in their canonical form: 36 characters, lower case."""
    # aaaa-bbbb-cccc-dddd-eeee-ffff-gggg-hhhh, one id behind the other. The hyphens that are too many are taken out of
    # all at once: the number of Python operations does not grow with `count`.
    text = bytearray(_random_bytes(count).hex("-", 2), "ascii")
    text += b"-"
    del text[4::40], text[28::39], text[32::38]
    joined = text.decode("ascii")
    return [joined[start : start + 36] for start in range(0, 37 * count, 37)]


def new_id() -> str:
    """One random UUID."""
    digits = _random_bytes(1).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _random_bytes(count: int) -> bytearray:
    random_bytes = bytearray(os.urandom(16 * count))
    random_bytes[6::16] = random_bytes[6::16].translate(_VERSION_BYTES)
    random_bytes[8::16] = random_bytes[8::16].translate(_VARIANT_BYTES)
    return random_bytes
