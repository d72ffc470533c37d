"""Every error that tracetaxa raises on purpose.

    TracetaxaError
    ├── ConfigError              the configuration or the command line is wrong (exit code 2)
    ├── StoreError
    │   ├── StoreUnavailable     ClickHouse does not answer now; the same call may work later
    │   ├── DatabaseInUse        another process owns the embedded database
    │   ├── QueryRefused         the SQL is not allowed on the read-only endpoint
    │   └── QueryFailed          ClickHouse refused the statement
    ├── IngestError
    │   ├── MalformedRequest     the request can never be stored: do not send it again
    │   └── Overloaded           no room now: send it again after `retry_after_seconds`
    ├── ModelError
    │   ├── ModelRefused         the provider refuses (key, quota, model name): retrying won't help
    │   ├── ModelUnavailable     no usable answer within the attempts
    │   └── ModelReplyInvalid    an answer came, but not in the shape that was asked for
    ├── EngineUnavailable        the engine that was asked for is not installed or not configured
    ├── RunFailed                an analysis ended without a report
    ├── NotEnoughLabels          too few labelled traces to learn a classifier from
    ├── ClassifierUnreadable     a stored classifier is damaged, or made for other features
    ├── ChildEnded               a child process died over its work; it starts anew with the next
    ├── RedactionFailed          a text could not be redacted, so it went nowhere
    └── NotFound                 no such run, report, trace or analysis

Each message says what happened and what to do next. `retryable` answers one question: could the
same input succeed later?
"""

from typing import ClassVar


class TracetaxaError(Exception):
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class ConfigError(TracetaxaError):
    exit_code = 2


class StoreError(TracetaxaError):
    pass


class StoreUnavailable(StoreError):
    retryable = True


class DatabaseInUse(StoreError):
    pass


class QueryRefused(StoreError):
    exit_code = 2


class QueryFailed(StoreError):
    pass


class IngestError(TracetaxaError):
    pass


class MalformedRequest(IngestError):
    pass


class Overloaded(IngestError):
    retryable = True

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ModelError(TracetaxaError):
    pass


class ModelRefused(ModelError):
    pass


class ModelUnavailable(ModelError):
    retryable = True


class ModelReplyInvalid(ModelError):
    retryable = True


class EngineUnavailable(TracetaxaError):
    exit_code = 2


class RunFailed(TracetaxaError):
    pass


class ChildEnded(TracetaxaError):
    retryable = True


class NotEnoughLabels(TracetaxaError):
    pass


class ClassifierUnreadable(TracetaxaError):
    pass


class RedactionFailed(TracetaxaError):
    pass


class NotFound(TracetaxaError):
    pass
