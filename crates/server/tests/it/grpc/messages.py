"""The messages of gRPC's interop cases (`grpc/testing/messages.proto`), written and read by hand."""


def varint(number):
    number &= (1 << 64) - 1
    bytes_ = bytearray()
    while number > 0x7F:
        bytes_.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(bytes_) + bytes([number])


def read_varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return number, at


class Message:
    """`fields` has a number and a type for each name; a type in a list repeats."""

    fields = {}

    def __init__(self, **values):
        for name, (_, kind) in self.fields.items():
            empty = list if isinstance(kind, list) else kind if kind in (int, bytes, str) else lambda: None
            setattr(self, name, values.pop(name, empty()))
        assert not values, values

    def __bytes__(self):
        parts = []
        for name, (number, kind) in self.fields.items():
            value = getattr(self, name)
            for each in value if isinstance(kind, list) else [value] if value or isinstance(value, Message) else []:
                if isinstance(each, int):
                    parts += [varint(number << 3), varint(each)]
                    continue
                written = each.encode() if isinstance(each, str) else bytes(each)
                parts += [varint(number << 3 | 2), varint(len(written)), written]
        return b"".join(parts)

    @classmethod
    def read(cls, data):
        message, at = cls(), 0
        names = {number: (name, kind) for name, (number, kind) in cls.fields.items()}
        while at < len(data):
            key, at = read_varint(data, at)
            value, at = read_varint(data, at)
            if key & 7 == 2:
                value, at = data[at : at + value], at + value
            else:
                assert key & 7 == 0, f"wire type {key & 7}"
            if key >> 3 not in names:
                continue
            name, kind = names[key >> 3]
            one = kind[0] if isinstance(kind, list) else kind
            if one is str:
                value = value.decode()
            elif one not in (int, bytes):
                value = one.read(value)
            if isinstance(kind, list):
                getattr(message, name).append(value)
            else:
                setattr(message, name, value)
        return message


class Empty(Message):
    pass


class BoolValue(Message):
    fields = {"value": (1, int)}


class Payload(Message):
    fields = {"type": (1, int), "body": (2, bytes)}


class EchoStatus(Message):
    fields = {"code": (1, int), "message": (2, str)}


class SimpleRequest(Message):
    fields = {
        "response_type": (1, int),
        "response_size": (2, int),
        "payload": (3, Payload),
        "response_compressed": (6, BoolValue),
        "response_status": (7, EchoStatus),
        "expect_compressed": (8, BoolValue),
    }


class SimpleResponse(Message):
    fields = {"payload": (1, Payload)}


class StreamingInputCallRequest(Message):
    fields = {"payload": (1, Payload), "expect_compressed": (2, BoolValue)}


class StreamingInputCallResponse(Message):
    fields = {"aggregated_payload_size": (1, int)}


class ResponseParameters(Message):
    fields = {"size": (1, int), "interval_us": (2, int), "compressed": (3, BoolValue)}


class StreamingOutputCallRequest(Message):
    fields = {
        "response_type": (1, int),
        "response_parameters": (2, [ResponseParameters]),
        "payload": (3, Payload),
        "response_status": (7, EchoStatus),
    }


class StreamingOutputCallResponse(Message):
    fields = {"payload": (1, Payload)}
