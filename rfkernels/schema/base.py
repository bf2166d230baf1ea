"""What requests and responses share: JSON in and out, and the error for what does not fit."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from rfkernels.errors import InvalidArgumentError

_Response = TypeVar("_Response", bound="ResponseModel")


class SchemaError(InvalidArgumentError):
    """A request or response has a missing field, or one of the wrong type; the message names the field."""


class ResponseModel(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of responses. Every optional field has the default None, so that leaving out defaults leaves out nulls
    and nothing else: a class_id or confidence of 0 stays. A default that V2 writes is given by a factory, since what a
    factory made is no default to leave out.
    """

    def to_json(self) -> str:
        """JSON text; fields that are None are absent, bytes are base64."""
        return to_json(self)

    def to_dict(self) -> dict[str, Any]:
        """The same as Python objects, by the names of the JSON fields."""
        builtins: dict[str, Any] = msgspec.to_builtins(self)
        return builtins

    @classmethod
    def from_json(cls: type[_Response], data: str | bytes) -> _Response:
        """Read what `to_json` wrote; unknown fields are ignored.

        Raises:
            SchemaError: malformed JSON, a missing field, or a field of the wrong type.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise SchemaError(f"{cls.__name__}: {error}") from error


def to_json(responses: ResponseModel | Sequence[ResponseModel]) -> str:
    """JSON text of one response, or of several as an array, as a V2 server answers a batch."""
    return msgspec.json.encode(responses).decode()
