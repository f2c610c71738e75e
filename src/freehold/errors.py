"""Every error Freehold raises on purpose. A client's mistake, a busy server, a dead worker and a bug are four classes.

    FreeholdError
    ├── RequestError            the client can mend it
    │   ├── InvalidRequest          400   with `param`
    │   │   └── ContextLengthExceeded
    │   ├── Unauthenticated         401
    │   ├── Forbidden               403
    │   ├── NotFound                404
    │   │   └── ModelNotFound
    │   ├── MethodNotAllowed        405
    │   ├── Conflict                409
    │   ├── RequestTimeout          408   a head or a body that does not come
    │   ├── PayloadTooLarge         413
    │   ├── UnsupportedMediaType    415
    │   ├── UpgradeRequired         426
    │   ├── HeadersTooLarge         431
    │   └── NotSupported            501
    ├── Unavailable             try again later: carries retry_after
    │   ├── QueueFull               429
    │   ├── QueueTimeout            503
    │   ├── ModelPulling            503
    │   ├── DoesNotFit              503   with the figures
    │   ├── Draining                503
    │   ├── TooManyConnections      503
    │   ├── StateUnavailable        503   the database of what is stored
    │   └── ModelFailed             503   a worker that does not start, or died
    │       └── WorkerDied
    ├── EngineError             the worker answered badly
    │   ├── EngineBadResponse       502
    │   └── EngineTimeout           504
    └── OperatorError           the person at the keyboard can mend it: one line, one remedy, an exit code
        ├── SettingsError
        ├── StoreError
        │   ├── BadModelFile
        │   ├── DigestMismatch
        │   ├── SourceUnreachable
        │   ├── DiskFull
        │   ├── NotInstalled
        │   └── BuildFailed
        └── StartError

The gateway renders any of them as OpenAI's error envelope; the command line as one line. Anything else is a bug: 500.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FreeholdError(Exception):
    """Base of all. `message` is a sentence a person can act on; it never holds a path, a prompt or a key of another user."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code

    def envelope(self) -> dict[str, Any]:
        """OpenAI's error body: {"error": {"message", "type", "param", "code"}}."""
        return {"error": {"message": self.sentence, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def sentence(self) -> str:
        """All that the person who asked is told."""
        return self.message


class RequestError(FreeholdError):
    status = 400
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """A field is missing, of the wrong type, out of range, or not supported; `param` names it."""


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class Unauthenticated(RequestError):
    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    status = 403
    code = "forbidden"


class NotFound(RequestError):
    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(RequestError):
    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, allowed: tuple[str, ...]):
        super().__init__(message)
        self.allowed = allowed


class Conflict(RequestError):
    status = 409
    code = "conflict"


class RequestTimeout(RequestError):
    status = 408
    code = "request_timeout"


class HeadersTooLarge(RequestError):
    status = 431
    code = "headers_too_large"


class PayloadTooLarge(RequestError):
    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    status = 415
    code = "unsupported_media_type"


class UpgradeRequired(RequestError):
    """The route is a WebSocket, and the request does not offer one."""

    status = 426
    code = "upgrade_required"


class NotSupported(RequestError):
    status = 501
    code = "not_supported"


class Unavailable(FreeholdError):
    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = 1.0, code: str | None = None):
        super().__init__(message, code=code, retry_after=retry_after)


class QueueFull(Unavailable):
    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class QueueTimeout(Unavailable):
    code = "queue_timeout"


class ModelPulling(Unavailable):
    code = "model_pulling"


class DoesNotFit(Unavailable):
    """There is no memory for the model; the message has the figures."""

    code = "insufficient_memory"


class Draining(Unavailable):
    code = "shutting_down"


class TooManyConnections(Unavailable):
    code = "too_many_connections"


class StateUnavailable(Unavailable):
    """The database of what clients stored does not answer, or cannot be opened."""

    code = "state_unavailable"


class ModelFailed(Unavailable):
    """The worker does not start, or died; the message ends with the engine's own last lines where there are some."""

    code = "model_failed"


class WorkerDied(ModelFailed):
    """A worker went away under a request; `reached` tells whether the request may have got to it."""

    code = "worker_died"

    def __init__(self, message: str, *, reached: bool):
        super().__init__(message)
        self.reached = reached


class EngineError(FreeholdError):
    status = 502
    code = "engine_error"


class EngineBadResponse(EngineError):
    pass


class EngineTimeout(EngineError):
    status = 504
    code = "engine_timeout"


class OperatorError(FreeholdError):
    """`message` is what is wrong, `remedy` what to do about it; `exit_code` is the command's exit status."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = ""):
        super().__init__(message)
        self.remedy = remedy

    @property
    def sentence(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def __str__(self) -> str:
        return self.sentence


class SettingsError(OperatorError):
    exit_code = 2


class StoreError(OperatorError):
    pass


class BadModelFile(StoreError):
    """A model file that is corrupt, truncated, hostile, or of a format that no engine here runs."""


class DigestMismatch(StoreError):
    pass


class SourceUnreachable(StoreError):
    """The registry, mirror or address does not answer, or answers with an error."""


class DiskFull(StoreError):
    pass


class NotInstalled(StoreError):
    pass


class BuildFailed(StoreError):
    """An engine build that does not compile, or does not answer as it should; `lines` are the last that the program said."""

    def __init__(self, message: str, remedy: str = "", lines: tuple[str, ...] = ()):
        super().__init__(message, remedy)
        self.lines = lines


class StartError(OperatorError):
    """The server cannot start, or not go on: port taken, folder unwritable, unsafe bind, HTTP ended."""
