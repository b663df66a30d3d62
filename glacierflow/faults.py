"""What a failed remote request means: of STAC APIs, image servers, the store and the sources of credentials.

Every answer that is not the wanted one becomes a ``Fault`` with one of five remedies. ``net`` decides how
often a request is repeated; who asked decides which error and exit code is left at the end. The rule: nothing
that time may heal ends as exit code 0, 64, 65 or 70.
"""

from __future__ import annotations

import enum
import json

from glacierflow.outside import told


class Remedy(enum.Enum):
    """What helps."""

    AGAIN = "try again"
    FRESH = "try again with fresh credentials"
    LESS = "ask for less"
    SCENE = "give this scene up"
    NEVER = "give up for good"


class Fault(Exception):  # noqa: N818 - one try; who asked turns the last into an error
    """One try that failed, and what helps."""

    def __init__(
        self,
        remedy: Remedy,
        reason: str,
        *,
        wait_s: float = 0.0,
        is_odd: bool = False,
        was_tried: bool = False,
        next_step: str | None = None,
    ) -> None:
        self.reason = told(reason)
        super().__init__(self.reason)
        self.remedy = remedy
        self.wait_s = wait_s
        """Seconds that the server asks to wait."""
        self.is_odd = is_odd
        """Believed only when it is answered twice."""
        self.was_tried = was_tried
        """botocore has tried it as often as is worth it."""
        self.next_step = next_step
        self.detail = ""
        """What the answer says for people."""
        self.tries = 1
        """How often it was tried in all."""

    @property
    def passes(self) -> bool:
        """Whether time may heal it."""
        return self.remedy in {Remedy.AGAIN, Remedy.FRESH, Remedy.LESS}


_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled"})
"""AWS's codes for a permission that is missing."""
_BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ENDED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_PASSING = _THROTTLED | {
    "BadDigest",
    "ConditionalRequestConflict",
    "InternalError",
    "InternalFailure",
    "OperationAborted",
    "RequestExpired",
    "RequestTimeTooSkewed",  # a machine's clock is put right after it woke up
    "RequestTimeout",
    "ServiceUnavailable",
}
_BUSY = frozenset({408, 425, 429})
_LONGEST_CODE = 60
_QUOTED = 200
"""Characters of an error page's own sentence."""
_SENTENCES = ("description", "message", "detail", "title")
_UNAUTHORIZED, _FORBIDDEN, _SERVER_ERROR = 401, 403, 500
_LATER = (
    "try again",
    "try your request again",
    "timed out",
    "timeout",
    "throttl",
    "rate exceeded",
    "too many",
)
"""In the text of a refusal: it is none."""


def is_denied(code: str) -> bool:
    """Whether AWS's code means that a permission is missing."""
    return code in _DENIED


def is_throttled(code: str) -> bool:
    """Whether AWS's code means that it is asked too often."""
    return code in _THROTTLED


def refuses_credentials(code: str) -> bool:
    """Whether AWS's code means that credentials are wrong or have ended."""
    return code in _BAD_CREDENTIALS or code in _ENDED


def fault_of_status(status: int, said: bytes, *, wait_s: float = 0.0) -> Fault:
    """What an HTTP answer without the wanted content means.

    Args:
        status: of the answer, 400 or more.
        said: the beginning of its body; AWS's own code is found in it.
        wait_s: what it asks to wait.
    """
    fault = _fault_of_status(status, said, wait_s)
    fault.detail = sentence_in(said)
    return fault


def sentence_in(said: bytes) -> str:
    """What an error page says in the field that is for people, cut short and without odd characters.

    Whole pages are never repeated: nobody knows what else of a server's is in them.
    """
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    found = next((fields[name] for name in _SENTENCES if isinstance(fields.get(name), str)), None)
    if found is None:
        return f"it answers with {kind_of(said)}"
    return told(found[:_QUOTED])


def kind_of(said: bytes) -> str:
    """What bytes seem to be, in words."""
    begin = said[:1024].lstrip().lower()
    if not begin:
        return "nothing"
    if begin.startswith((b"<!doctype html", b"<html")) or b"<html" in begin:
        return "a page of HTML"
    if begin.startswith(b"<"):
        return f"XML{f' with the code {code_in(said)}' if code_in(said) else ''}"
    if begin.startswith((b"{", b"[")):
        return "JSON"
    return "text" if begin.isascii() and not set(begin) & set(range(9)) else "other bytes"


def _fault_of_status(status: int, said: bytes, wait_s: float) -> Fault:
    code = code_in(said)
    reason = f"HTTP {status}{f' {code}' if code else ''}"
    named = _fault_of_code(code, reason, wait_s)
    if named is not None:
        return named
    # without a code a 403 is a gateway's own, which it also answers when it is asked too often
    is_gateway = status == _FORBIDDEN and not code
    asks_again = any(words in said.decode(errors="replace").lower() for words in _LATER)
    if status in _BUSY or status >= _SERVER_ERROR or is_gateway or asks_again:
        return Fault(Remedy.AGAIN, reason, wait_s=wait_s)
    lasting = Remedy.NEVER if status in {_UNAUTHORIZED, _FORBIDDEN} else Remedy.SCENE
    return Fault(lasting, reason, is_odd=True)


def fault_of_aws(error: Exception) -> Fault:
    """What botocore raised means, or what the connection did below it.

    Unlike ``fault_of_status`` this is of a request that botocore has repeated by itself where a service was
    busy or away.
    """
    from botocore import exceptions as raised

    lasting = (
        raised.ConfigParseError,
        raised.InvalidConfigError,
        raised.NoCredentialsError,
        raised.PartialCredentialsError,
        raised.ProfileNotFound,
        raised.SSOError,
        raised.TokenRetrievalError,
        raised.UnknownCredentialError,
    )
    untried = (
        raised.CredentialRetrievalError,
        raised.IncompleteReadError,
        raised.MetadataRetrievalError,
        raised.ReadTimeoutError,
        raised.ResponseStreamingError,
    )
    if isinstance(error, raised.ClientError):
        code = error.response["Error"]["Code"]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
        named = _fault_of_code(code, code, 0.0)
        if named is not None:
            named.was_tried = named.remedy is Remedy.AGAIN
            return named
        if status in _BUSY or status >= _SERVER_ERROR:
            return Fault(Remedy.AGAIN, code, was_tried=True)
        return Fault(Remedy.NEVER, code, is_odd=code == str(_FORBIDDEN))
    if isinstance(error, raised.FlexibleChecksumError):
        return Fault(Remedy.SCENE, str(error), is_odd=True)
    if isinstance(error, lasting):
        return Fault(Remedy.NEVER, str(error))
    if isinstance(error, untried):
        return Fault(Remedy.AGAIN, str(error))
    if isinstance(error, raised.BotoCoreError):
        return Fault(Remedy.AGAIN, str(error), was_tried=True)
    if isinstance(error, ValueError):
        # botocore says so of an address or a token of the environment that it will not use
        return Fault(Remedy.NEVER, str(error))
    return Fault(Remedy.AGAIN, reason_of(error))


def _fault_of_code(code: str, reason: str, wait_s: float) -> Fault | None:
    if code in _PASSING:
        return Fault(Remedy.AGAIN, reason, wait_s=wait_s)
    if code in _ENDED:
        return Fault(Remedy.FRESH, reason)
    if code in _DENIED or code in _BAD_CREDENTIALS:
        return Fault(Remedy.NEVER, reason, is_odd=True)
    return None


def code_in(said: bytes) -> str:
    """The error code in an answer of S3, empty where it has none."""
    _, found, rest = said.partition(b"<Code>")
    code = rest.partition(b"<")[0]
    return code.decode() if found and code.isalnum() and code.isascii() and len(code) <= _LONGEST_CODE else ""


def reason_of(error: Exception) -> str:
    """The innermost reason of a failed connection, without the pool and its retries."""
    inner = getattr(error, "reason", None) or error
    said = str(inner).rpartition("Caused by ")[2].strip("()")
    return f"{type(inner).__name__}: {said}" if said else type(inner).__name__
