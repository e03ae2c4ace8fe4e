"""Lines of batches: what is sent, and what the many shapes that come back are taken for."""

import json

import pytest

from gradatim.models.batch_lines import request_line, result_of
from gradatim.models.faults import Overloaded, Refused, Retry, Stop
from gradatim.types import Usage

FIELDS = frozenset({"max_tokens", "seed"})
ANSWER = {
    "model": "m-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}


def line(response=None, error=None, custom_id="q-s-0") -> bytes:
    return json.dumps({"id": "r", "custom_id": custom_id, "response": response, "error": error}).encode()


def failed(status, message, **more) -> bytes:
    return line({"status_code": status, "request_id": "r", "body": {"error": {"message": message, **more}}})


def test_a_request_is_one_line_of_json():
    """Line ends in a prompt do not end the line; id, method, path and body are there, and nothing else."""
    written = request_line("q-s-0", {"messages": [{"role": "user", "content": "a\nb\u2028c"}]})
    assert written.count(b"\n") == 1
    read = json.loads(written)
    assert read.pop("body") == {"messages": [{"role": "user", "content": "a\nb\u2028c"}]}
    assert read == {"custom_id": "q-s-0", "method": "POST", "url": "/v1/chat/completions"}


def test_an_answer_is_read_as_the_chat_api_gives_it():
    """Text, finish reason, tokens and the server's model name are those of the body."""
    result = result_of(line({"status_code": 200, "request_id": "r", "body": ANSWER}), fields=FIELDS)
    assert (result.custom_id, result.fault) == ("q-s-0", None)
    reply = result.reply
    assert (reply.content, reply.finish_reason, reply.server_model) == ("4", "stop", "m-1")
    assert reply.usage == Usage(prompt=7, completion=2)


@pytest.mark.parametrize(
    ("written", "kind", "reason", "billed"),
    [
        (failed(429, "Rate limit reached"), Overloaded, "http_429", False),
        (failed(500, "The server had an error"), Retry, "http_500", False),
        (failed(400, "This model's maximum context length is 10 tokens"), Refused, "context_overflow", False),
        (failed(401, "Incorrect API key"), Stop, "http_401", False),
        (failed(429, "You exceeded your quota", code="insufficient_quota"), Stop, "http_429", False),
        (line(None, {"code": "batch_expired", "message": "not executed"}), Retry, "batch_expired", False),
        (line(None, {"code": "batch_cancelled", "message": "not executed"}), Retry, "batch_cancelled", False),
        (line(None, {"code": "anything_else", "message": "who knows"}), Retry, "anything_else", True),
        (line(None, "a text"), Retry, "batch_error", True),
        (line(None, None), Retry, "batch_error", True),
        (line({"status_code": 0, "request_id": ""}, {"code": "server_error"}), Retry, "server_error", True),
        (line({"status_code": 200, "body": {"choices": []}}), Retry, "no_choice", True),
        (line({"status_code": 200, "body": {"error": {"message": "upstream"}}}), Retry, "error_200", False),
        (line({"status_code": 200, "body": None}), Retry, "empty_body", True),
        # As vLLM's run-batch writes it: the error beside a response without a body.
        (line({"status_code": 400, "body": None}, {"message": "max_tokens is too large"}), Refused, "http_400", False),
    ],
)
def test_what_is_no_answer_is_a_fault_that_says_so(written, kind, reason, billed):
    """Each failure is the fault that an online request would have met, and counts as paid for where nobody knows."""
    result = result_of(written, fields=FIELDS)
    assert result.reply is None
    assert isinstance(result.fault, kind)
    assert (result.fault.fault.reason, result.fault.billed) == (reason, billed)


def test_a_field_that_the_server_does_not_know_is_named():
    """The refusal of a field of ours says which, so that it can be left out; one of a value does not."""
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    assert result_of(failed(400, said), fields=FIELDS).unsupported == "max_tokens"
    assert result_of(failed(400, said), fields=frozenset()).unsupported is None
    assert result_of(failed(400, "seed must be positive"), fields=FIELDS).unsupported is None


@pytest.mark.parametrize(
    "written", [b"", b"\n", b"{", line()[:-20], b"[1]", b'{"id": 3}', b'{"custom_id": ""}', b"\xff"]
)
def test_what_is_no_line_is_none(written):
    """A torn, empty or foreign line is nothing, whatever it begins with."""
    assert result_of(written, fields=FIELDS) is None


def test_a_key_that_is_echoed_is_in_no_fault():
    """What a server writes into an error file is redacted like any other answer."""
    fault = result_of(failed(400, "bad key sk-123"), fields=FIELDS, redact=lambda text: text.replace("sk-123", "[key]"))
    assert "sk-123" not in str(fault.fault)
    assert "[key]" in str(fault.fault)
